"""Files of text as people have them: whole documents, packed ones, those of a folder, and which split they come to."""

import bz2
import gzip
import io
import json
import lzma
import sys
import zipfile
import zlib

import pytest
from datasets import Dataset

from hf_gpt.data import encoding, loading, packed_files, packing, sources, tables, text_files
from hf_gpt.data.splits import SPLITS, split_of, split_rows, split_stream, text_hash
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.errors import InputError


PLAY = "".join(
    f"SPEAKER {i % 4}.\n\tYes.\n\n    A line of {i} words,\n    and one that is repeated.\n\n\n" for i in range(300)
)


def read(given, **arguments):
    return loading.load_rows(sources.text_source(given), **arguments)


def split(path, validation=0.05, test=0.05, **given):
    return split_rows(read({"path": "text", "files": str(path), **given}), "text", validation, test)


def joined(part):
    return "".join(part["text"])


def added_up(splits):
    """Bytes of the splits and of what was left out."""
    return sum(packing.byte_count(part) for part in splits.parts.values()) + sum(splits.dropped_bytes.values())


@pytest.mark.parametrize(
    "text",
    [
        PLAY,
        PLAY.replace("\n", "\r\n"),
        "word " * 3000,
        "x" * 5000,
        "床前明月光，疑是地上霜。\n舉頭望明月，低頭思故鄉。\n\n" * 200,
        "page\f\nnext\x01page\x0b\x85\u2028 end\n" * 100,
        "def f():\n\treturn '<|endoftext|>'\n\n" * 100,
    ],
    ids=["play", "crlf", "one line", "one word", "chinese", "control characters", "code"],
)
def test_one_document_is_cut_into_three_and_no_byte_is_lost(tmp_path, text):
    path = tmp_path / "one.txt"
    path.write_bytes(text.encode())
    splits = split(path, 0.1, 0.05)
    parts = {name: joined(splits.parts[name]) for name in SPLITS}
    assert parts["train"] + parts["validation"] + parts["test"] == text
    for name, share in (("train", 0.85), ("validation", 0.1), ("test", 0.05)):
        assert len(parts[name]) == pytest.approx(share * len(text), rel=0.4)
    assert splits.is_cut
    assert (splits.read, splits.dropped) == ({"texts": 1, "bytes": len(text.encode())}, {})
    assert added_up(splits) == len(text.encode())
    if "\n\n" in text:
        assert parts["train"].endswith("\n")
        assert parts["validation"].endswith("\n")


def test_a_byte_order_mark_is_no_text_and_is_counted(tmp_path):
    path = tmp_path / "marked.txt"
    path.write_bytes(b"\xef\xbb\xbf" + PLAY.encode())
    splits = split(path)
    assert joined(splits.parts["train"]).startswith("SPEAKER 0")
    assert splits.dropped == {"byte order marks": 1}
    assert added_up(splits) == splits.read["bytes"] == path.stat().st_size
    for sample_by in ("line", "paragraph"):
        assert read({"path": "text", "files": str(path), "sample_by": sample_by})[0]["text"].startswith("SPEAKER")


