"""Files whose contents are no text: each says what it is and how its rows come out of it, whatever its name, and none is unpickled."""

import bz2
import gzip
import io
import json
import pickle
import sqlite3
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from PIL import Image

from hf_gpt.data import loading, sources
from hf_gpt.data.rows import task_splits
from hf_gpt.data.text_files import source_of
from hf_gpt.errors import InputError
from hf_gpt.tasks import TASKS


class Bomb:
    """What ends a test that unpickles it."""

    def __reduce__(self):
        return exec, ("raise SystemExit('it was unpickled')",)


def packed(contents):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in contents.items():
            archive.writestr(name, text)
    return made.getvalue()


def written(write):
    made = io.BytesIO()
    write(made)
    return made.getvalue()


def database(folder):
    path = folder / "made.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (text)")
    return path.read_bytes()


def arrow(writer):
    def write(file):
        table = pa.table({"text": ["a"]})
        with writer(file, table.schema) as made:
            made.write_table(table)

    return written(write)


def tar(file):
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"), io.BytesIO())


OFFICE = {"[Content_Types].xml": "<a/>", "xl/workbook.xml": "<b/>"}
PARTS, PICKLE = "is an archive of parts, such as those of Word, Excel or an e-book: save", "is a pickle, which may run code"
# What makes the bytes of a file, in a folder, and what is said of it.
CONTENTS = {
    "xlsx": (lambda _: packed(OFFICE), PARTS),
    "ods": (lambda _: packed({"mimetype": "application/vnd.oasis.opendocument.spreadsheet"}), PARTS),
    "docx": (lambda _: packed({"[Content_Types].xml": "<a/>", "word/document.xml": "<b/>"}), PARTS),
    "xls": (lambda _: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "is a document of Word or Excel: save"),
    "pdf": (lambda _: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "is a PDF: save"),
    "pkl": (lambda _: pickle.dumps(Bomb()), PICKLE),
    "pt": (lambda _: packed({"archive/data.pkl": pickle.dumps(Bomb())}), PICKLE),
    "db": (database, "is a database: save a table of it as .csv"),
    "npy": (lambda _: written(lambda file: np.save(file, np.zeros(3))), "is an array of NumPy: save"),
    "npz": (lambda _: written(lambda file: np.savez(file, np.zeros(3))), "is an array of NumPy: save"),
    "arrow": (lambda _: arrow(pa.ipc.new_stream), "is a table of Arrow: save it as .parquet"),
    "feather": (lambda _: arrow(pa.ipc.new_file), "is a table of Arrow: save it as .parquet"),
    "png": (lambda _: written(lambda file: Image.new("RGB", (2, 2)).save(file, "PNG")), "is a picture: only text"),
    "jpg": (lambda _: written(lambda file: Image.new("RGB", (2, 2)).save(file, "JPEG")), "is a picture: only text"),
    "webp": (lambda _: b"RIFF\x24\0\0\0WEBPVP8 ", "is a picture: only text"),
    "tar": (lambda _: written(tar), "is an archive: unpack it and give the folder"),
    "7z": (lambda _: b"7z\xbc\xaf'\x1c\0\x04", "is an archive: unpack it and give the folder"),
}


def read(path, task, given):
    source = sources.text_source({**source_of(path), **given})
    if task is None:
        loading.load_rows(source)
    else:
        task_splits(source, TASKS[task].columns, TASKS[task].group, 0.1, 0.1)


def refusal(path, task, **given):
    with pytest.raises(InputError) as told:
        read(path, task, given)
    return str(told.value)


@pytest.mark.parametrize("kind", list(CONTENTS))
def test_what_is_no_text_says_what_it_is_whatever_its_name(tmp_path, kind):
    make, said = CONTENTS[kind]
    content = make(tmp_path)
    names = [f"mine.{kind}", "mine.csv", "mine.jsonl", "mine.txt", "mine.parquet", "mine.conll", "mine", "mine.zip"]
    for name in names:
        (tmp_path / name).write_bytes(content)
        for task in (None, "text-classification", "chat"):
            assert said in refusal(tmp_path / name, task), (name, task)
    for module, suffix in ((gzip, ".gz"), (bz2, ".bz2")):
        (tmp_path / f"mine.{kind}{suffix}").write_bytes(module.compress(content))
        told = refusal(tmp_path / f"mine.{kind}{suffix}", "chat")
        assert said in told or (content.startswith(b"PK") and PARTS in told)


def test_a_pickle_of_the_first_protocol_looks_like_a_text(tmp_path):
    for name, open_file in {"a.pkl": open, "a.pickle.gz": gzip.open}.items():
        with open_file(tmp_path / name, "wb") as file:
            pickle.dump(Bomb(), file, protocol=0)
        for task in (None, "chat"):
            assert PICKLE in refusal(tmp_path / name, task)


def test_a_table_of_parquet_under_another_name_says_how_it_is_read(tmp_path):
    Dataset.from_dict({"text": ["a", "b"] * 40, "label": [0, 1] * 40}).to_parquet(tmp_path / "a.bin")
    assert "is a table of Parquet under another name: let its name end in .parquet" in refusal(tmp_path / "a.bin", "chat")
    assert len(loading.load_rows(sources.text_source({"path": "parquet", "files": str(tmp_path / "a.bin")}))) == 80


@pytest.mark.parametrize("task", [None, *TASKS])
@pytest.mark.parametrize("name", ["absent.xlsx", "absent.csv", "absent.zip", "absent.docx", "absent", "no/absent.pkl"])
def test_a_file_that_is_not_there_says_so_whatever_its_name(tmp_path, name, task):
    assert refusal(tmp_path / name, task).endswith("matches no file: give the path of an existing one.")


def test_held_out_files_that_are_not_there_are_told_before_rows_are_read(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "a", "label": 0}))
    monkeypatch.setattr("hf_gpt.data.rows.load_rows", lambda *_: pytest.fail("rows are read"))
    for held in ("absent.xlsx", "absent.csv"):
        told = refusal(tmp_path / "a.jsonl", "text-classification", test={"files": str(tmp_path / held)})
        assert "matches no file" in told


@pytest.mark.parametrize("name", ["absent.xlsx", "absent.docx", "absent.csv"])
def test_the_name_of_no_file_is_no_name_on_the_hub(name):
    with pytest.raises(InputError, match=rf"is the name of a file: give it as dataset\.files={name}\. There is none"):
        sources.text_source({"path": name})


def test_a_folder_of_nothing_else_says_what_is_in_it(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(packed(OFFICE))
    for task in (None, "chat"):
        assert f"files='{tmp_path / 'a.xlsx'}' {PARTS}" in refusal(tmp_path, task)
    with pytest.raises(InputError, match="is an archive of parts"):
        sources.local_files(sources.text_source({"path": "csv", "files": str(tmp_path)}))
    with pytest.raises(InputError, match="is an archive of parts"):
        sources.text_source({"path": str(tmp_path / "a.xlsx")})
    (tmp_path / "a.xlsx").write_text("text,label\n")
    with pytest.raises(InputError, match="is a folder without a file that is read as csv"):
        sources.local_files(sources.text_source({"path": "csv", "files": str(tmp_path)}))


def test_a_zip_of_texts_is_read(tmp_path):
    for name in ("texts", "texts.zip"):
        (tmp_path / name).write_bytes(packed({"a.txt": "one", "b.txt": "two"}))
        source = sources.text_source({"path": "text", "files": str(tmp_path / name)})
        assert loading.load_rows(source)["text"][:] == ["one", "two"]
