"""Tables without a line of names: their first row is said to be read as one; what is a name is not taken for a row."""

import pytest

from hf_gpt.data import loading, sources
from hf_gpt.data.rows import task_splits
from hf_gpt.errors import InputError


REVIEWS = [f"I have seen this film {i} times and I would see it again with all of my friends." for i in range(40)]
SHORT = [f"line {'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10]}" for i in range(40)]
CHINESE = [f"床前明月光，疑是地上霜，举头望明月{i}。" for i in range(40)]


def source_of(path, rows, sign=","):
    path.write_text("".join(sign.join(f'"{cell}"' if sign in str(cell) else str(cell) for cell in row) + "\n" for row in rows))
    return sources.text_source({"path": "csv", "files": str(path)})


NAMELESS = {
    "sentences and 0": [(text, i % 2) for i, text in enumerate(REVIEWS)],
    "0 and sentences": [(i % 2, text) for i, text in enumerate(REVIEWS)],
    "sentences alone": [(text,) for text in REVIEWS],
    "Chinese": [(text, i) for i, text in enumerate(CHINESE)],
    "questions": [(f"What is the name of {i}?", f"It is number {i}") for i in range(40)],
    "classes": [(text, ("pos", "neg")[i % 2]) for i, text in enumerate(SHORT)],
    "stars": [(i % 5, text) for i, text in enumerate(SHORT)],
    "one number": [(text, i + 7) for i, text in enumerate(SHORT)],
    "dates": [(f"2020-01-{i + 10}", text) for i, text in enumerate(SHORT)],
    "ids": [(f"doc-{i + 1000}", text) for i, text in enumerate(SHORT)],
    "a class twice in a row": [("a", "x"), ("a", "x"), ("b", "y"), ("a", "z"), ("a", "y")],
}


@pytest.mark.parametrize("sign", [",", "\t"])
@pytest.mark.parametrize("kind", list(NAMELESS))
def test_a_first_row_that_is_like_the_others_is_said(kind, sign, tmp_path):
    source = source_of(tmp_path / ("rows.csv" if sign == "," else "rows.tsv"), NAMELESS[kind], sign)
    (said,) = loading.file_lines(source)
    assert "may have no line of names: its first row is read as that and not as a row" in said
    assert "write a line of names above it" in said
    assert "\n" not in said
    # Who asks for a column by its name is told, too.
    with pytest.raises(InputError, match=r"is not a column; the columns are .*may have no line of names"):
        loading.load_rows(source)
    with pytest.raises(InputError, match=r"is not a column; the columns are .*may have no line of names"):
        task_splits(source, {"text": True, "label": True}, ("text",), 0.1, 0.1)


NAMED = {
    "usual": [("text", "label"), *NAMELESS["sentences and 0"]],
    "pandas": [("0", "1"), *NAMELESS["sentences and 0"]],
    "pandas' numbers of rows": [("", "0"), *((i, i % 2) for i in range(40))],
    "another of pandas": [("index", "0"), *((i, i % 2) for i in range(40))],
    "pandas' unnamed": [("Unnamed: 0", "text"), *((i, text) for i, text in enumerate(REVIEWS))],
    "0 from pandas": [("text", "0"), *((text, i + 3) for i, text in enumerate(REVIEWS))],
    "years": [("country", "2019", "2020"), *((text, i, 2000 + i) for i, text in enumerate(SHORT))],
    "a year": [("country", "2019"), *((text, i) for i, text in enumerate(SHORT))],
    "dates above numbers": [("name", "2020-01-01", "2020-01-02"), *((text, i, i) for i, text in enumerate(SHORT))],
    "numbered": [("q1", "q2"), *((text, i) for i, text in enumerate(SHORT))],
    "a survey": [
        ("How satisfied are you with our service on a scale of 1 to 10?", "Please say in a few words what you would change."),
        *((i % 10, ("nothing", "prices")[i % 2]) for i in range(40)),
    ],
    "an open question": [("What did you like most about the film?",), *((text,) for text in REVIEWS)],
    "a name as a cell": [("title", "label"), ("title", 1), *((text, i % 2) for i, text in enumerate(SHORT))],
    "files in a row": [("text", "label"), *NAMELESS["classes"], ("text", "label"), *NAMELESS["classes"], ("text", "label")],
    "names alone": [("text", "label")],
    "Chinese": [("评论内容", "标签"), *NAMELESS["Chinese"]],
    "empty cells": [("text", "label"), ("a", ""), ("b", "")],
}


@pytest.mark.parametrize("kind", list(NAMED))
def test_names_are_names(kind, tmp_path):
    assert loading.file_lines(source_of(tmp_path / "rows.csv", NAMED[kind])) == []