def test_a_few_documents_are_each_cut_and_many_are_split_whole(tmp_path):
    for count in (3, 300):
        folder = tmp_path / str(count)
        folder.mkdir()
        texts = [f"# module {i}\n" + f"line = {i}\n\n" * 50 for i in range(count)]
        for i, text in enumerate(texts):
            (folder / f"{i:03}.py").write_text(text)
        (folder / "again.py").write_text(texts[0])
        (folder / "blank.py").write_text(" \n\n")
        splits = split(folder)
        assert splits.is_cut == (count == 3)
        assert splits.read["texts"] == count + 2
        assert splits.dropped == {"empty texts": 1, "repeated texts": 1}
        assert added_up(splits) == splits.read["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
        found = {name: list(part["text"]) for name, part in splits.parts.items()}
        if count == 3:
            assert ["".join(parts) for parts in zip(*found.values())] == texts
        else:
            assert sorted(text for part in found.values() for text in part) == sorted(texts)
            assert all(split_of(text_hash(text), 0.05, 0.05) == name for name, part in found.items() for text in part)


def test_a_long_document_is_never_one_row_and_is_split_and_tokenised_as_if_it_were(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "PIECE", 100)
    text = PLAY[:20000]
    texts = [text, *(f"{i} " + text[i : i + 900] for i in range(300))]
    for i, content in enumerate(texts):
        (tmp_path / f"{i:03}.txt").write_text(content)
    splits = split(tmp_path)
    assert not splits.is_cut
    assert all(len(row) <= 200 for part in splits.parts.values() for row in part["text"])
    tokenizer = train_tokenizer(iter([[text]]), 400, 64)
    for name, part in splits.parts.items():
        wanted = [content for content in texts if split_of(text_hash(content), 0.05, 0.05) == name]
        ids = [token for content in wanted for token in [*tokenizer(content)["input_ids"], tokenizer.eos_token_id]]
        documents = packing.tokenize(part, tokenizer)
        assert [token for row in documents["input_ids"] for token in row] == ids
        assert sources.text_count(part) == len(wanted)


@pytest.mark.parametrize("text", [PLAY, "a-b c.d\n" * 900, "床前明月光，疑是地上霜。" * 300, "it's 12,5 % of _x_  \n\t" * 300])
def test_pieces_give_the_ids_of_the_whole(monkeypatch, text):
    tokenizer = train_tokenizer(iter([[text, PLAY]]), 500, 64)
    whole = tokenizer(text)["input_ids"]
    monkeypatch.setattr(encoding, "PIECE", 64)
    assert "".join(encoding.pieces(text)) == text
    assert encoding.text_ids(tokenizer, [text, "", text])[2].tolist() == whole


def test_too_short_a_text_is_one_line_of_error(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("few")
    with pytest.raises(InputError, match="the text of 3 characters is too short to be cut"):
        split(path)


@pytest.mark.parametrize(
    ("sample_by", "wanted"),
    [("line", ["one", "", "two", "two", "", "three"]), ("paragraph", ["one", "two\ntwo", "three\n"])],
)
def test_lines_and_paragraphs_are_those_of_datasets(tmp_path, sample_by, wanted):
    path = tmp_path / "a.txt"
    path.write_text("one\n\ntwo\ntwo\n\nthree\n")
    assert list(read({"path": "text", "files": str(path), "sample_by": sample_by})["text"]) == wanted


def test_what_is_drawn_one_by_one_is_a_line_unless_said(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n")
    rows = read({"path": "text", "files": str(path), "streaming": True})
    assert [row["text"] for row in rows] == ["one", "two"]
    rows = read({"path": "text", "files": str(path), "streaming": True, "sample_by": "document"})
    assert list(rows) == [{"text": "one\ntwo\n"}]
    part = {"path": "text", "files": str(path), "weight": 1}
    assert list(read({"mixture": [part]})["text"]) == ["one", "two"]
    assert list(read({"mixture": [{**part, "sample_by": "document"}]})["text"]) == ["one\ntwo\n"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"path": "text", "sample_by": "lines"}, "sample_by='lines' is none of document, paragraph, line"),
        ({"path": "json", "sample_by": "line"}, "sample_by is for path='text'"),
    ],
)
def test_wrong_ways_to_sample_are_named(given, told):
    with pytest.raises(InputError, match=told):
        sources.text_source({**given, "files": "a"})


# ------------------------------------------------------------------------------------------------------------- packed


def pack(folder, name, content):
    """A file of that name, packed as its suffix says."""
    path = folder / name
    suffix = path.suffix.lower()
    if suffix == ".zst":
        path.write_bytes(pytest.importorskip("zstandard").ZstdCompressor().compress(content))
    elif suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(path.stem, content)
    else:
        path.write_bytes({".gz": gzip, ".xz": lzma, ".bz2": bz2}[suffix].compress(content))
    return path


