"""Files of JSON as people have them: their rows, whatever is around them; or the line that is none."""

import json
import re

import pytest

from hf_gpt.data import loading, sources
from hf_gpt.data.rows import task_splits
from hf_gpt.errors import InputError
from hf_gpt.recipe.own_text import find_text_column
from hf_gpt.tasks import TASKS


ROWS = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(40)]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


def source_of(path, content, **dataset):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return sources.text_source({"path": "json", "files": str(path), **dataset})


@pytest.mark.parametrize(
    "content",
    [
        COLUMNS,
        {"data": ROWS},
        {"version": "1.0", "rows": ROWS, "tags": ["x"]},
        {name: {str(i): cell for i, cell in enumerate(cells)} for name, cells in COLUMNS.items()},
        {str(i): row for i, row in enumerate(ROWS)},
        {f"id-{i}": row for i, row in enumerate(ROWS)},
        {"columns": list(COLUMNS), "index": list(range(40)), "data": [list(row.values()) for row in ROWS]},
        {"schema": {"fields": []}, "data": ROWS},
        ROWS,
        "\n".join(map(json.dumps, ROWS)),
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
        "\ufeff" + json.dumps({"data": ROWS}, indent=1),
    ],
    ids=[
        *("columns", "data", "rows beside others", "pandas", "pandas by index", "by id", "pandas split", "pandas table"),
        *("list", "lines", "objects", "mark"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_rows_are_found_in_what_is_around_them(content, streaming, tmp_path):
    source = source_of(tmp_path / "t.json", content, streaming=streaming)
    assert [{name: row[name] for name in COLUMNS} for row in loading.load_rows(source)] == ROWS
    assert find_text_column(source) == "text"


def test_splits_in_one_file_are_named_by_their_keys(tmp_path):
    content = {"train": ROWS[:30], "test": ROWS[30:]}
    columns = TASKS["text-classification"].columns
    with pytest.raises(InputError, match=r"rows under train, test: choose with dataset.field=train, and held-out rows with"):
        loading.load_rows(source_of(tmp_path / "t.json", content))
    source = source_of(tmp_path / "t.json", content, field="train", test={"field": "test"})
    splits, _, _ = task_splits(source, columns, ("text",), 0.2, 0.2)
    assert len(splits["train"]) + len(splits["validation"]) == 30
    assert list(splits["test"]["text"]) == COLUMNS["text"][30:]
    with pytest.raises(InputError, match="no rows under field='dev'; the keys of its object are train, test"):
        loading.load_rows(source_of(tmp_path / "t.json", content, field="dev"))
    with pytest.raises(InputError, match="field is for path='json', and not for 'csv'"):
        sources.text_source({"path": "csv", "files": "a.csv", "field": "train"})


def test_articles_of_squad_are_a_row_for_each_question(tmp_path):
    answers = [{"text": "red", "answer_start": 0}]
    content = {
        "version": "1.1",
        "data": [
            {
                "title": f"t{i}",
                "paragraphs": [
                    {
                        "context": f"red {i}",
                        "qas": [{"id": f"{i}-{n}", "question": f"q{n}", "answers": answers} for n in (0, 1)],
                    }
                ],
            }
            for i in range(30)
        ],
    }
    task = TASKS["question-answering"]
    splits, _, _ = task_splits(source_of(tmp_path / "train-v1.1.json", content), task.columns, task.group, 0.1, 0.1)
    rows = [row for part in splits.values() for row in part]
    assert sorted((row["context"], row["question"]) for row in rows) == sorted(
        (f"red {i}", f"q{n}") for i in range(30) for n in (0, 1)
    )
    assert all(row["answers"] == {"text": ["red"], "answer_start": [0]} for row in rows)


def test_a_row_that_holds_lists_of_objects_is_a_row(tmp_path):
    row = {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}
    assert loading.load_rows(source_of(tmp_path / "t.json", row), ())[0] == row
    row = {"chosen": [{"role": "assistant", "content": "u"}], "rejected": [{"role": "assistant", "content": "a"}]}
    assert loading.load_rows(source_of(tmp_path / "t.json", row), ())[0] == row
    row = {"tokens": ["a", "b"], "tags": ["O", "O"]}
    assert loading.load_rows(source_of(tmp_path / "t.jsonl", row), ())[0] == row


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"text": "a"}\n{"text": "b"},\n', r"line 2 of t\.jsonl, column 14: Expecting value, in '{\"text\": \"b\"},'"),
        ('{"text": "a"},\n{"text": "b"},\n', r"line 1 of t\.jsonl, column 14: Expecting value, in"),
        ("{'text': 'a'}\n", r"line 1 of t\.jsonl, column 2: Expecting property name enclosed in double quotes"),
        ('// rows\n{"text": "a"}\n', r"line 1 of t\.jsonl, column 1: Expecting value"),
        ('[{"text": "a"},\n{"text": "b"},\n]', r"line [23] of t\.jsonl, column \d+: "),
        ('{"text": "a"}\n{"te', r"line 2 of t\.jsonl, column 2: Unterminated string"),
    ],
    ids=["comma", "commas", "python", "comment", "comma in a list", "cut off"],
)
def test_the_line_that_is_no_json_is_named(content, told, tmp_path):
    with pytest.raises(InputError, match=f"cannot be read as json: {told}"):
        list(loading.load_rows(source_of(tmp_path / "t.jsonl", content)))


