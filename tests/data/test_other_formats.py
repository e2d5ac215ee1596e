"""Files of another encoding, of another program, or packed in a folder: read, or refused with what to do."""

import bz2
import codecs
import gzip
import lzma
import re
import zipfile

import pytest

from hf_gpt.data import loading, sources, text_files
from hf_gpt.errors import InputError


def read(path, **given):
    return loading.load_rows(sources.text_source({"path": "text", "files": str(path), **given}))


@pytest.mark.parametrize(
    ("text", "encoding", "named"),
    [
        ("déjà vu, café", "cp1252", "WINDOWS-1252 for Western Europe"),
        ("Привет, мир", "cp1251", "WINDOWS-1251 for Cyrillic"),
        ("你好，世界。" * 9, "gb18030", "GB18030 for Chinese"),
        ("你好嗎，世界。" * 9, "big5", "BIG5 for traditional Chinese"),
        ("こんにちは世界" * 9, "shift_jis", "SHIFT_JIS for Japanese"),
        ("안녕하세요 세계" * 9, "euc-kr", "EUC-KR for Korean"),
    ],
)
def test_another_encoding_is_refused_with_those_that_it_may_be(text, encoding, named, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(f"{text}\n".encode(encoding))
    with pytest.raises(
        InputError, match=r"not UTF-8 at byte .*: convert it first, iconv -f ENCODING -t UTF-8, from what"
    ) as told:
        read(path)
    assert named in str(told.value)


WIDE = [f"utf-{width}{mark}" for width in (16, 32) for mark in ("", "-le", "-be")]
TEXTS = {
    "english": "a plain text, of words\n" * 9,
    "one": "a",
    "chinese": "一二三，床前明月光。\n" * 9,
    "accents": "déjà vu\r\n" * 9,
}


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("text", list(TEXTS))
def test_signs_of_two_and_four_bytes_are_refused_with_what_converts_them(encoding, text, tmp_path):
    """Most of them are UTF-8 without a mark, each second sign a zero byte."""
    content = TEXTS[text].encode(encoding)
    (tmp_path / "a.txt").write_bytes(content)
    for given in ({}, {"sample_by": "line"}, {"streaming": True}):
        with pytest.raises(InputError, match=r"is not UTF-8 at byte .: convert it first: ") as told:
            read(tmp_path / "a.txt", **given)
        # What it says does it.
        assert content.decode(re.search("iconv -f ([^ ]+) -t UTF-8.$", str(told.value))[1]) == TEXTS[text]


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE])
def test_a_mark_of_another_machine_is_one(mark, tmp_path):
    width = {2: 16, 4: 32}[len(mark)]
    (tmp_path / "a.csv").write_bytes(mark + "text,label\n".encode(f"utf-{width}-be"))
    with pytest.raises(InputError, match=f"convert it first: iconv -f UTF-{width} -t UTF-8, or save it in Excel as CSV UTF-8"):
        loading.load_rows(sources.text_source({"path": "csv", "files": str(tmp_path / "a.csv")}))


@pytest.mark.parametrize("place", [3, 9_000, 1_100_000])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.csv", "a.jsonl"])
def test_a_zero_byte_anywhere_is_refused_with_its_place(place, name, tmp_path):
    row = '{"text": "some words"}\n' if "json" in name else "some words\n"
    content = bytearray((row * (1_200_000 // len(row))).encode())
    content[place] = 0
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    source = sources.text_source({**text_files.source_of(tmp_path / name), "text_column": "text"})
    with pytest.raises(
        InputError, match=rf"holds zero bytes: it is no text\. The first is byte {place}; of a text with a few"
    ):
        loading.load_rows(source)
    # In a folder it is one of those that are no text.
    (tmp_path / "b.txt").write_text("words\n")
    assert text_files.read_folder(tmp_path, "text").files == (tmp_path / "b.txt",)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "is a PDF: save what is in it as text"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 99, "is a document of Word or Excel"),
        ("a.txt", b"{\\rtf1\\ansi some words}", "is rich text"),
        ("a.db", b"SQLite format 3\0", "is a database"),
        ("a.bin", b"\x80\0\0\0 words", "is not UTF-8 at byte 0, and holds zero bytes: it is no text"),
    ],
)
def test_what_is_no_text_is_named(name, content, told, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=told):
        read(tmp_path / name)
    (tmp_path / "b.txt").write_text("words\n")
    assert [path.name for path in text_files.read_folder(tmp_path).files] == ["b.txt"]