PACKED = (".gz", ".xz", ".bz2", ".zip", ".GZ", ".zst")


@pytest.mark.parametrize("suffix", PACKED)
def test_packed_files_are_read(tmp_path, suffix):
    path = pack(tmp_path, f"play.txt{suffix}", PLAY.encode())
    assert joined(read({"path": "text", "files": str(path)})) == PLAY
    path = pack(tmp_path, f"rows.jsonl{suffix}", b'{"text": "one"}\n{"text": "two"}\n')
    assert text_files.format_of(path) == "json"
    for streaming in (False, True):
        rows = read({"path": "json", "files": str(path), "streaming": streaming})
        assert [row["text"] for row in rows] == ["one", "two"]
    path = pack(tmp_path, f"bad.txt{suffix}", b"fine\xff")
    with pytest.raises(InputError, match="is not UTF-8 at byte 4"):
        read({"path": "text", "files": str(path)})


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2", ".zip", ".zst"])
def test_a_packed_file_that_is_cut_off_is_named(tmp_path, suffix):
    path = pack(tmp_path, f"cut.txt{suffix}", PLAY.encode())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=rf"cut\.txt\{suffix}' cannot be unpacked"):
        read({"path": "text", "files": str(path)})


def test_frames_one_after_the_other_are_one_file_and_one_that_is_cut_off_is_none(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    frames = [zstandard.ZstdCompressor().compress(text.encode()) for text in (PLAY, "more", "")]
    path = tmp_path / "frames.txt.zst"
    path.write_bytes(b"".join(frames))
    assert joined(read({"path": "text", "files": str(path)})) == f"{PLAY}more"
    for content in (frames[0] + frames[1][:-1], frames[0] + b"more", frames[0][:12] + b"\xff" * 99):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"frames\.txt\.zst' cannot be unpacked"):
            read({"path": "text", "files": str(path)})


def test_frames_are_unpacked_to_the_end_of_the_last_also_where_zstandard_is_not_there():
    """What unpacks those of zlib is asked as what unpacks those of Zstandard."""
    frames = [zlib.compress(text.encode()) for text in (PLAY, "more", "")]

    def unpacked(content):
        return packed_files._Frames(io.BytesIO(content), zlib.decompressobj, zlib.error).readall().decode()

    assert unpacked(b"".join(frames)) == f"{PLAY}more"
    for content in (frames[0] + frames[1][:-1], frames[0] + b"more", frames[0][:12] + b"\xff" * 99):
        with pytest.raises(EOFError):
            unpacked(content)


def test_a_file_of_zstandard_says_what_reads_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (tmp_path / "a.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd" + b"\0" * 20)
    with pytest.raises(InputError, match="needs zstandard to be read: pip install zstandard, or unpack it"):
        read({"path": "json", "files": str(tmp_path / "a.jsonl.zst")})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", "text"),
        ("a", "text"),
        ("a.py", "text"),
        ("a.md", "text"),
        ("a.CSV", "csv"),
        ("a.tsv", "csv"),
        ("a.JSONL", "json"),
        ("a.ndjson", "json"),
        ("a.json", "json"),
        ("a.Parquet", "parquet"),
        ("a.csv.gz", "csv"),
        ("a.NDJSON.XZ", "json"),
        ("a.txt.gz", "text"),
        ("a.gz", "text"),
    ],
)
def test_a_suffix_tells_the_format(tmp_path, name, kind):
    assert text_files.format_of(tmp_path / name) == kind
    assert text_files.name_of(tmp_path / name) == ("a.py" if name == "a.py" else "a")


def test_a_zip_is_of_the_format_of_what_is_in_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("x/a.csv", "text\none\n")
        archive.writestr("x/b.csv", "text\ntwo\n")
        archive.writestr("__MACOSX/x/._a.csv", "\0")
    assert text_files.source_of(tmp_path / "all.zip")["path"] == "csv"


