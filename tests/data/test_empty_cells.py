"""Cells of nothing, however they are written: NaN, blanks, a group of none; and halves of characters, which are no text."""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from hf_gpt.data import loading, sources
from hf_gpt.data.rows import task_splits
from hf_gpt.errors import InputError, listed
from hf_gpt.tasks import TASKS


NAN = float("nan")


def source_of(path, given, **dataset):
    """Write rows as Python's json or PyArrow writes them."""
    if path.suffix == ".parquet":
        parquet.write_table(pa.table({name: [row.get(name) for row in given] for name in given[0]}), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in given))
    kind = "parquet" if path.suffix == ".parquet" else "json"
    return sources.text_source({"path": kind, "files": str(path), **dataset})


def splits_of(path, task, given, **dataset):
    return task_splits(source_of(path, given, **dataset), TASKS[task].columns, TASKS[task].group, 0.1, 0.1)


def rows_of(path, task, given, **dataset):
    splits, dropped, _ = splits_of(path, task, given, **dataset)[:3]
    return [row for part in splits.values() for row in part], dropped


@pytest.mark.parametrize("names", [("neg", "pos"), (0, 1), (0.5, 1.5), ([1], [2, 3])])
@pytest.mark.parametrize("missing", [NAN, None, [NAN]])
def test_a_label_of_nan_beside_others_is_none(names, missing, tmp_path):
    missing = missing if isinstance(names[0], list) or missing != [NAN] else NAN
    given = [{"text": f"t{i}", "label": missing if i % 10 == 0 else names[i % 2]} for i in range(100)]
    found, dropped = rows_of(tmp_path / "rows.jsonl", "text-classification", given)
    assert dropped == {"empty rows": 10}
    assert {str(row["label"]) for row in found} == {str(name) for name in names}


def test_an_infinity_among_names_is_none(tmp_path):
    given = [{"text": f"t{i}", "label": float("inf") if i % 10 == 0 else "ab"[i % 2]} for i in range(100)]
    assert rows_of(tmp_path / "rows.jsonl", "text-classification", given)[1] == {"empty rows": 10}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
@pytest.mark.parametrize("text", [str, float])
def test_a_text_of_nan_is_none(name, text, tmp_path):
    if name == "rows.parquet" and text is str:
        pytest.skip("a column of texts has no NaN in Parquet")
    nothing = (NAN, float("inf"), float("-inf"))
    given = [{"text": nothing[i % 3] if i % 10 == 0 else text(i), "label": i % 2} for i in range(100)]
    found, dropped = rows_of(tmp_path / name, "text-classification", given)
    assert dropped == {"empty rows": 10}
    assert {row["text"].removesuffix(".0") for row in found} == {str(i) for i in range(100) if i % 10}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
@pytest.mark.parametrize("text", [lambda i: f"text {i}", float])
def test_a_text_of_nan_is_none_to_a_language_model(name, text, streaming, tmp_path):
    if name == "rows.parquet" and text is not float:
        pytest.skip("a column of texts has no NaN in Parquet")
    source = source_of(
        tmp_path / name,
        [{"text": (NAN, float("inf"))[i % 2] if i % 3 == 0 else text(i)} for i in range(30)],
        streaming=streaming,
    )
    found = [row["text"] for row in loading.text_rows(loading.load_rows(source), "text")]
    # A number of JSON is as the file has it.
    wanted = [str(text(i)) for i in (1, 2)]
    assert found[:3] == [None, *(wanted if name == "rows.jsonl" else [number.removesuffix(".0") for number in wanted])]
    assert found.count(None) == 10


def test_a_hole_in_a_list_or_in_a_message_is_one_by_the_name_of_nan(tmp_path):
    given = [{"tokens": [NAN if i % 10 == 0 else "a", f"b{i}"], "tags": ["X", "Y"]} for i in range(100)]
    assert rows_of(tmp_path / "rows.jsonl", "token-classification", given)[1] == {"empty rows": 10}
    given = [{**row, "tokens": json.dumps(row["tokens"])} for row in given]
    assert rows_of(tmp_path / "rows.jsonl", "token-classification", given)[1] == {"empty rows": 10}
    turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": NAN}]
    given = [{"messages": turns if i == 0 else [turns[0], {"role": "assistant", "content": f"a{i}"}]} for i in range(100)]
    assert rows_of(tmp_path / "rows.jsonl", "chat", given)[1] == {"empty rows": 1}


