"""Columns of JSON whose values are of several types: each stays what the file says."""

import json

import pytest

from hf_gpt.data import loading, sources
from hf_gpt.data.json_columns import json_dataset
from hf_gpt.data.rows import task_splits
from hf_gpt.errors import InputError
from hf_gpt.tasks import TASKS


def rows_of(tmp_path, task, *files, around=None):
    """The rows that a task has of files, each a list of rows."""
    paths = [tmp_path / f"rows-{number}.jsonl" for number in range(len(files))]
    for path, given in zip(paths, files):
        path.write_text(json.dumps({around: given}) if around else "".join(json.dumps(row) + "\n" for row in given))
    source = sources.text_source({"path": "json", "files": list(map(str, paths))})
    splits, dropped, _ = task_splits(source, TASKS[task].columns, TASKS[task].group, 0.2, 0.2)
    assert dropped == {}
    return [row for part in splits.values() for row in part]


LABELS = [7, "007", "null", "1e0", 1.5, True, "true", "[x]", "x"]


@pytest.mark.parametrize("around", [None, "data"])
def test_labels_of_several_types_are_those_of_the_file(tmp_path, around):
    given = [{"text": f"text {i}", "label": LABELS[i % len(LABELS)]} for i in range(90)]
    found = {row["text"]: row["label"] for row in rows_of(tmp_path, "text-classification", given, around=around)}
    assert found == {row["text"]: str(row["label"]) for row in given}


def test_a_type_that_comes_in_a_second_file_changes_nothing_of_the_first(tmp_path):
    first, second = ([{"text": f"{kind.__name__} {i}", "label": kind(i % 2)} for i in range(40)] for kind in (int, str))
    second = [{**row, "label": f"00{row['label']}"} for row in second]
    found = {row["label"] for row in rows_of(tmp_path, "text-classification", first, second)}
    assert found == {"0", "1", "000", "001"}


def test_tokens_choices_and_answers_of_several_types_are_those_of_the_file(tmp_path):
    given = [{"tokens": ["null", 7, f"w{i}", "007"], "tags": ["X", "null", 1, "Y"]} for i in range(40)]
    for row in rows_of(tmp_path, "token-classification", given):
        assert (row["tokens"][:2], row["tokens"][3], row["tags"]) == (["null", "7"], "007", ["X", "null", "1", "Y"])
    given = [{"question": f"q{i}", "choices": ["01", 1, 2.5], "label": 0} for i in range(40)]
    assert all(row["choices"] == ["01", "1", "2.5"] for row in rows_of(tmp_path, "multiple-choice", given))
    answers = [7, 2.5, "007", "null", "1e5"]
    given = [{"prompt": f"p{i}", "answer": answers[i % 5]} for i in range(60)]
    found = {row["prompt"]: row["answer"] for row in rows_of(tmp_path, "reinforcement", given)}
    assert found == {row["prompt"]: str(row["answer"]) for row in given}
    # The last is no number that a float has.
    given = [{"prompt": f"p{i}", "answer": [7, 2.5, 2**53 + 1][i % 3]} for i in range(60)]
    assert {row["answer"] for row in rows_of(tmp_path, "reinforcement", given)} == {"7", "2.5", "9007199254740993"}


def test_a_column_of_numbers_alone_is_one_of_numbers():
    rows = json_dataset([{"a": 1, "b": 1, "c": None}, {"a": 1.5, "b": "1"}], ("b",))
    assert {name: feature.dtype for name, feature in rows.features.items()} == {"a": "float64", "b": "string", "c": "null"}


def test_messages_of_texts_numbers_and_parts_are_those_of_the_file(tmp_path):
    contents = ["007", 7, "null", [{"type": "text", "text": "1e5"}], ["[]", {"type": "text", "text": " {}"}]]
    given = [
        {"messages": [{"role": "user", "content": contents[i % 5]}, {"role": "assistant", "content": "0"}], "group": i}
        for i in range(60)
    ]
    found = {row["group"]: row["messages"][0]["content"] for row in rows_of(tmp_path, "chat", given)}
    assert found == {i: ["007", "7", "null", "1e5", "[] {}"][i % 5] for i in range(60)}


def test_texts_of_a_language_model_are_those_of_the_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    given = ["007", 7, "null", "1e5", "2024-01-01 00:00:00"]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in given))
    rows = loading.load_rows(sources.text_source({"path": "json", "files": str(path)}))
    assert loading.text_rows(rows, "text")["text"][:] == list(map(str, given))


def test_a_row_that_is_no_object_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "label": "b"}\n5\n')
    source = sources.text_source({"path": "json", "files": str(path)})
    with pytest.raises(
        InputError, match=r"cannot be read as json: row 1 of rows\.jsonl is 5, where a row is an object in braces"
    ):
        task_splits(source, TASKS["text-classification"].columns, ("text",), 0.1, 0.1)