def test_what_a_mac_adds_to_a_zip_is_no_text_of_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.writestr("a.txt", PLAY)
        archive.writestr("__MACOSX/._a.txt", "Mac OS X")
    assert joined(read({"path": "text", "files": str(tmp_path / "one.zip")})) == PLAY


# ------------------------------------------------------------------------------------------------- tables and their columns


def test_tabs_quotes_and_words_that_look_like_nothing(tmp_path):
    path = tmp_path / "rows.TSV"
    path.write_text('title\ttext\nx\tone, two\ny\tNA\nz\t""\n')
    rows = read({"path": "csv", "files": str(path)})
    splits = split_rows(Dataset.from_dict({"text": [*rows["text"], *map(str, range(200))]}), "text", 0.1, 0.1)
    assert list(rows["text"]) == ["one, two", "NA", ""]
    assert splits.dropped == {"empty texts": 1}


@pytest.mark.parametrize("streaming", [False, True])
def test_a_column_beside_one_called_text_and_one_of_numbers(tmp_path, streaming):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"text": "wrong", "body": "right {i}", "number": {i}, "list": ["a"]}}\n' for i in range(400)))

    def texts(column):
        given = {"path": "json", "files": str(path), "text_column": column, "streaming": streaming}
        splits = (split_stream if streaming else split_rows)(read(given), column, 0.1, 0.1)
        parts = splits if streaming else splits.parts
        return {row["text"] for part in parts.values() for row in part}

    assert texts("body") == {f"right {i}" for i in range(400)}
    assert texts("number") == {str(i) for i in range(400)}
    with pytest.raises(InputError, match=r"text_column='list' is a column of .*ist.*, and not of text"):
        texts("list")
    mixture = {"mixture": [{"path": "json", "files": str(path), "text_column": "body", "weight": 1}], "streaming": streaming}
    assert next(iter(read(mixture)))["text"].startswith("right")


@pytest.mark.parametrize("streaming", [False, True])
def test_numbers_among_texts_are_texts(tmp_path, streaming):
    path = tmp_path / "rows.jsonl"
    values = ["a", 1, 2.5, None, "b"]
    path.write_text("".join(json.dumps({"text": value}) + "\n" for value in values))
    rows = loading.text_rows(read({"path": "json", "files": str(path), "streaming": streaming}), "text")
    assert [row["text"] for row in rows] == ["a", "1", "2.5", None, "b"]


def test_patterns_folders_and_brackets(tmp_path):
    folder = tmp_path / "a [1]" / "deep"
    folder.mkdir(parents=True)
    (folder / "x[1].txt").write_text("one")
    (folder / "y.txt").write_text("two")
    for files in (str(tmp_path / "**" / "*.txt"), str(folder / "*.txt"), str(tmp_path), [str(folder / "x[1].txt")]):
        found = sources.local_files(sources.text_source({"path": "text", "files": files}))
        assert [path.name for path in found] == ["x[1].txt", "y.txt"][: len(found)]
        assert len(found) == (1 if isinstance(files, list) else 2)
    for sample_by in ("document", "line"):
        assert read({"path": "text", "files": str(folder / "x[1].txt"), "sample_by": sample_by})[0]["text"] == "one"


