"""Rows of several layouts in one dataset: each is read by its own, and none that says something is called empty."""

import json

import pytest
from datasets import Dataset
from tests.data.test_rows import ASKED, FAULTS, rows_of, splits_of

from hf_gpt.data import layouts, sources
from hf_gpt.data.loading import load_rows
from hf_gpt.data.rows import task_splits
from hf_gpt.data.splits import split_rows
from hf_gpt.tasks import TASKS


def asked(i):
    return [{"role": "user", "content": f"u{i}"}, {"role": "assistant", "content": f"a{i}"}]


# Layouts of one conversation.
DIALOGUES = [
    lambda i: {"messages": asked(i)},
    lambda i: {"conversations": [{"from": "human", "value": f"u{i}"}, {"from": "gpt", "value": f"a{i}"}]},
    lambda i: {"instruction": f"u{i}", "input": "", "output": f"a{i}"},
    lambda i: {"messages": json.dumps(asked(i))},
    lambda i: {
        "conversations": [{"role": "user", "content": f"u{i}"}, {"role": "assistant", "content": f"a{i}", "weight": 1}]
    },
]


@pytest.mark.parametrize("chosen", [(0, 1), (1, 0), (0, 2), (1, 2), (2, 1), (0, 1, 2), (1, 4, 2), (3, 2), (3, 1)])
def test_each_conversation_is_read_by_its_own_layout(tmp_path, chosen):
    given = [DIALOGUES[chosen[i % len(chosen)]](i) for i in range(90)]
    found, dropped = rows_of(tmp_path, "chat", given)
    spoken = [[{name: turn[name] for name in ("role", "content")} for turn in row["messages"]] for row in found]
    assert sorted(spoken, key=str) == sorted(map(asked, range(90)), key=str)
    assert dropped == {}


def test_layouts_of_several_files_are_read(tmp_path):
    for name, make in zip("abc", DIALOGUES):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(make(i + 100 * ord(name))) + "\n" for i in range(30)))
    source = sources.text_source({"path": "json", "files": str(tmp_path / "*.jsonl")})
    splits, dropped, counts = task_splits(source, TASKS["chat"].columns, TASKS["chat"].group, 0.1, 0.1)
    assert (sum(map(len, splits.values())), dropped, counts) == (90, {}, {})


def test_sources_beside_instructions_and_prompts_beside_conversations_are_read(tmp_path):
    given = [{"source": f"s{i}", "target": i} if i % 2 else {"instruction": f"s{i}", "output": str(i)} for i in range(80)]
    found, dropped = rows_of(tmp_path, "text-to-text", given)
    assert {row["source"]: row["target"] for row in found} == {f"s{i}": str(i) for i in range(80)}
    assert dropped == {}
    given = [
        {"prompt": f"p{i}", "chosen": "a", "rejected": "b"}
        if i % 2
        else {"conversations": [{"from": "human", "value": f"p{i}"}], "chosen": "a", "rejected": "b"}
        for i in range(80)
    ]
    found, dropped = rows_of(tmp_path, "preference", given)
    assert {row["prompt"][-1]["content"] for row in found} == {f"p{i}" for i in range(80)}
    assert dropped == {}


OTHERS = {
    "text-classification": ({"review": "r", "label": 1}, "review in place of text"),
    "token-classification": ({"words": ["a"], "tags": ["X"]}, "words in place of tokens"),
    "question-answering": ({"question": "q", "context": "c", "answer": "c"}, "answer in place of answers"),
    "multiple-choice": ({"question": "q", "options": ["a", "b"], "label": 0}, "options in place of choices"),
    "text-to-text": ({"question": "q", "answer": "a"}, "question, answer in place of source, target"),
    "chat": ({"prompt": "p", "completion": "c"}, "prompt, completion in place of messages"),
    "preference": ({"messages": ASKED}, "messages in place of prompt, chosen, rejected"),
    "reward": ({"question": "q", "chosen": "a", "rejected": "b"}, "question in place of prompt"),
    "reinforcement": ({"question": "q", "answer": "1"}, "question in place of prompt"),
}


