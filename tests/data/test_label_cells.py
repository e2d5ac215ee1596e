"""Labels as other programs write them: each is the number, the list or the class that was meant, or refused."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import example, given
from hypothesis import strategies as st

from hf_gpt.data import sources
from hf_gpt.data.labels import read_literal
from hf_gpt.data.loading import load_rows, text_rows
from hf_gpt.data.rows import task_splits
from hf_gpt.errors import InputError
from hf_gpt.tasks import TASKS


def splits_of(path, task="text-classification", **dataset):
    kinds = {".csv": "csv", ".jsonl": "json", ".parquet": "parquet"}
    source = sources.text_source({"path": kinds[path.suffix], "files": str(path), **dataset})
    return task_splits(source, TASKS[task].columns, TASKS[task].group, 0.1, 0.1)[0]


def labels_of(splits):
    return {row["text"]: row["label"] for part in splits.values() for row in part}


def table_of(tmp_path, cells, sign=","):
    path = tmp_path / "t.csv"
    quoted = ['"{}"'.format(cell.replace('"', '""')) for cell in cells]
    path.write_text(f"text{sign}label\n" + "".join(f"text {i}{sign}{quoted[i % len(cells)]}\n" for i in range(60)))
    return path


@pytest.mark.parametrize(
    ("cells", "sign", "wanted"),
    [
        (["3,5", "-0,25", "4"], ";", [3.5, -0.25, 4.0]),
        (["3,5", "-0,25", "4"], "\t", [3.5, -0.25, 4.0]),
        (["1.234,5", "1.000", "7,25"], ";", [1234.5, 1000.0, 7.25]),
        (["1.234.567", "1.000"], ";", [1234567, 1000]),
        (["1,234.5", "1,000", "7"], ",", [1234.5, 1000.0, 7.0]),
        (["1,234", "15", "2,000"], ",", [1234, 15, 2000]),
        (["1.0", "2.0", ""], ",", [1, 2, None]),
        (["1.5", "2.0", ""], ",", [1.5, 2.0, None]),
        (["01,5", "x"], ";", ["01,5", "x"]),
    ],
)
def test_numbers_are_read_as_their_country_writes_them(cells, sign, wanted, tmp_path):
    found = labels_of(splits_of(table_of(tmp_path, cells, sign)))
    read = {f"text {i}": wanted[i % len(wanted)] for i in range(60)}
    assert found == {text: label for text, label in read.items() if label is not None}
    assert {type(label) for label in found.values()} == {type(label) for label in wanted if label is not None}


@pytest.mark.parametrize(("cells", "sign"), [(["0,2", "1"], ","), (["1,000", "2,500"], ";"), (["1,000"], "\t")])
def test_a_number_that_may_be_another_is_refused(cells, sign, tmp_path):
    with pytest.raises(InputError, match=f"label '{cells[0]}' may be one number, another one, or several classes: write"):
        splits_of(table_of(tmp_path, cells, sign))


SAID = st.text() | st.text("ab'\" \n\\,[]{}#")


@given(
    st.recursive(
        st.lists(SAID) | st.dictionaries(SAID, SAID), lambda inner: st.lists(inner | SAID) | st.dictionaries(SAID, inner)
    )
)
@example([{"role": "user", "content": 'print(" ".join(x))'}])
@example(["it's", 'a " "', "' ' \" \""])
def test_texts_in_a_list_that_python_wrote_are_kept_letter_by_letter(value):
    assert read_literal(str(value)) == value


@pytest.mark.parametrize("text", ["['a' 'b'\n 'c']", "['a' 'b' 'c']\n", "[ 'a'\n\n'b', 'c' ]", "['a', 'b', 'c']"])
def test_texts_without_a_comma_between_them_are_those_of_numpy(text):
    assert read_literal(text) == ["a", "b", "c"]
    assert read_literal("""['print(" ".join(x))' "it's"]""") == ['print(" ".join(x))', "it's"]


@pytest.mark.parametrize("text", ["['a' 'b", "['a' 'b'", "'a' 'b']", "['a' ''' 'b'", "['a' 'b' ... 'c']", "'a' 'b'\n  x\n y"])
def test_what_is_no_list_of_texts_is_none(text):
    with pytest.raises(ValueError, match=re.escape(text)):
        read_literal(text)


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        (['["a", "b"]', "[]", '["c d"]'], [["a", "b"], [], ["c d"]]),
        (["['a', 'b']", "[]", "['c, d']"], [["a", "b"], [], ["c, d"]]),
        (["['a' 'b']", "['c']"], [["a", "b"], ["c"]]),
        (["[1, 0, 1]", "[0, 0, 1]"], [[1, 0, 1], [0, 0, 1]]),
        (["[1. 0. 1.]", "[0. 0. 1.]"], [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
        (['["a", 1]', "[2]"], [["a", "1"], ["2"]]),
        (["[x]", "[y]"], ["[x]", "[y]"]),
    ],
)
@pytest.mark.parametrize("is_table", [True, False])
def test_lists_that_are_written_as_text_are_lists(cells, wanted, is_table, tmp_path):
    path = table_of(tmp_path, cells) if is_table else tmp_path / "t.jsonl"
    if not is_table:
        rows = [{"text": f"text {i}", "label": cells[i % len(cells)]} for i in range(60)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert labels_of(splits_of(path)) == {f"text {i}": wanted[i % len(cells)] for i in range(60)}


def test_a_name_among_lists_is_refused_with_its_row(tmp_path):
    with pytest.raises(InputError, match=r"row 1 has label 'b' where others are lists such as \['a'\]: write all of them"):
        splits_of(table_of(tmp_path, ['["a"]', "b"]))


def test_tags_and_words_as_python_shows_them(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("tokens,tags\n" + "".join(f'"[\'w{i}\', ""it\'s""]","[\'X\', \'Y\']"\n' for i in range(60)))
    rows = [row for part in splits_of(path, "token-classification").values() for row in part]
    assert sorted(row["tokens"][0] for row in rows) == sorted(f"w{i}" for i in range(60))
    assert all(row["tokens"][1:] == ["it's"] and row["tags"] == ["X", "Y"] for row in rows)


ARROW = {
    "decimal": (pa.array([i % 5 + 0.5 for i in range(60)]).cast(pa.decimal128(5, 2)), 0.5),
    "bytes": (pa.array([b"ab"[i % 2 : i % 2 + 1] for i in range(60)], pa.binary()), "a"),
    "large lists": (pa.array([["ab"[i % 2]] for i in range(60)], pa.large_list(pa.string())), ["a"]),
}


@pytest.mark.parametrize("kind", ARROW)
def test_types_of_arrow_that_others_write(kind, tmp_path):
    column, first = ARROW[kind]
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(60)], "label": column}), tmp_path / "t.parquet")
    assert labels_of(splits_of(tmp_path / "t.parquet"))["text 0"] == first


def test_labels_that_one_number_cannot_tell_apart_are_refused_and_of_json_told_apart(tmp_path):
    labels = [12345678901234567890 + i % 2 for i in range(60)]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(f'{{"text": "text {i}", "label": {label}}}\n' for i, label in enumerate(labels)))
    assert set(labels_of(splits_of(path)).values()) == set(map(str, labels))
    path = tmp_path / "t.parquet"
    Dataset.from_dict({"text": [f"text {i}" for i in range(60)], "label": list(map(float, labels))}).to_parquet(path)
    with pytest.raises(InputError, match=r"row 0 of .* has label 12345678901234567168, or one beside it"):
        splits_of(path)


NAMED = ClassLabel(names=["neg", "pos"])


def parquet(path, labels, feature, column="label"):
    rows = {"text": [f"{path.stem} {i}" for i in range(len(labels))], column: labels}
    if column == "tags":
        rows = {"tokens": [[text] * len(tags) for text, tags in zip(rows["text"], labels)], column: labels}
    kinds = {name: Value("string") if name == "text" else List(Value("string")) for name in rows}
    Dataset.from_dict(rows, Features({**kinds, column: feature})).to_parquet(path)
    return path


@pytest.mark.parametrize(
    ("labels", "feature"),
    [
        ([0, 0, 1], ClassLabel(names=["pos", "neg"])),
        ([2, 2, 0], ClassLabel(names=["neg", "other", "pos"])),
        (["pos", "pos", "neg"], Value("string")),
        ([1, 1, 0], Value("int64")),
    ],
    ids=["another order", "more of them", "names", "numbers"],
)
def test_held_out_classes_are_those_of_training_by_their_names(labels, feature, tmp_path):
    path = parquet(tmp_path / "train.parquet", [0, 1] * 30, NAMED)
    held = parquet(tmp_path / "held.parquet", labels, feature)
    assert list(splits_of(path, test={"files": str(held)})["test"]["label"]) == [1, 1, 0]
    tags = parquet(tmp_path / "tags.parquet", [[0, 1]] * 30, List(NAMED), "tags")
    held = parquet(tmp_path / "other.parquet", [labels], List(feature), "tags")
    assert list(splits_of(tags, "token-classification", test={"files": str(held)})["test"]["tags"]) == [[1, 1, 0]]


@pytest.mark.parametrize(
    ("labels", "feature", "told"),
    [([0, 1], ClassLabel(names=["neg", "other"]), "'other'"), ([0, 2], Value("int64"), "2")],
    ids=["a name", "a number"],
)
def test_a_held_out_class_that_training_has_not_is_named(labels, feature, told, tmp_path):
    path = parquet(tmp_path / "train.parquet", [0, 1] * 30, NAMED)
    held = parquet(tmp_path / "held.parquet", labels, feature)
    with pytest.raises(InputError, match=f"label {told} of the test split is none of the training data's, which are neg, pos"):
        splits_of(path, test={"files": str(held)})


def test_bytes_are_text_if_they_are_utf8_and_named_if_not(tmp_path):
    for ends, is_text in ((b" caf\xc3\xa9", True), (b" caf\xe9", False)):
        column = pa.array([f"text {i}".encode() + ends for i in range(60)], pa.binary())
        pq.write_table(pa.table({"text": column, "label": ["a", "b"] * 30}), tmp_path / "t.parquet")
        source = sources.text_source({"path": "parquet", "files": str(tmp_path / "t.parquet")})
        if is_text:
            assert "text 1 café" in labels_of(splits_of(tmp_path / "t.parquet"))
            assert text_rows(load_rows(source), "text")["text"][1] == "text 1 café"
            continue
        with pytest.raises(InputError, match="column 'text' cannot be read as text: Invalid UTF8"):
            splits_of(tmp_path / "t.parquet")
        with pytest.raises(InputError, match="text_column='text' cannot be read as text: Invalid UTF8"):
            text_rows(load_rows(source), "text")


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
def test_labels_that_differ_by_white_space_at_an_end_are_one_and_counted(name, tmp_path):
    sign = "," if name == "rows.csv" else "\t"
    labels = ["neg", " neg", "neg ", "pos", "\u00a0neg"]
    lines = [f"text{sign}label", *(f"text {i}{sign}{labels[i % 5]}" for i in range(100))]
    (tmp_path / name).write_text("\n".join(lines))
    (tmp_path / f"test-{name}").write_text(f"text{sign}label\nanother{sign}pos\nmore{sign}neg\nmost{sign} neg\n")
    given = {"path": "csv", "files": str(tmp_path / name)}
    columns = {"text": True, "label": True}
    source = sources.text_source({**given, "test": {"files": str(tmp_path / f"test-{name}")}})
    splits, _, counts = task_splits(source, columns, ("text",), 0.1, 0)
    assert set(splits["train"]["label"]) == {"neg", "pos"}
    said = "labels (' neg' as 'neg') are read without white space at an end"
    assert {split: found[said] for split, found in counts.items()} == {"train": 60, "test": 1}
    # Beside a comma and a space, no label has another form.
    (tmp_path / name).write_text("\n".join([lines[0], *(f"text {i}{sign} {'ab'[i % 2]}" for i in range(100))]))
    assert not task_splits(sources.text_source(given), columns, ("text",), 0.1, 0.1)[2]
