"""Rows and labels that may be a mistake: learned as they are, and said."""

import json

import pytest
from datasets import Dataset

from hf_gpt.data.rows import task_splits
from hf_gpt.data.sources import text_source
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.errors import InputError
from hf_gpt.tasks import TASKS, TaskSettings


def counts_of(tmp_path, task, given, **dataset):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    source = text_source({"path": "json", "files": str(path), **dataset})
    splits, _, counts = task_splits(source, TASKS[task].columns, TASKS[task].group, 0.2, 0.2)
    said = "rows are as another one is, but for the label"
    return {name: len(part) for name, part in splits.items()}, {name: found.get(said, 0) for name, found in counts.items()}


@pytest.mark.parametrize("group", [{}, {"group": 1}])
def test_the_same_text_with_two_labels_is_counted_in_its_split(group, tmp_path):
    given = [{"text": f"t{i % 30}", "label": "ab"[i // 30 % 2]} for i in range(90)]
    if group:
        given = [{**row, "group": i} for i, row in enumerate(given)]
    sizes, counts = counts_of(tmp_path, "text-classification", given)
    assert sizes == counts if not group else sum(counts.values()) == 90
    # The same label of another group is no other one.
    given = [{**row, "label": "ab"[int(row["text"][1:]) % 2]} for row in given]
    assert counts_of(tmp_path, "text-classification", given)[1] == {}


def test_tags_choices_and_pairs_are_compared_in_all_that_is_read(tmp_path):
    given = [{"tokens": ["a", f"b{i % 40}"], "tags": ["X", "XY"[i // 40]]} for i in range(80)]
    sizes, counts = counts_of(tmp_path, "token-classification", given)
    assert sizes == counts
    given = [{"question": f"q{i % 40}", "choices": ["a", "b"], "label": i // 40} for i in range(80)]
    sizes, counts = counts_of(tmp_path, "multiple-choice", given)
    assert sizes == counts
    given = [{"text": f"t{i % 40}", "text_pair": f"p{i}", "label": i // 40} for i in range(80)]
    assert counts_of(tmp_path, "text-classification", given)[1] == {}
    given = [{"source": f"s{i % 40}", "target": f"t{i}"} for i in range(80)]
    assert counts_of(tmp_path, "text-to-text", given)[1] == {}


def test_held_out_rows_are_compared_with_each_other(tmp_path):
    held_out = tmp_path / "test.jsonl"
    held_out.write_text("".join(json.dumps({"text": f"h{i % 5}", "label": i // 5}) + "\n" for i in range(10)))
    given = [{"text": f"t{i}", "label": i % 2} for i in range(90)]
    assert counts_of(tmp_path, "text-classification", given, test={"files": str(held_out)})[1] == {"test": 10}


# ------------------------------------------------------------------------------------------------------------ labels


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(iter([["red blue"] * 9]), 300, 64)


def summary_of(name, tokenizer, rows, **settings):
    task = TASKS[name](tokenizer, TaskSettings(**settings))
    task.counts["train"] = task.counts.get("train", {})
    train = Dataset.from_list(rows)
    task.learn(train)
    return task.summary(train)


@pytest.mark.parametrize("name", ["text-classification", "token-classification"])
def test_a_name_of_no_class_is_said(name, tokenizer):
    rows = [{"text": "a", "label": label, "tokens": ["a"], "tags": [str(label)]} for label in (0, 1, 1)]
    said = summary_of(name, tokenizer, rows, class_names={0: "neg", 2: "pos"})
    assert said[-1] == "Mind that class_names has 2: pos, and no such label is in the train split, which has 1, neg."
    for fine in ({0: "neg", 1: "pos"}, {1: "pos"}, {0: "same", "1": "other"}, None):
        assert len(summary_of(name, tokenizer, rows, class_names=fine)) == 1


@pytest.mark.parametrize(
    ("labels", "unknown"), [([-1, 0, 1, 2], "-1"), (["-", "yes", "no"], "-"), ([-1, 0, 1], None), ([-1, 1], None)]
)
def test_a_label_that_may_be_none_is_said(labels, unknown, tokenizer):
    said = summary_of("text-classification", tokenizer, [{"text": "a", "label": label} for label in labels])
    assert [line.partition(":")[0] for line in said[1:]] == (
        [f"Mind that {unknown!r} is learned as a label"] if unknown else []
    )


def choosing(*labels):
    return [{"question": f"q{i}", "choices": ["x", "y", "z"], "label": label} for i, label in enumerate(labels)]


def test_right_choices_are_counted_and_a_first_one_that_is_never_right_is_said(tokenizer):
    assert summary_of("multiple-choice", tokenizer, choosing(0, 2, 2)) == ["right choices of the train split: 2 2, 0 1."]
    said = summary_of("multiple-choice", tokenizer, choosing("1", "2", "2"))
    assert said == [
        "right choices of the train split: 2 2, 1 1.",
        "Mind that the first choice, 0, is right in no row: labels count from 0, not 1.",
    ]
    task = TASKS["multiple-choice"](tokenizer, TaskSettings())
    with pytest.raises(
        InputError, match=r"has label 3: give the index of the right choice, 0 to 2 \(the first one is 0, not 1\)"
    ):
        task.prepare({"train": Dataset.from_list(choosing(1, 2, 3))})


def test_signs_in_labels_that_do_not_show_are_written_out(tokenizer):
    rows = [{"text": "a", "label": label} for label in ("a\n# H1", "é\u202e", "b")]
    assert summary_of("text-classification", tokenizer, rows)[0] == r"labels of the train split: a\n# H1 1, é\u202e 1, b 1."