@pytest.mark.parametrize("task", list(OTHERS))
def test_a_row_of_a_layout_that_the_task_has_none_for_is_counted_as_what_it_is(tmp_path, task):
    """Beside empty ones, which have nothing that the others have not; in held-out rows, too."""
    make, (other, said) = FAULTS[task][0], OTHERS[task]
    mixed = [{**make(i), "id": i} for i in range(60)] + [{**other, "id": i} for i in range(20)]
    empty = [{**FAULTS[task][1][0], "id": 1}]
    held = tmp_path / "held.jsonl"
    held.write_text("".join(json.dumps(row) + "\n" for row in [make(200), make(201), other]))
    splits, dropped = splits_of(tmp_path, task, [*mixed, *empty], test={"files": str(held)})
    assert dropped == {"empty rows": 1, f"rows (of another layout: {said})": 21}
    assert sum(map(len, splits.values())) == 62


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_texts_in_another_column_of_a_table_are_no_empty_rows(tmp_path, kind):
    texts = {
        "text": [f"t{i}" if i % 4 else None for i in range(80)],
        "review": [None if i % 4 else f"r{i}" for i in range(80)],
    }
    rows = Dataset.from_dict({**texts, "label": [i % 2 for i in range(80)], "id": list(range(80))})
    (rows.to_csv if kind == "csv" else rows.to_parquet)(tmp_path / f"a.{kind}")
    source = sources.text_source({"path": kind, "files": str(tmp_path / f"a.{kind}")})
    task = TASKS["text-classification"]
    splits, dropped, _ = task_splits(source, task.columns, task.group, 0.1, 0.1)
    reason = "(of another layout: review in place of text)"
    assert (sum(map(len, splits.values())), dropped) == (60, {f"rows {reason}": 20})
    found = split_rows(load_rows(source), "text", 0.1, 0.1)
    assert found.dropped == {f"texts {reason}": 20}
    assert found.line().startswith(f"80 texts, 173 bytes: left out 20 texts {reason} (0 bytes); ")


def test_an_answer_of_none_is_no_other_layout(tmp_path):
    """SQuAD 2.0 has plausible answers beside none, and a text may be of no class."""
    answers = [{"text": "c", "answer_start": 0}]
    given = [{"question": "q", "context": f"c{i}", "answers": answers} for i in range(60)]
    none = [{"question": "q", "context": f"n{i}", "answers": [], "plausible_answers": answers} for i in range(30)]
    found, dropped = rows_of(tmp_path, "question-answering", given + none)
    assert (len(found), dropped) == (90, {})
    given = [{"text": f"t{i}", "label": ["a"] if i % 2 else [], "note": None if i % 2 else "none"} for i in range(60)]
    found, dropped = rows_of(tmp_path, "text-classification", given)
    assert (len(found), dropped) == (60, {})


def test_beside_instructions_another_layout_is_no_empty_row(tmp_path):
    other = [{"prompt": f"p{i}", "completion": "c"} for i in range(20)]
    for task, lacks in (("chat", "messages"), ("text-to-text", "source, target")):
        given = [{"instruction": f"do {i}", "output": "a"} for i in range(60)] + other
        found, dropped = rows_of(tmp_path, task, given)
        reason = f"rows (of another layout: prompt, completion in place of {lacks})"
        assert (len(found), dropped) == (60, {reason: 20})


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["b", "a"]])
def test_texts_and_rows_of_another_layout_are_told_apart_in_one_file_and_in_several(tmp_path, names):
    parts = [[{"text": f"t{i}"} for i in range(60)], [{"content": f"c{i}", "meta": {"a": i}} for i in range(30)]]
    parts = parts if len(names) > 1 else [parts[0] + parts[1]]
    for name, part in zip("ab", parts):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    source = sources.text_source({"path": "json", "files": [str(tmp_path / f"{name}.jsonl") for name in names]})
    found = split_rows(load_rows(source), "text", 0.1, 0.1)
    assert found.dropped == {"texts (of another layout: content, meta in place of text)": 30}


def test_what_a_column_holds_is_seen_in_any_type():
    rows = Dataset.from_dict({"a": ["x", " ", "", None], "b": [[1], [], None, [None]], "c": [0.0, float("nan"), None, 1.0]})
    found = {name: layouts.is_filled(rows, name).tolist() for name in rows.column_names}
    assert found == {"a": [True, *[False] * 3], "b": [True, False, False, True], "c": [True, False, False, True]}
    assert layouts.is_filled(rows, "b", may_be_empty=True).tolist() == [True, True, False, True]
