"""Which column of a table a language model reads, and rows of a task, which it does not."""

import json
import shlex

import pytest

from hf_gpt.data.sources import text_source
from hf_gpt.data.text_columns import OF_TASKS, find_text_column
from hf_gpt.errors import InputError
from hf_gpt.recipe.own_text import recipe_of_text
from hf_gpt.recipe.parser import load_recipe
from hf_gpt.tasks import TASKS


WORDS = ["the", "film", "was", "slow", "and", "long", "but", "the", "ending", "is", "good"]


def sentence(i):
    return " ".join(WORDS[(i * step) % len(WORDS)] for step in range(2, 12)) + f" {i}"


def said(i, names=("role", "content")):
    return [dict(zip(names, turn)) for turn in (("user", sentence(i)), ("assistant", sentence(i + 1)))]


def source_of(path, make):
    path.write_text("".join(json.dumps(make(i)) + "\n" for i in range(300)))
    return text_source({"path": "json", "files": str(path)})


ROWS = {
    "chat": lambda i: {"id": f"conv-{i:06d}", "messages": said(i)},
    "ShareGPT": lambda i: {"id": i, "conversations": said(i, ("from", "value"))},
    "dialogues": lambda i: {"dialog": said(i)},
    "Alpaca": lambda i: {"instruction": sentence(i), "input": "", "output": sentence(i + 1)},
    "preference": lambda i: {"prompt": sentence(i), "chosen": said(i), "rejected": said(i)},
    "SQuAD": lambda i: {"question": sentence(i), "context": sentence(i), "answers": {"text": ["the"], "answer_start": [0]}},
    "choices": lambda i: {"question": sentence(i), "choices": ["a", "b"], "answer": 1},
    "prompts": lambda i: {"prompt": sentence(i), "completion": sentence(i)},
    "tags": lambda i: {"tokens": WORDS, "tags": WORDS},
}


@pytest.mark.parametrize("kind", list(ROWS))
def test_rows_of_a_task_are_told_their_recipe(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source_of(tmp_path / "my rows.jsonl", ROWS[kind])
    with pytest.raises(InputError, match=r"has rows of a task, with .*: hf-gpt train finetune/.*text_column=") as refused:
        recipe_of_text("my rows.jsonl", [])
    assert "\n" not in str(refused.value)
    # What it says is a command that finds the columns of its task.
    name, *overrides = shlex.split(str(refused.value).partition("hf-gpt train ")[2].partition(", or with")[0])
    recipe = load_recipe(name, overrides)
    assert recipe.source.files == "my rows.jsonl"
    for column in (column for column, is_needed in TASKS[recipe.task.task].columns.items() if is_needed):
        own = (recipe.source.columns or {}).get(column, column)
        layouts = {"messages": ("conversations", "instruction")}.get(column, ())
        assert {own, *layouts} & set(ROWS[kind](0)) or kind == "choices"


def test_a_column_that_is_named_is_read_whatever_is_beside_it(tmp_path):
    source_of(tmp_path / "rows.jsonl", ROWS["Alpaca"])
    recipe = recipe_of_text(str(tmp_path / "rows.jsonl"), ["dataset.text_column=output"])
    assert recipe.source.text_column == "output"
    source = source_of(tmp_path / "rows.jsonl", lambda i: {**ROWS["Alpaca"](i), "text": sentence(i)})
    assert find_text_column(source) == "text"
    # Names of columns alone make no dialogues.
    source = source_of(tmp_path / "rows.jsonl", lambda i: {"messages": sentence(i)})
    assert find_text_column(source) == "messages"


def test_the_recipes_of_tasks_are_there():
    for _, recipe, _ in OF_TASKS:
        assert load_recipe(recipe).task.task in TASKS


@pytest.mark.parametrize(
    "make_id",
    [
        lambda i: f"conv-{i:06d}",
        lambda i: f"{i * 7919:064x}",
        lambda i: f"https://example.org/{i}",
        lambda i: f"2020-01-01T{i:05d}",
    ],
)
def test_ids_are_no_texts(make_id, tmp_path):
    source = source_of(tmp_path / "rows.jsonl", lambda i: {"id": make_id(i), "body": f"{i % 7} words"})
    assert find_text_column(source) == "body"
    with pytest.raises(InputError, match=r"no column holds text; the columns are id, size: dataset.text_column names one"):
        find_text_column(source_of(tmp_path / "rows.jsonl", lambda i: {"id": make_id(i), "size": i}))
    # Who gives nothing else means it.
    assert find_text_column(source_of(tmp_path / "rows.jsonl", lambda i: {"id": make_id(i)})) == "id"


def table_of(path, names, make):
    path.write_text("".join(f"{row}\n" for row in (names, *(make(i) for i in range(300)))))
    return text_source({"path": "csv", "files": str(path)})


@pytest.mark.parametrize(
    "make", [lambda i: f"{10**11 + i},{i / 7},{bool(i % 2)},{i % 40:06d}", lambda i: f"{i or ''},-1e-05,TRUE,"]
)
def test_a_table_of_numbers_has_no_texts(make, tmp_path):
    names = "id,score,is_new,code"
    with pytest.raises(
        InputError, match=r"no column holds text; the columns are id, score, is_new, code: dataset.text_column"
    ):
        find_text_column(table_of(tmp_path / "t.csv", names, make))
    assert find_text_column(table_of(tmp_path / "t.csv", f"{names},word", lambda i: f"{make(i)},{'ab'[i % 2]}")) == "word"
    with pytest.raises(InputError, match="no column holds text; the columns are id: "):
        find_text_column(table_of(tmp_path / "t.csv", "id", lambda i: make(i).partition(",")[0] or 0))
    # A number in quotes is a text of JSON.
    assert find_text_column(source_of(tmp_path / "t.jsonl", lambda i: {"line": str(i)})) == "line"


@pytest.mark.parametrize("make", [lambda i: "ab" * (i + 1) if i < 32 else "x" * i, lambda i: f"第{i}首诗没有空格", sentence])
def test_names_and_texts_without_spaces_are_no_ids(make, tmp_path):
    source = source_of(tmp_path / "rows.jsonl", lambda i: {"number": i, "name": make(i)})
    assert find_text_column(source) == "name"
