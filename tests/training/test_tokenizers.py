"""A run with a tokenizer of somebody else's: one in Python, one with gaps in its ids, one without a beginning, one with a new entry."""

import shutil

import pytest
from tests.data.test_conversations import llama
from tests.data.test_data import with_gap
from tests.helpers.commands import run_command
from tests.helpers.recipes import TASKS, recipe_values, sentence, task_values, write_rows
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModelForCausalLM, AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from hf_gpt.checks.boundary import refused
from hf_gpt.data.tokenizer import load_tokenizer
from hf_gpt.errors import InputError
from hf_gpt.inference import inspect
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training import pretraining
from hf_gpt.training.finetuning import build_model, build_task
from hf_gpt.training.run import run


TEXTS = [f"{sentence(number)} {number}" for number in range(400)]


def grown():
    tokenizer = with_gap(TEXTS)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    return tokenizer


# Each with the entries of the table that it needs.
TOKENIZERS = {
    "python": (ByT5Tokenizer, 384),
    "gaps": (lambda: with_gap(TEXTS), 401),
    "grown": (grown, 401),
    "llama": (llama, None),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def trained(request, tmp_path_factory):
    """A run of a few steps on lines of text."""
    folder = tmp_path_factory.mktemp(request.param)
    make, entries = TOKENIZERS[request.param]
    tokenizer = make()
    tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "a.txt").write_text("\n".join(TEXTS))
    dataset = {"path": "text", "files": str(folder / "a.txt"), "sample_by": "line"}
    changes = {"tokenizer": str(folder / "tokenizer"), "sample_prompts": None, "eval_strategy": "no", "save_strategy": "no"}
    values = recipe_values(folder / "a.txt", folder / "run", dataset=dataset, max_steps=2, **changes)
    return folder / "run", run(parse_recipe(values)), tokenizer, entries


def test_it_trains_samples_and_has_an_entry_for_each_id(trained):
    folder, record, tokenizer, entries = trained
    assert record["config"]["vocab_size"] == (entries or len(tokenizer))
    assert not record["data"].get("is_lossy")
    assert record["samples"]
    for sample in record["samples"]:
        assert any(sample["prompt"] in text for text in TEXTS)
    table = AutoModelForCausalLM.from_pretrained(folder).get_input_embeddings()
    assert table.num_embeddings == (entries or len(tokenizer))


@pytest.mark.parametrize("prompt", ["red", ""])
def test_it_generates_also_from_nothing(trained, prompt, monkeypatch, capsys):
    code, told, _ = run_command(monkeypatch, capsys, "generate", trained[0], prompt, "--max-new-tokens", "3", "--seed", "0")
    assert code == 0
    assert told.startswith(prompt)


def test_what_it_expects_of_a_text_is_seen(trained):
    model, tokenizer = inspect.load(str(trained[0]))
    reading = inspect.read_text(model, tokenizer, "red blue")
    assert "".join(reading.pieces) == "red blue"
    assert len(reading.losses) == len(reading.pieces)


def test_one_that_leaves_text_out_is_warned_of_and_on_record(tmp_path, capsys):
    words = Tokenizer(WordLevel({"[UNK]": 0, "red": 1, "blue": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", eos_token="[UNK]", pad_token="red")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    changes = {"tokenizer": str(tmp_path / "tokenizer"), "eval_strategy": "no", "save_strategy": "no", "sample_prompts": []}
    dataset = {"path": "text", "files": str(tmp_path / "a.txt")}
    values = recipe_values(tmp_path / "a.txt", tmp_path / "run", dataset=dataset, max_steps=2, **changes)
    record = run(parse_recipe(values))
    assert record["data"]["is_lossy"] is True
    assert "the tokenizer's ids do not give the text back" in capsys.readouterr().out


@pytest.mark.parametrize("adapter", [None, {"r": 2}], ids=["whole", "adapter"])
def test_what_a_models_own_tokenizer_has_gained_is_trained_further_and_another_one_is_refused(adapter, base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    size = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    values = recipe_values(tmp_path / "a.txt", tmp_path / "run", model_name_or_path=str(folder), block_size=16)
    values = {key: value for key, value in values.items() if key not in ("preset", "config", "tokenizer_vocab_size")}
    recipe = parse_recipe({**values, "lora": adapter} if adapter else values)
    model = pretraining.build_model(recipe, tokenizer)
    assert model.config.vocab_size == model.get_input_embeddings().weight.shape[0] == size + 1
    with pytest.raises(InputError, match=rf"the tokenizer has {size + 1} entries, but the model's vocab_size={size}"):
        pretraining.build_model(parse_recipe({**values, "tokenizer": str(folder)}), tokenizer)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}", r"tokenizer\.json is no tokenizer \(Model missing"),
        ('{"added_tokens": [{}]}', r"tokenizer\.json is no tokenizer"),
        ('{"added_tokens": [], "model": {}}', r"tokenizer\.json is no tokenizer"),
        ("[]", r"tokenizer\.json holds a list, not an object"),
        ("words", r"tokenizer\.json is not JSON"),
    ],
)
def test_a_file_that_holds_no_tokenizer_is_named(content, told, base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "base")
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(
        InputError, match=f"no tokenizer can be loaded from that folder: .*{told}.*: copy or download it again"
    ):
        load_tokenizer(str(folder))


def test_a_key_alone_tells_nothing():
    with pytest.raises(InputError, match=r"^it: 'added_tokens' is missing there, or not known$"), refused("it"):
        {}["added_tokens"]


@pytest.mark.parametrize("task", ["text-classification", "text-to-text", "chat"])
def test_a_task_begins_from_it(trained, task, tmp_path):
    folder, _, tokenizer, _ = trained
    recipe = parse_recipe(task_values(folder, write_rows(tmp_path, TASKS[task][0]), tmp_path / "run", task))
    made = build_task(recipe)
    if task == "chat":
        made.tokenizer.add_special_tokens({"additional_special_tokens": ["<new>"]})
    model = build_model(recipe, made)
    assert model.get_input_embeddings().num_embeddings == max(made.tokenizer.get_vocab().values()) + 1
    assert model.config.pad_token_id == tokenizer.pad_token_id


def test_an_answer_in_a_text_needs_to_know_where_its_tokens_are(trained, tmp_path):
    folder, _, tokenizer, _ = trained
    if tokenizer.is_fast:
        pytest.skip("this one knows")
    values = task_values(folder, write_rows(tmp_path, TASKS["question-answering"][0]), tmp_path / "run", "question-answering")
    with pytest.raises(InputError, match="ByT5Tokenizer does not tell where its tokens are"):
        run(parse_recipe(values))
