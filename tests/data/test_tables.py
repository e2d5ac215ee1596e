"""Tables and rows as other programs write them: nothing of a cell is lost, moved to another column, or made another value."""

import gzip
import json

import pytest

from hf_gpt.data import loading, sources
from hf_gpt.data.conll import read_conll
from hf_gpt.data.rows import task_splits
from hf_gpt.data.text_columns import find_text_column
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
    assert loading.file_lines(sources.text_source({"path": "csv", "files": str(path)})) == []


@pytest.mark.parametrize(
    "opening",
    ['"{}', '"{} said', '{} "said" "twice'],
    ids=["begin", "begin and another cell", "within"],
)
@pytest.mark.parametrize("sign", [",", ";", "\t"])
@pytest.mark.parametrize("places", [(3,), (3, 8), (3, 4), (3, 30, 80, 81)])
def test_quotes_that_would_hold_rows_are_text(opening, sign, places, tmp_path):
    """As GLUE's tables have them; two of them pair, and one swallows the rest."""
    texts = [opening.format(f"text {i}") if i in places else f"text {i}" for i in range(100)]
    lines = [f"text{sign}label", *(f"{text}{sign}{'ab'[i % 2]}" for i, text in enumerate(texts))]
    path = tmp_path / ("t.tsv" if sign == "\t" else "t.csv")
    assert rows_of(path, lines) == {text: "ab"[i % 2] for i, text in enumerate(texts)}
    said = [f"{path.name} is read with ';' as its separator."] * (sign == ";")
    said += [f"{path.name} is read with its quotes as text: paired, they would hold whole rows."] * (opening[0] == '"')
    assert loading.file_lines(source_of(path, lines)) == said


def test_a_quote_at_an_end_that_closes_another_holds_rows_too(tmp_path):
    texts = [f"text {i}" for i in range(100)]
    texts[7], texts[60] = '"text 7', 'text 60"'
    lines = ["text,label", *(f"{text},{'ab'[i % 2]}" for i, text in enumerate(texts))]
    assert rows_of(tmp_path / "t.csv", lines) == {text: "ab"[i % 2] for i, text in enumerate(texts)}


def test_a_text_of_several_lines_with_commas_stays_one(tmp_path):
    text = "one, two\nthree, four\nfive, a six"
    lines = ["text,label", *(f"text {i},{'ab'[i % 2]}" for i in range(50)), f'"{text}",a']
    assert rows_of(tmp_path / "t.csv", lines)[text] == "a"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('"text,a', "line 12 opens a double quote that holds the rows up to line 32"),
        ('"a \\"good\\" text",a', "line 12 has a double quote behind a backslash: write it twice instead"),
    ],
    ids=["held beside a comma in quotes", "backslash"],
)
def test_quotes_that_cannot_be_told_apart_are_refused_with_their_line(row, told, tmp_path):
    lines = ["text,label", *(f"text {i},{'ab'[i % 2]}" for i in range(10)), row]
    lines += [f"text {i},{'ab'[i % 2]}" for i in range(10, 29)] + ['"text, text",b']
    with pytest.raises(InputError, match=rf"t\.csv': {told}"):
        rows_of(tmp_path / "t.csv", lines)


def test_files_whose_quotes_are_text_are_read_with_others_that_have_none(tmp_path):
    rows = {"a": ['"text 1', "text 2"], "b": ["text 3", "text 4"], "c": ['"text 5\tand more"', "text 6"]}
    for name, texts in rows.items():
        (tmp_path / f"{name}.tsv").write_text("text\tlabel\n" + "".join(f"{text}\tx\n" for text in texts))

    def read(*names):
        files = [str(tmp_path / f"{name}.tsv") for name in names]
        return loading.load_rows(sources.text_source({"path": "csv", "files": files}))["text"][:]

    assert read("a", "b") == [*rows["a"], *rows["b"]]
    assert read("b", "c")[2] == "text 5\tand more"
    with pytest.raises(InputError, match=r"c\.tsv': line 2 has 3 cells under 2 names"):
        read("a", "c")


@pytest.mark.parametrize("sign", [",", ";"])
def test_the_numbers_of_rows_that_pandas_writes_have_no_name(sign, tmp_path):
    lines = [f"{sign}text{sign}label", *(f"{i}{sign}text {i}{sign}{'ab'[i % 2]}" for i in range(50))]
    assert rows_of(tmp_path / "t.csv", lines) == {f"text {i}": "ab"[i % 2] for i in range(50)}


