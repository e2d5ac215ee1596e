"""Several datasets as one, by weights that hold to the end."""

import json

import pytest
from datasets import IterableDataset

from hf_gpt.data.loading import load_rows
from hf_gpt.data.sources import fingerprint, text_source
from hf_gpt.errors import InputError
from hf_gpt.recipe.identity import public_values
from hf_gpt.recipe.parser import parse_recipe


@pytest.fixture
def parts(tmp_path):
    """Two datasets in different formats, with a column of another name in one."""
    (tmp_path / "a.txt").write_text("\n".join(f"a{number}" for number in range(900)))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"body": f"b{number}"}) + "\n" for number in range(300)))
    first = {"path": "text", "files": str(tmp_path / "a.txt"), "weight": 3}
    return [first, {"path": "json", "files": str(tmp_path / "b.jsonl"), "text_column": "body", "weight": 1}]


@pytest.mark.parametrize("streaming", [False, True])
def test_weights_hold_until_a_part_has_no_more_and_no_text_comes_twice(parts, streaming):
    rows = load_rows(text_source({"mixture": parts, "streaming": streaming}))
    assert isinstance(rows, IterableDataset) == streaming
    texts = [row["text"] for row in rows]
    assert len(set(texts)) == len(texts)
    counts = {name: sum(text.startswith(name) for text in texts) for name in "ab"}
    assert counts["a"] == 900 or counts["b"] == 300
    assert counts["a"] / len(texts) == pytest.approx(0.75, abs=0.04)
    half = texts[: len(texts) // 2]
    assert sum(text.startswith("a") for text in half) / len(half) == pytest.approx(0.75, abs=0.05)
    # The same texts in the same order, whatever the seed of a run.
    assert [row["text"] for row in load_rows(text_source({"mixture": parts, "streaming": streaming}))] == texts


def test_a_record_names_the_parts_and_no_folder(parts, tmp_path):
    source = text_source({"mixture": parts})
    described = fingerprint(source, load_rows(source))
    assert [part["weight"] for part in described["mixture"]] == [3.0, 1.0]
    assert [part["files"][0]["name"] for part in described["mixture"]] == ["a.txt", "b.jsonl"]
    recipe = parse_recipe({"preset": "modern-5m", "dataset": {"mixture": parts}, "output_dir": "runs/x"})
    assert str(tmp_path) not in json.dumps([public_values(recipe)["dataset"], described])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"mixture": [{"path": "movie-reviews"}]}, "weight=None of 'movie-reviews'"),
        ({"mixture": [{"path": "movie-reviews", "weight": 0}]}, "must be a number above 0"),
        ({"mixture": []}, "mixture is a list of datasets"),
        ({"mixture": [{"path": "movie-reviews", "weight": 1}], "limit": 3}, "limit belongs in a part"),
        ({"mixture": [{"path": "movie-reviews", "weight": 1, "streaming": True}]}, "set streaming beside mixture"),
        ({"mixture": [{"path": "text", "weight": 1}]}, "needs files"),
    ],
)
def test_wrong_mixtures_are_named(value, told):
    with pytest.raises(InputError, match=told):
        text_source(value)
