"""Tables and rows as other programs write them: nothing of a cell is lost, moved to another column, or made another value."""

import json

import pytest

from hf_gpt.data import loading, sources
from hf_gpt.data.conll import read_conll
from hf_gpt.data.rows import task_splits
from hf_gpt.errors import InputError


NAMES = {".csv": "csv", ".tsv": "csv", ".jsonl": "json"}


def source_of(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return sources.text_source({"path": NAMES[path.suffix], "files": str(path)})


def rows_of(path, lines):
    """Every row of a task, in whatever split it is, by its text."""
    splits, dropped, _ = task_splits(source_of(path, lines), {"text": True, "label": True}, ("text",), 0.1, 0.1)
    assert not dropped
    return {row["text"]: row["label"] for part in splits.values() for row in part}


@pytest.mark.parametrize(
    ("row", "cells"),
    [("half one, half two,a", 3), ("a text,a,", 3), ('"x \\"good, they said\\" y",a', 3), ("a,b,c,d", 4)],
    ids=["comma", "comma at the end", "backslashes", "more"],
)
def test_a_row_of_more_cells_than_names_is_refused_with_its_line(row, cells, tmp_path):
    """Without a look pandas takes the first cells for names of the rows, and learns the rest."""
    lines = ["text,label", *(f"text {i},{'ab'[i % 2]}" for i in range(50)), row, row]
    with pytest.raises(InputError, match=rf"t\.csv': line 52 has {cells} cells under 2 names: put a text with ',' in it into"):
        rows_of(tmp_path / "t.csv", lines)
    assert len(rows_of(tmp_path / "t.csv", lines[:-2])) == 50


def test_cells_in_quotes_keep_their_lines_commas_and_quotes(tmp_path):
    lines = ["text,label", *(f'"x ""good {i}, they said""\nand more",{"ab"[i % 2]}' for i in range(50))]
    assert set(rows_of(tmp_path / "t.csv", lines)) == {f'x "good {i}, they said"\nand more' for i in range(50)}
    path = tmp_path / "t.tsv"
    assert set(rows_of(path, [line.replace('",', '"\t').replace("text,", "text\t") for line in lines])) == {
        f'x "good {i}, they said"\nand more' for i in range(50)
    }
    assert loading.separator_lines(sources.text_source({"path": "csv", "files": str(path)})) == []


def test_quotes_that_would_swallow_rows_of_a_table_by_tabs_are_text(tmp_path):
    """As GLUE's tables have them."""
    texts = [f'"text {i} begins with a quote' if i % 10 == 0 else f"text {i}" for i in range(100)]
    lines = ["text\tlabel", *(f"{text}\t{'ab'[i % 2]}" for i, text in enumerate(texts))]
    assert rows_of(tmp_path / "t.tsv", lines) == {text: "ab"[i % 2] for i, text in enumerate(texts)}
    said = loading.separator_lines(source_of(tmp_path / "t.tsv", lines))
    assert said == ["t.tsv is read with its quotes as text: paired, they would hold whole rows."]


@pytest.mark.parametrize(
    ("labels", "read"),
    [
        (["1_1", "1_2", "2_1"], ["1_1", "1_2", "2_1"]),
        (["01", "1", "010"], ["01", "1", "010"]),
        (["1", "-2", "30"], [1, -2, 30]),
        (["0.5", "-1e-05", "3."], [0.5, -1e-05, 3.0]),
    ],
)
def test_a_label_of_digits_is_a_number_where_it_is_written_as_one(labels, read, tmp_path):
    found = rows_of(tmp_path / "t.csv", ["text,label", *(f"text {i},{labels[i % 3]}" for i in range(60))])
    assert found == {f"text {i}": read[i % 3] for i in range(60)}


def test_a_text_of_digits_keeps_its_zeros(tmp_path):
    lines = ["text", *(f"{i:08d}" for i in range(50))]
    assert loading.load_rows(source_of(tmp_path / "t.csv", lines))["text"][:2] == ["00000000", "00000001"]


@pytest.mark.parametrize("is_list", [False, True])
def test_a_text_in_the_form_of_a_date_is_as_it_was_written(is_list, tmp_path):
    dates = [f"2000-01-{i % 28 + 1:02d}" for i in range(50)]
    rows = [{"text": f"text {i}", "label": date, "at": [date]} for i, date in enumerate(dates)]
    lines = [json.dumps(rows)] if is_list else [json.dumps(row) for row in rows]
    assert rows_of(tmp_path / "t.jsonl", lines) == {f"text {i}": date for i, date in enumerate(dates)}
    only = source_of(tmp_path / "t.jsonl", [json.dumps({"text": date}) for date in dates])
    assert loading.load_rows(only)["text"] == dates


def test_rows_of_no_group_are_split_one_by_one(tmp_path):
    rows = [{"text": f"text {i}", "label": "ab"[i % 2], "group": [None, "", f"g{i % 40}"][i % 3]} for i in range(600)]
    source = source_of(tmp_path / "t.jsonl", [json.dumps(row) for row in rows])
    columns = {"text": True, "label": True, "group": False}
    splits, _, _ = task_splits(source, columns, ("group", "text"), 0.2, 0.2)
    for part in splits.values():
        alone = sum(not row["group"] for row in part)
        assert 40 < alone < 300


def test_a_word_may_hold_a_space_where_tabs_separate_the_columns(tmp_path):
    path = tmp_path / "t.conll"
    path.write_text("New York\tB-PLACE\nis\tO\n\na\u00a0b  x O\nc x B-PLACE \n")
    assert list(read_conll([path], "conll")) == [
        {"tokens": ["New York", "is"], "tags": ["B-PLACE", "O"]},
        {"tokens": ["a\u00a0b", "c"], "tags": ["O", "B-PLACE"]},
    ]