def test_rows_are_chosen_by_a_number_in_a_cell(tmp_path):
    lines = ["text,label,stars", *(f"text {i},{'ab'[i % 2]},{i % 5}" for i in range(200))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    for value in (3, "3"):
        source = sources.text_source({"path": "csv", "files": str(tmp_path / "t.csv"), "where": {"stars": value}})
        splits, _, _ = task_splits(source, {"text": True, "label": True}, ("text",), 0.1, 0.1)
        assert sum(map(len, splits.values())) == 40


def test_a_name_that_is_not_there_is_told_with_the_nearest(tmp_path):
    lines = ["Text,Label", *(f"text {i},{'ab'[i % 2]}" for i in range(9))]
    with pytest.raises(InputError, match=r"'text' is not a column; the columns are Text, Label\. Did you mean 'Text'\?"):
        rows_of(tmp_path / "t.csv", lines)
    with pytest.raises(InputError, match=r"the columns are text 0, a\.( Did|.*what yours are called)"):
        rows_of(tmp_path / "t.csv", [line.replace("Text,Label", "text 0,a") for line in lines])


def test_excel_may_say_the_separator_above_the_names(tmp_path):
    lines = ["sep=;", "text;label", *(f"text, {i};{'ab'[i % 2]}" for i in range(50))]
    assert rows_of(tmp_path / "t.csv", lines) == {f"text, {i}": "ab"[i % 2] for i in range(50)}


def test_names_of_columns_lose_what_stands_around_them_and_one_that_is_there_twice_is_said(tmp_path):
    lines = ["\u200btext, label ,more", *(f"text {i},{'ab'[i % 2]},other" for i in range(50))]
    assert rows_of(tmp_path / "t.csv", lines) == {f"text {i}": "ab"[i % 2] for i in range(50)}
    source = source_of(tmp_path / "t.csv", ["text,text", "one,two"])
    assert loading.load_rows(source)["text"][:] == ["one"]
    assert loading.file_lines(source) == ["t.csv has several columns 'text': the first is read."]


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


@pytest.mark.parametrize("later", ["", "n/a", "4.5", "true"])
def test_a_large_table_is_read_whatever_its_later_rows_hold(later, tmp_path):
    """The types of columns were those of the first ten thousand rows."""
    lines = ["review,stars,stars", *(f"review {i},{later if i == 11_000 else i % 5},{i}" for i in range(12_000))]
    path = tmp_path / "t.csv"
    source = source_of(path, lines)
    assert find_text_column(source) == "review"
    for where, rows in ({}, 12_000), ({"stars": 4}, 2_400), ({"stars": [3, "4"]}, 4_800):
        chosen = sources.text_source({"path": "csv", "files": str(path), "text_column": "review", "where": where})
        assert abs(len(loading.load_rows(chosen)["review"]) - rows) <= 1


@pytest.mark.parametrize("more", [{"note": "seen twice"}, {"score": "n/a"}, {"score": [1]}], ids=str)
def test_a_large_file_of_json_is_read_whatever_its_later_rows_hold(more, tmp_path):
    """The columns were those of the first ten megabytes."""
    rows = [{"text": f"text {i} " + "word " * 250, "score": i % 5} for i in range(10_000)]
    rows[9_500] |= more
    source = source_of(tmp_path / "t.jsonl", map(json.dumps, rows))
    assert loading.load_rows(source)["text"][:] == [row["text"] for row in rows]
    source = sources.text_source({"path": "json", "files": source.files, "where": {"score": 4}})
    assert len(loading.load_rows(source)) == sum(row["score"] == 4 for row in rows)


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


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("New York\tB-P\nis\tO\t \n", [("New York", "B-P"), ("is", "O")]),
        ("a\u00a0b  x O\n c x B-P \n \t\n\n", [("a\u00a0b", "O"), ("c", "B-P")]),
        ("# id 1f2d\tdomain=en\na _ _ O\nb _ _ B-P\n", [("a", "O"), ("b", "B-P")]),
        ("# id 1f2d\tdomain=en\n##  two\na O\nb B-P\n", [("a", "O"), ("b", "B-P")]),
        ("#begin document (x); part 000\nx 0 a NN O\n\n#end document\n", [("x", "O")]),
        ("# O\na O\n\n#tag B-P\nb B-P\n# O\n", [("#", "O"), ("a", "O"), ("#tag", "B-P"), ("b", "B-P"), ("#", "O")]),
        ("-DOCSTART-\n\na O\n\n-DOCSTART- -X- -X- O\n\nb B-P\n", [("a", "O"), ("b", "B-P")]),
        ("\ufeffa O\r\nb B-P\r\n\r\n", [("a", "O"), ("b", "B-P")]),
        ("a O\rb B-P\r", [("a", "O"), ("b", "B-P")]),
        ("\u3000\tO\nb\u2028c\tB-P\n", [("\u3000", "O"), ("b\u2028c", "B-P")]),
    ],
    ids=[
        "space",
        "no break",
        "multiconer",
        "comments of two columns",
        "ontonotes",
        "words",
        "docstart",
        "crlf",
        "cr",
        "signs",
    ],
)
@pytest.mark.parametrize("is_packed", [False, True])
def test_words_a_line_as_corpora_have_them(text, wanted, is_packed, tmp_path):
    path = tmp_path / ("t.conll.gz" if is_packed else "t.conll")
    path.write_bytes(gzip.compress(text.encode()) if is_packed else text.encode())
    assert [pair for row in read_conll([path], "conll") for pair in zip(row["tokens"], row["tags"])] == wanted


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "a O\nNew York B-P\n",
            "line 2 of .* has 3 columns, and line 1 has 2: give each word as many, with tabs between them",
        ),
        ("a\tx\tO\n\tx\tO\n", "line 2 of .* has 3 columns, and 'conll' needs 2"),
        ("a O\nb\n", "line 2 of .* has 1 column, and 'conll' needs 2"),
        ("a\tO\nb\t\n", "line 2 of .* has 1 column, and 'conll' needs 2"),
    ],
)
def test_a_line_whose_word_or_tag_would_be_another_is_refused(text, told, tmp_path):
    (tmp_path / "t.conll").write_text(text)
    with pytest.raises(InputError, match=told):
        list(read_conll([tmp_path / "t.conll"], "conll"))