def nested(levels, between=""):
    return f'{{"text": {between.join("[" * levels)}{between.join("]" * levels)}, "label": "x"}}'


PLAIN = '{"text": "a", "label": "y"}'


@pytest.mark.parametrize("levels", [120, 5000, 200_000])
@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("{deep}", "line 1"),
        ("{plain}\n{plain}\n\n{deep}\n{plain}", "line 4"),
        ("[{plain},\n{deep}]", "line 2"),
        ("[{plain}, {deep}]", "line 1"),
        ('{{"data": [\n{plain},\n{deep}]}}', "line 3"),
    ],
    ids=["a row", "lines", "a list", "a list in a line", "an object"],
)
@pytest.mark.parametrize("texts", [(), None])
def test_a_row_that_is_nested_too_deeply_is_named(content, where, levels, texts, tmp_path):
    source = source_of(tmp_path / "t.json", content.format(plain=PLAIN, deep=nested(levels)))
    with pytest.raises(InputError, match=rf"^dataset: files='\S+t\.json': {where} is nested in more than 100 levels"):
        list(loading.load_rows(source, texts))


@pytest.mark.parametrize(("levels", "where"), [(120, "row 1"), (5000, r"line 5\d\d\d")])
@pytest.mark.parametrize("texts", [(), None])
def test_a_row_that_goes_over_many_lines_is_named(levels, where, texts, tmp_path):
    source = source_of(tmp_path / "t.json", f"[{PLAIN},\n{nested(levels, chr(10))}]")
    with pytest.raises(InputError, match=rf"t\.json': {where} is nested in more than 100 levels"):
        list(loading.load_rows(source, texts))


def test_brackets_in_a_text_are_no_levels(tmp_path):
    rows = [{"text": "[{" * 300 + '\\"' + "]" * 9, "label": "x"}, {"text": "b", "label": [["y"] * 200]}]
    for content in (json.dumps(rows), "\n".join(map(json.dumps, rows))):
        found = loading.load_rows(source_of(tmp_path / "t.json", content), ())
        assert [row["text"] for row in found] == [row["text"] for row in rows]


@pytest.mark.parametrize("texts", [(), None])
@pytest.mark.parametrize("content", ["{}\n{}\n", "[{},\n{}]", '{{"data": [{}, {}]}}'], ids=["lines", "list", "object"])
def test_a_key_that_comes_twice_is_refused_with_both_values(content, texts, tmp_path):
    path = tmp_path / "t.json"
    source = source_of(path, content.format('{"text": "a", "label": "x"}', '{"text": "b", "text": "c", "label": "1"}'))
    with pytest.raises(
        InputError,
        match=r"^dataset: files='\S+t\.json' has a row with the key 'text' twice, for 'b' and 'c': keep one of them",
    ):
        list(loading.load_rows(source, texts))


FAULTS = {
    "texts": ('"a text"\n"another"\n', "row 0 of t.jsonl is 'a text', where a row is an object in braces"),
    "a text among rows": (f'{PLAIN}\n"b"\n', "row 1 of t.jsonl is 'b', where a row is an object in braces"),
    "numbers": ("1\n2\n", "row 0 of t.jsonl is 1, where a row is an object in braces"),
    "lists": (
        '["a", 1]\n["b", 2]\n',
        "line 2 of t.jsonl, column 1: more behind the list that the file begins with: write one list",
    ),
    "a tab": (f'{PLAIN}\n{{"text": "a\tb"}}\n', r"line 2 of t.jsonl, column 12: a tab within a text, where JSON has \t"),
    "an escape": ('{"text": "a\x1b[0m"}\n', r"column 12: a control character within a text, where JSON has \u001b"),
    "no quote": ('{"text": "abc}\n', r"the end of a line within a text, where JSON has \n, or a quote closes the text"),
    "an end": ('{"text": "abc', "line 1 of t.jsonl, column 10: Unterminated string, in"),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", list(FAULTS))
def test_a_fault_is_told_in_words_wherever_rows_are_read(kind, streaming, tmp_path):
    content, told = FAULTS[kind]
    source = source_of(tmp_path / "t.jsonl", content, streaming=streaming)
    for read in (loading.load_rows, find_text_column, lambda source: loading.load_rows(source, {"text"})):
        with pytest.raises(InputError, match=re.escape(told)) as refused:
            read(source)
        assert "\n" not in str(refused.value)
