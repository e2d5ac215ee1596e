"""A run from recipe to folder on real text: what it leaves, how it continues, how it fails."""

import errno
import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import ROOT
from tests.helpers.commands import run_command
from tests.helpers.recipes import recipe_values, write_recipe

from hf_gpt.errors import InputError
from hf_gpt.planning import hardware
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.reports import records
from hf_gpt.run_folder.checkpoints import write_hashes
from hf_gpt.training import optimizers as optim
from hf_gpt.training.run import run


@pytest.fixture(scope="module")
def finished(real_text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    record = run(parse_recipe(recipe_values(real_text, folder)))
    return folder, record


def test_ten_steps_on_a_processor_without_bfloat16(real_text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hardware, "multiplies_natively", lambda dtype=torch.bfloat16, device="cpu": False)
    multiplied = set()
    monkeypatch.setattr(
        optim, "orthogonalize_", lambda stack, real=optim.orthogonalize_: (multiplied.add(stack.dtype), real(stack))
    )
    values = recipe_values(real_text, tmp_path / "run", max_steps=10, eval_strategy="no", ngram_orders=[], bf16=True)
    record = run(parse_recipe(values))
    assert "bf16: this processor has no bfloat16 instructions, continuing in float32." in capsys.readouterr().out.splitlines()
    assert multiplied == {torch.float32}
    assert (record["steps"], record["precision"], record["compiled"]) == (10, "float32", False)
    assert record["test"]["loss"] < 6.2
    kept = json.loads((tmp_path / "run" / "settled.json").read_text())
    assert {name: kept[name] for name in ("bf16", "torch_compile")} == {"bf16": False, "torch_compile": False}


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `hf-gpt`, checks the exit code and gives what was printed, of an error on both streams."""

    def check_command(*arguments, code=0):
        ended, out, err = run_command(monkeypatch, capsys, *arguments)
        assert ended == code, err[-2000:]
        return out + err if code else out

    return check_command


def test_the_loss_falls_on_real_text(finished):
    _, record = finished
    losses = [row["loss"] for row in record["history"] if "loss" in row]
    assert losses[-1] < losses[0] - 1.0
    # A model that only knew how often each token occurs would stop at the unigram's loss.
    unigram, bigram = (baseline["loss"] for baseline in record["baselines"])
    assert bigram < unigram
    assert record["test"]["loss"] < unigram


def test_the_folder_is_a_complete_repository(finished):
    folder, record = finished
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "configuration_hf_gpt.py",
        "experts_hf_gpt.py",
        "layers_hf_gpt.py",
        "loss_hf_gpt.py",
        "modeling_hf_gpt.py",
        "record.json",
        "recipe.yaml",
        "loss.png",
        "README.md",
    } <= names
    assert "training_args.bin" not in names
    config = json.loads((folder / "config.json").read_text())
    assert set(config["auto_map"]) >= {"AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification"}
    assert config["use_cache"] is True
    assert not config["fused_loss"]
    assert record == json.loads((folder / "record.json").read_text())
    assert record["model_sha256"] == records.folder_hash(folder)
    assert str(folder.parent) not in (folder / "record.json").read_text() + (folder / "README.md").read_text()


def test_a_run_of_another_recipe_is_replaced_only_on_demand(real_text, tmp_path):
    output = tmp_path / "run"
    run(parse_recipe(recipe_values(real_text, output, max_steps=4)))
    other = recipe_values(real_text, output, learning_rate=0.01, max_steps=6)
    (output / "record.json").unlink()
    with pytest.raises(InputError, match="holds a run of another recipe"):
        run(parse_recipe(other))
    assert run(parse_recipe({**other, "overwrite": True}))["steps"] == 6


OTHER_ARCHITECTURES = {
    "hf_gpt_nnlm": {"embedding_size": 24, "hidden_size": 48},
    "gpt2": {"n_embd": 48, "n_layer": 2, "n_head": 2, "n_positions": 64},
}


@pytest.mark.parametrize("model_type", OTHER_ARCHITECTURES)
def test_another_architecture_is_trained_by_the_same_recipe(model_type, real_text, tmp_path):
    """The neural n-gram model, and one of transformers' own: the same data, tokenizer, split, scores and record."""
    changes = {"preset": None, "model_type": model_type, "config": OTHER_ARCHITECTURES[model_type], "optimizer": "adamw"}
    values = recipe_values(real_text, tmp_path / "run", **changes, embedding_learning_rate=None, head_learning_rate=None)
    record = run(parse_recipe({**values, "learning_rate": 0.01}))
    losses = [row["loss"] for row in record["history"] if "loss" in row]
    assert losses[-1] < losses[0] - 0.2
    assert record["config"]["model_type"] == model_type
    with pytest.raises(InputError, match=r"config: 'hidden_sise' is not a field"):
        run(parse_recipe({**values, "config": {"hidden_sise": 4}, "output_dir": str(tmp_path / "never")}))


WRONG = {
    "unknown key": ({"learning_rat": 1}, "'learning_rat' is not a key"),
    "unknown preset": ({"preset": "modern-6m"}, "preset='modern-6m' is unknown. Did you mean 'modern-5m'"),
    "heads that do not divide": ({"config": {"hidden_size": 30, "num_attention_heads": 4}}, "hidden_size=30"),
    "wrong type in config": ({"config": {"hidden_size": "wide"}}, "hidden_size"),
    "unknown config field": ({"config": {"hidden_sise": 30}}, "Did you mean 'hidden_size'"),
    "missing column": ({"text_column": "text"}, "text_column='text' is not a column; the columns are body"),
    "missing file": ({"files": "nowhere.jsonl"}, "files='nowhere.jsonl' matches no file"),
    "vocabulary too small": ({"config": {"vocab_size": 300}}, "the tokenizer has 512 entries, but the model's vocab_size=300"),
    "block beyond the positions": ({"config": {"max_position_embeddings": 16}}, "block_size=32 is more than"),
    "corpus below one block": ({"block_size": 1000000}, "block_size=1000000 is more than"),
    "qlora from scratch": ({"qlora": {"r": 4}}, "qlora holds trained weights"),
    "no such model": ({"preset": None, "model_name_or_path": "no/such-model"}, "no/such-model"),
}


@pytest.mark.parametrize("name", WRONG)
def test_nonsense_is_named_and_leaves_nothing(name, real_text, monkeypatch, capsys, tmp_path):
    changes, told = WRONG[name]
    output = tmp_path / "never"
    values = recipe_values(real_text, output)
    values["dataset"] |= {key: changes[key] for key in ("files", "text_column") if key in changes}
    values |= {key: value for key, value in changes.items() if key not in ("files", "text_column")}
    code, _, message = run_command(monkeypatch, capsys, "train", write_recipe(tmp_path, values))
    assert code == 2
    assert told in message
    assert message.count("hf-gpt: ") == 1
    assert "Traceback" not in message
    assert not output.exists()


def test_text_that_is_not_utf8(monkeypatch, capsys, tmp_path, real_text):
    bad = tmp_path / "latin.txt"
    bad.write_bytes("caf\xe9".encode("latin-1"))
    values = recipe_values(real_text, tmp_path / "never", dataset={"path": "text", "files": str(bad)})
    code, _, message = run_command(monkeypatch, capsys, "train", write_recipe(tmp_path, values))
    assert code == 2
    assert "is not UTF-8 at byte 3" in message


def test_a_full_disk_while_writing_a_checkpoint(real_text, monkeypatch, capsys, tmp_path):
    output = tmp_path / "full"
    path = write_recipe(tmp_path, recipe_values(real_text, output, max_steps=40))
    from transformers import Trainer

    save = Trainer._save_optimizer_and_scheduler

    def full(self, output_dir):
        if output_dir.endswith("checkpoint-40"):
            raise OSError(errno.ENOSPC, "No space left on device", output_dir)
        return save(self, output_dir)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_save_optimizer_and_scheduler", full)
        code, _, message = run_command(patched, capsys, "train", path)
    assert code == 2
    assert "No space left on device" in message
    assert (output / "checkpoint-20" / "trainer_state.json").is_file()
    record = run(parse_recipe(recipe_values(real_text, output, max_steps=40)))
    assert record["steps"] == 40


def test_the_command_trains_scores_generates_and_renders(command, finished, real_text, tmp_path):
    folder, record = finished
    trained = command(
        "train", write_recipe(tmp_path, recipe_values(real_text, tmp_path / "again", max_steps=4)), "save_steps=4"
    )
    assert "this GPT" in trained
    assert "trust_remote_code=True" in trained
    plain = tmp_path / "plain.txt"
    plain.write_text(
        "\n".join(json.loads(line)["body"].replace("\n", " ") for line in real_text.read_text().splitlines()[:200])
    )
    assert "bits per byte" in command("evaluate", folder, plain, "--block-size", "32")
    assert command("generate", folder, "The value", "--max-new-tokens", "5").startswith("The value")
    assert "max_position_embeddings" in command("generate", folder, "a", "--max-new-tokens", "500", code=2)
    (folder / "README.md").unlink()
    command("card", folder)
    assert f"{record['test']['loss']:.3f}" in (folder / "README.md").read_text()
    assert "pretrain/quickstart" in command("recipes")


def test_a_run_is_exported_and_comes_back(command, finished, tmp_path):
    folder, _ = finished
    from transformers import AutoModelForCausalLM, AutoTokenizer

    command("export", folder, tmp_path / "native", "--layout", "qwen3")
    command("import", tmp_path / "native", tmp_path / "back")
    ids = AutoTokenizer.from_pretrained(tmp_path / "native")("The value of an object", return_tensors="pt")["input_ids"]
    places = (folder, tmp_path / "native", tmp_path / "back")
    logits = [AutoModelForCausalLM.from_pretrained(place).eval()(ids).logits for place in places]
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-5)
    assert torch.equal(logits[0], logits[2])
    assert "norm_type" in command("export", folder, tmp_path / "gpt2", "--layout", "gpt2", code=2)
    assert not (tmp_path / "gpt2").exists()