SPLIT = {
    "last": ("label,text", "{label},text {i}", "good,First line\nand the second"),
    "blank lines": ("label,text", "{label},text {i}", "good,First line\n\nand the second"),
    "middle": ("id,text,date", "{i},a text {i} of {word},2020-01-{day}", "5,A first line\nand a second,2020-01-01"),
    "three": ("id,text,date", "{i},a text {i} of {word},2020-01-{day}", "5,A first line\nand a second\nand more,2020-01-01"),
    "every row": ("id,text,date", "{i},A first line\nand {word},2020-01-{day}", "5,a first line\nand a second,2020-01-01"),
}


@pytest.mark.parametrize("kind", list(SPLIT))
@pytest.mark.parametrize("sign", [",", "\t"])
def test_a_text_that_goes_on_in_a_line_without_quotes_is_refused(kind, sign, tmp_path):
    names, row, split = SPLIT[kind]
    rows = [
        row.format(i=i, label=("good", "bad")[i % 2], day=i % 20 + 10, word="abcdefghij"[i % 10] * (i + 1)) for i in range(40)
    ]
    lines = [line.replace(",", sign) for line in (names, *rows[:20], split, *rows[20:])]
    source = source_of(tmp_path / ("t.tsv" if sign == "\t" else "t.csv"), lines)
    cells, line = 1 if "date" not in names else 2, {"blank lines": 24, "three": 24, "every row": 3}.get(kind, 23)
    told = rf"': line {line} has {cells} cells? under {names.count(',') + 1} names, and they are the rest of the row above it: put"
    with pytest.raises(InputError, match=told):
        loading.load_rows(source)
    quoted = [line.replace("A first line\nand a second", '"A first line\nand a second"') for line in lines]
    if kind == "middle":
        assert loading.load_rows(source_of(tmp_path / "t.csv", quoted))["text"][20] == "A first line\nand a second"


@pytest.mark.parametrize("sign", [",", "\t"])
@pytest.mark.parametrize("places", [range(1, 17), range(16, 32), [39], [3], [3, 4], range(1, 40, 2)])
@pytest.mark.parametrize("left", [1, 2])
def test_rows_whose_last_cells_are_left_out_are_told(sign, places, left, tmp_path):
    """Excel does so where those of sixteen rows are empty."""
    rows = [[f"text {'abcdefghij'[i % 10] * (i + 1)}", "ab"[i % 2], f"a remark {i}"] for i in range(40)]
    rows = [row[: len(row) - left] if i in places else row for i, row in enumerate(rows)]
    lines = [sign.join(row) for row in (["text", "label", "remark"], *rows)]
    path = tmp_path / ("t.tsv" if sign == "\t" else "t.csv")
    source = source_of(path, lines)
    assert loading.load_rows(source)["text"][:] == [row[0] for row in rows]
    many = "1 row has" if len(places) == 1 else f"{len(places)} rows have"
    first = f"the first in line {places[0] + 2}: put a text of several lines into double quotes."
    assert loading.file_lines(source) == [f"{path.name}: {many} fewer cells than names, {first}"]


@pytest.mark.parametrize("more", [",label", ",label,remark"])
def test_a_column_that_no_row_has_is_told(more, tmp_path):
    source = source_of(tmp_path / "t.csv", [f"text{more}", *(f"text {i}{',a' * (more.count(',') - 1)}" for i in range(40))])
    assert loading.load_rows(source)["text"][:] == [f"text {i}" for i in range(40)]
    assert "40 rows have fewer cells than names, the first in line 2" in loading.file_lines(source)[0]


def test_lines_without_anything_are_no_short_rows(tmp_path):
    source = source_of(tmp_path / "t.csv", ["", "text,label", "", "one,a", "  ", "two,b", "", ""])
    assert loading.load_rows(source)["text"][:] == ["one", "two"]
    assert loading.file_lines(source) == []