def test_of_a_folder_what_is_text_and_not_hidden_is_read(tmp_path):
    for name, content in {
        "a.py": b"x = 1\n",
        "deep/b.c": b"int x;\n",
        "c": "é".encode(),
        ".git/config": b"hidden\n",
        ".env": b"SECRET=1\n",
        "CVS/Root": b"x",
        "__pycache__/a.pyc": b"\0",
        "picture.png": b"\x89PNG\0\0",
        "latin.txt": b"caf\xe9",
        "empty.py": b"",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    found = text_files.read_folder(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found.files] == ["a.py", "c", "deep/b.c"]
    assert (found.kind, found.skipped) == ("text", 3)


def test_a_folder_of_one_kind_of_table_is_that_table(tmp_path):
    for name in ("a.jsonl", "b.ndjson"):
        (tmp_path / name).write_text(f'{{"text": "{name}"}}\n')
    given = text_files.source_of(tmp_path)
    assert given == {"path": "json", "files": str(tmp_path)}
    assert list(read(given)["text"]) == ["a.jsonl", "b.ndjson"]


@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_a_table_tells_its_separator(tmp_path, sign):
    path = tmp_path / "rows.csv"
    path.write_text("\ufeff" + "".join(sign.join(row) + "\n" for row in (["id", "text"], ["1", "Nice, good"], ["2", "Bad"])))
    source = sources.text_source({"path": "csv", "files": str(path)})
    assert loading.load_rows(source)[:] == {"id": ["1", "2"], "text": ["Nice, good", "Bad"]}
    assert loading.file_lines(source) == [f"rows.csv is read with {sign!r} as its separator."]
    other = tmp_path / "other.csv"
    other.write_text("id,text\n1,a; b\n")
    assert loading.file_lines(sources.text_source({"path": "csv", "files": str(other)})) == []
    with pytest.raises(InputError, match=r"files are not separated by the same sign, rows.csv by .* and other.csv by ','"):
        loading.load_rows(sources.text_source({"path": "csv", "files": [str(path), str(other)]}))


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("id;text, short;label\n1;Nice, good;pos\n2;Bad;neg\n", ";"),
        ("id;text, short;label\n1;Nice, good;pos\n2;Well, bad;neg\n", ";"),
        ("id\ttext; or not, as you like\n1\ta; b, c\n2\td\n", "\t"),
        ("id,text;label\n1,a;b\n2,c;d\n", ","),
        ("id,text\n1,a; b\n2,c\n", ","),
        ('id,text;short\n1,"a; b; c"\n2,c\n', ","),
        ('id;text\n1;"one; two, three\nand a line"\n2;b\n', ";"),
        ("a,b\n1,2,3\n", ","),
    ],
)
def test_a_header_with_several_signs_is_read_by_the_one_that_its_rows_have(tmp_path, text, sign):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    assert tables.separator_of(path) == sign


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "a byte order mark"])
@pytest.mark.parametrize("streaming", [False, True])
def test_what_ends_no_line_is_in_its_text(tmp_path, mark, streaming):
    """Form feeds, and what Unicode calls the end of a line."""
    text = "a\fb\vc\x85d\u2028e\x1cf"
    for name, content, given in (
        ("a.txt", f"{text}\n", {"path": "text", "sample_by": "line"}),
        ("a.csv", f"text,x\n{text},1\n", {"path": "csv"}),
        ("a.jsonl", f'{{"text": {json.dumps(text)}}}\n', {"path": "json"}),
        ("a.json", f'[{{"text": {json.dumps(text)}}}]\n', {"path": "json"}),
    ):
        (tmp_path / name).write_bytes(mark + content.encode())
        rows = read({**given, "files": str(tmp_path / name), "streaming": streaming})
        assert [row["text"] for row in rows] == [text]


@pytest.mark.parametrize("text", ["text\na; b\n", "He came; he saw.\nHe left.\n", '"a;b"\nc\n'])
def test_a_table_of_one_column_stays_one(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    assert tables.separator_of(path) == ","


@pytest.mark.parametrize("harm", [b"PK\x01\x02", b"PK\x03\x04"], ids=["central directory", "header of a file"])
def test_a_zip_whose_parts_cannot_be_found_is_named(harm, tmp_path):
    path = tmp_path / "texts.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one.txt", "some words")
        archive.writestr("two.txt", "and more of them")
    content = path.read_bytes()
    place = content.rindex(harm)
    path.write_bytes(content[:place] + b"XXXX" + content[place + 4 :])
    with pytest.raises(InputError, match=r"texts\.zip' cannot be unpacked: "):
        loading.load_rows(sources.text_source({"path": "text", "files": str(path)}))
