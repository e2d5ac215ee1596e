"""What a recipe and small files tell is told before a row is read."""

import os

import pytest
from benchmarks.tiny import recipe_values
from tests.helpers.recipes import classification, task_values, write_base, write_rows

from hf_gpt.errors import InputError
from hf_gpt.planning import capacity
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training import finetuning, pretraining
from hf_gpt.training.output_dir import check_output_folder
from hf_gpt.training.run import run


@pytest.fixture(autouse=True)
def unread(monkeypatch):
    """No row may be read."""
    for module, name in ((pretraining, "load_rows"), (finetuning, "task_splits")):
        monkeypatch.setattr(module, name, lambda *arguments, **named: pytest.fail("rows are read"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"preset": "gtp2"}, r"preset='gtp2' is unknown\. Did you mean 'gpt2'\?"),
        ({"preset": None, "model_type": "gtp2"}, "gtp2"),
        ({"config": {"hiden_size": 3}}, r"'hiden_size' is not a field of GPTConfig\. Did you mean 'hidden_size'\?"),
        ({"config": {"hidden_size": -1}}, "config: hidden_size=-1 is not"),
        ({"config": {"embedding_initializer_range": float("inf")}}, "embedding_initializer_range=inf must be at least 0, and"),
        ({"config": {"is_causal": False}}, "is_causal=false: each position would see the token that it predicts"),
        ({"config": {"max_position_embeddings": 16}}, "block_size=32 is more than the model's max_position_embeddings=16"),
        ({"objective": "masked", "config": {"is_causal": False}}, r"ngram_orders=\[1\]: objective='masked' is scored with"),
        ({"tokenizer": "in"}, "tokenizer='in': no tokenizer can be loaded from that folder"),
        ({"dataset": {"path": "text", "files": "in/a.txt", "streaming": True}}, "which a stream has not: leave it out"),
    ],
    ids=str,
)
def test_what_no_model_can_be_trained_with_is_told_before_rows_are_read(changes, told, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a text")
    values = recipe_values(corpus, tmp_path / "run", ngram_orders=[1])
    changes = {**changes, "config": {**values["config"], **changes.get("config", {})}}
    with pytest.raises(InputError, match=told):
        run(parse_recipe({**values, **changes}))
    assert not (tmp_path / "run").exists()


def test_a_model_larger_than_the_memory_is_told_before_rows_are_read(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(capacity, "host_memory", lambda: 1 << 10)
    with pytest.raises(InputError, match=r"has .* parameters: weights in float32 take"):
        run(parse_recipe(recipe_values(corpus, tmp_path / "run")))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"config": {"hiden_size": 3}}, r"'hiden_size' is not a field of GPTConfig\. Did you mean 'hidden_size'\?"),
        ({"config": {"resid_dropout": 2.0}}, r"resid_dropout=2\.0 must be at least 0 and less than 1"),
        ({"max_length": 10**6}, "is more than the model's max_position_embeddings"),
        ({"tokenizer": "in"}, "tokenizer='in': no tokenizer can be loaded from that folder"),
    ],
    ids=str,
)
def test_what_no_task_can_be_trained_with_is_told_before_rows_are_read(changes, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    base = write_base(tmp_path / "base")
    values = task_values(base, write_rows(tmp_path, classification), tmp_path / "run", "text-classification")
    with pytest.raises(InputError, match=told):
        run(parse_recipe({**values, **changes}))


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no file system that takes no folders")
def test_a_folder_that_cannot_be_made_is_told_before_rows_are_read_and_trying_leaves_nothing(corpus, tmp_path):
    with pytest.raises((InputError, PermissionError), match="/proc"):
        run(parse_recipe(recipe_values(corpus, "/proc/x/y")))
    recipe = parse_recipe(recipe_values(corpus, tmp_path / "a" / "b"))
    assert check_output_folder(recipe.output_dir, recipe).task == "begin"
    assert not (tmp_path / "a").exists()