def test_the_parts_of_a_document_are_no_texts(tmp_path):
    """Word's, Excel's and e-books' files are archives of markup."""
    for name in ("a.docx", "a.xlsx", "a.epub"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("word/document.xml", "<w:t>words</w:t>")
        with pytest.raises(
            InputError, match="is an archive of parts, such as those of Word, Excel or an e-book: save what is in"
        ):
            read(tmp_path / name)
    assert text_files.read_folder(tmp_path).files == ()


def test_packed_texts_in_a_folder_and_in_patterns_are_read(tmp_path):
    for name, module in (("a.txt.gz", gzip), ("b.txt.bz2", bz2), ("c.txt.xz", lzma)):
        (tmp_path / name).write_bytes(module.compress(f"text of {name}".encode()))
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("d.txt", "text of d.zip")
    (tmp_path / "e.txt").write_text("text of e.txt")
    (tmp_path / "f.txt.gz").write_bytes(gzip.compress(b"\x89PNG\0"))
    wanted = [f"text of {name}" for name in ("a.txt.gz", "b.txt.bz2", "c.txt.xz", "d.zip", "e.txt")]
    assert text_files.read_folder(tmp_path).skipped == 1
    assert read(tmp_path)["text"][:] == wanted
    assert read(tmp_path, sample_by="line")["text"][:] == wanted
    assert read(tmp_path / "*.txt.[bx]*")["text"][:] == wanted[1:3]
    for name in ("rows.csv.gz", "more.csv.gz"):
        (tmp_path / "tables").mkdir(exist_ok=True)
        (tmp_path / "tables" / name).write_bytes(gzip.compress(f"text\n{name}\n".encode()))
    assert text_files.read_folder(tmp_path / "tables").kind == "csv"


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zip", ".zst"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["not", "gzip", "xz"])
def test_a_file_that_is_not_packed_as_its_name_says_is_said_or_refused(suffix, pack, tmp_path):
    """As a browser saves it that has unpacked it."""
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(pack(b"a text\n"))
    is_right = (pack, suffix) in ((gzip.compress, ".gz"), (lzma.compress, ".xz"))
    line = f"{path.name} is not packed as its name says: it is read as what it is."
    assert read(path)["text"][:] == ["a text\n"]
    assert loading.file_lines(sources.text_source({"path": "text", "files": str(path)})) == ([] if is_right else [line])
    for name, content in {"a.csv": b"text\nwords\n", "a.jsonl": b'{"text": "words"}\n', "a.txt": b"words\n"}.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(pack(content))
        kind = text_files.FORMATS.get(path.suffixes[0], "text")
        lines = {"sample_by": "line"} if kind == "text" else {}
        source = sources.text_source({"path": kind, "files": str(path), **lines})
        if is_right:
            assert loading.load_rows(source)["text"][:] == ["words"]
        else:
            with pytest.raises(InputError, match=rf"is not packed as its name says: name it as what it is, such as {name}\."):
                loading.load_rows(source)


@pytest.mark.parametrize("level", range(1, 10))
def test_bzip2_of_any_level_is_read(level, tmp_path):
    (tmp_path / "a.txt.bz2").write_bytes(bz2.compress(b"a text\n", level))
    assert read(tmp_path / "a.txt.bz2")["text"][:] == ["a text\n"]