@pytest.mark.parametrize("blank", ["", "  ", "\u00a0", NAN])
def test_a_blank_word_tag_or_choice_is_none(blank, tmp_path):
    given = [{"tokens": [blank if i < 10 else "a", f"b{i}"], "tags": ["X", "Y"]} for i in range(100)]
    assert rows_of(tmp_path / "rows.jsonl", "token-classification", given)[1] == {"empty rows": 10}
    given = [{"tokens": ["a", f"b{i}"], "tags": [blank if i < 10 else "X", "Y"]} for i in range(100)]
    assert rows_of(tmp_path / "rows.jsonl", "token-classification", given)[1] == {"empty rows": 10}
    given = [{"question": f"q{i}", "choices": ["a", blank if i < 10 else "b"], "label": 0} for i in range(100)]
    assert rows_of(tmp_path / "rows.jsonl", "multiple-choice", given)[1] == {"empty rows": 10}
    given = [{"text": f"t{i}", "label": [blank, "a"] if i < 10 else ["a", "b"]} for i in range(100)]
    assert rows_of(tmp_path / "rows.jsonl", "text-classification", given)[1] == {"empty rows": 10}


@pytest.mark.parametrize(
    "answers",
    [
        {"text": ["  "], "answer_start": [1]},
        {"text": "", "answer_start": 1},
        {"text": [None, NAN], "answer_start": [1, 2]},
        [{"text": " ", "answer_start": 1}],
        '{"text": [""], "answer_start": [1]}',
    ],
)
def test_a_blank_answer_is_not_the_answer_that_there_is_none(answers, tmp_path):
    given = [
        {"question": "q", "context": f"c{i}", "answers": answers if i < 10 else {"text": [], "answer_start": []}}
        for i in range(100)
    ]
    if isinstance(answers, str):
        given = [
            {**row, "answers": row["answers"] if row["answers"] is answers else json.dumps(row["answers"])} for row in given
        ]
    found, dropped = rows_of(tmp_path / "rows.jsonl", "question-answering", given)
    assert dropped == {"empty rows": 10}
    assert all(row["answers"] == {"text": [], "answer_start": []} for row in found)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
@pytest.mark.parametrize("nothing", [NAN, None, " "])
def test_rows_of_no_group_have_none_in_common(name, nothing, tmp_path):
    group = str if nothing == " " else float
    given = [{"text": f"t{i}", "label": "ab"[i % 2], "group": nothing if i < 500 else group(i // 4)} for i in range(600)]
    splits = splits_of(tmp_path / name, "text-classification", given)[0]
    alone = Counter({part: sum(int(text[1:]) < 500 for text in rows["text"]) for part, rows in splits.items()})
    assert min(alone["validation"], alone["test"]) > 25
    parts = [{int(text[1:]) // 4 for text in rows["text"] if int(text[1:]) >= 500} for rows in splits.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 25


@pytest.mark.parametrize("content", ['"t \\ud83d"', '["t", "\\ud83d"]', '{"a": "\\ude00"}'])
def test_half_of_a_character_is_named_with_its_row(content, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "whole \\ud83d\\ude00", "label": 1}\n' + f'{{"text": {content}, "label": 0}}\n' * 30)
    source = sources.text_source({"path": "json", "files": str(path)})
    told = r"row 1 of rows.jsonl holds half of a character, \\ud[8e][30][d0]: write the whole one, or leave the row out"
    with pytest.raises(InputError, match=told):
        task_splits(source, TASKS["text-classification"].columns, ("text",), 0.1, 0.1)
    if content.startswith('"'):
        with pytest.raises(InputError, match=told):
            loading.load_rows(source)


def test_half_of_a_character_in_json_in_a_cell_is_named_with_its_row(tmp_path):
    given = [{"messages": json.dumps([{"role": "user", "content": "\ud83d"}, {"role": "assistant", "content": "a"}])}]
    with pytest.raises(InputError, match="column 'messages' of row 0 cannot be read"):
        splits_of(tmp_path / "rows.jsonl", "chat", given)


def test_signs_that_do_not_show_are_written_out():
    assert listed(["a\nb", "é\u202e", "\x1b[2J", "plain ü 好"]) == r"a\nb, é\u202e, \x1b[2J, plain ü 好"