@pytest.mark.slow
def test_accelerate_launches_the_same_recipe(real_text, tmp_path):
    path = write_recipe(tmp_path, recipe_values(real_text, tmp_path / "launched", max_steps=4, ngram_orders=[]))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "hf_gpt", "train", str(path)]
    subprocess.run(launch, check=True, cwd=ROOT, capture_output=True)
    assert (tmp_path / "launched" / "record.json").is_file()


def test_streaming_trains_and_is_scored(finished, real_text, tmp_path):
    folder, _ = finished
    dataset = {"path": "json", "files": str(real_text), "text_column": "body", "streaming": True}
    values = recipe_values(
        real_text, tmp_path / "stream", dataset=dataset, tokenizer=str(folder), max_steps=10, ngram_orders=[]
    )
    record = run(parse_recipe(values))
    assert record["steps"] == 10
    assert record["history"][-1]["tokens"] == 10 * 8 * 32
    assert record["test"]["tokens"] > 0
    with pytest.raises(InputError, match=r"ngram_orders=\[1\]"):
        run(parse_recipe({**values, "ngram_orders": [1], "output_dir": str(tmp_path / "other")}))
    with pytest.raises(InputError, match="streaming: true needs max_steps"):
        run(parse_recipe({**values, "max_steps": -1, "output_dir": str(tmp_path / "other")}))


def test_a_stream_that_was_cut_off_goes_on_to_the_same_weights(real_text, tmp_path):
    """Without a tokenizer of its own: the same one is learned from the first texts again."""
    dataset = {"path": "json", "files": str(real_text), "text_column": "body", "streaming": True}
    values = recipe_values(real_text, tmp_path / "stream", dataset=dataset, max_steps=20, save_steps=10, ngram_orders=[])
    run(parse_recipe(values))
    whole = load_file(tmp_path / "stream" / "model.safetensors")
    for name in ("record.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / "stream" / name).unlink()
    shutil.rmtree(tmp_path / "stream" / "checkpoint-20")
    run(parse_recipe(values))
    again = load_file(tmp_path / "stream" / "model.safetensors")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    (tmp_path / "stream" / "record.json").unlink()
    state = tmp_path / "stream" / "checkpoint-20" / "stream-0-of-1.pt"
    for content in (b"hello", b"\x80\x04\x95\n", b""):
        state.write_bytes(content)
        write_hashes(state.parent)
        with pytest.raises(InputError, match="checkpoint-20") as told:
            run(parse_recipe(values))
        assert "weights_only" not in str(told.value)
