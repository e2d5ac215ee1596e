"""What is cached on disk was made by today's code of today's files, whatever was left there before."""

import gzip
import os

import pytest
from datasets import Dataset

from hf_gpt.data import cached, loading
from hf_gpt.data.rows import task_rows
from hf_gpt.data.sources import text_source
from hf_gpt.data.splits import split_rows
from hf_gpt.tasks import TASKS


@pytest.fixture
def other_code(monkeypatch):
    """Call it, and the code that makes rows is another one."""
    return lambda: [monkeypatch.setattr(module, "code_hash", lambda: "another") for module in (cached, loading)]


def test_rows_that_other_code_chose_are_chosen_anew(tmp_path, monkeypatch, other_code):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"text {number},{'ab'[number % 2]}\n" for number in range(40)))
    source = text_source({"path": "csv", "files": str(path), "where": {"label": "a"}})
    monkeypatch.setattr(loading, "_matches", never)
    with pytest.raises(loading.InputError, match="has no rows"):
        task_rows(source, TASKS["text-classification"].columns)
    monkeypatch.undo()
    other_code()
    assert len(task_rows(source, TASKS["text-classification"].columns)[0]) == 20


def never(row, where):
    return False


# As `datasets` knows it: by its name, which is all that an earlier version of a function has in common with today's.
never.__module__, never.__qualname__, never.__name__ = loading.__name__, "_matches", "_matches"


@pytest.mark.parametrize("name", ["text.txt", "rows.csv"])
def test_what_is_made_of_texts_has_the_code_in_its_key(name, tmp_path, other_code):
    path = tmp_path / name
    path.write_text("text\n" + "".join(f"A text of some words and the number {number}.\n" for number in range(40)))
    source = text_source({"path": "csv" if name.endswith("csv") else "text", "files": str(path)})

    def keys():
        rows = loading.load_rows(source)
        return {part._fingerprint for part in (rows, *split_rows(rows, "text", 0.2, 0.2).parts.values())}

    before = keys()
    assert keys() == before
    other_code()
    assert not keys() & before


# What writes rows, by the name of what they are written to.
WRITERS = {
    "rows.csv": lambda rows, path: rows.to_csv(path),
    "rows.csv.gz": lambda rows, path: path.write_bytes(gzip.compress(rows.to_pandas().to_csv().encode())),
    "rows.jsonl": lambda rows, path: rows.to_json(path),
    "rows.parquet": lambda rows, path: rows.to_parquet(path),
    "shards": lambda rows, path: rows.to_parquet(path / "train-0.parquet"),
    "saved": lambda rows, path: rows.save_to_disk(str(path)),
    "texts.txt": lambda rows, path: path.write_text("\n".join(rows["text"])),
}
FORMATS = {"csv": "csv", "gz": "csv", "jsonl": "json", "parquet": "parquet", "txt": "text"}


def write(path, mark, is_replaced):
    """Rows of the same length whatever the mark is, and the time at which an archive says that they were written."""
    rows = Dataset.from_dict({"text": [f"text {mark} {number}" for number in range(40)], "label": ["a", "b"] * 20})
    place = path.with_name(f"other-{path.name}") if is_replaced else path
    if not path.suffix:
        place.mkdir(exist_ok=True)
    WRITERS[path.name](rows, place)
    for file in [place, *place.rglob("*")]:
        os.utime(file, (1e9, 1e9))
    if is_replaced and path.is_dir():
        for file in place.iterdir():
            os.replace(file, path / file.name)
    elif is_replaced:
        os.replace(place, path)


@pytest.mark.parametrize("is_replaced", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_of_other_rows_and_the_same_time_is_read_anew(name, is_replaced, tmp_path):
    path = tmp_path / name
    kind = FORMATS.get(path.suffix.removeprefix("."))
    source = text_source({"path": str(path)} if kind is None else {"path": kind, "files": str(path)})
    write(path, "one", is_replaced=False)
    before = texts_of(source)
    assert all("one" in text for texts in before for text in texts)
    write(path, "two", is_replaced)
    assert texts_of(source) == [[text.replace("one", "two") for text in texts] for texts in before]


def texts_of(source):
    """As a language model and as a task read them, with what is made of them."""
    rows = loading.load_rows(source)
    found = [rows["text"][:], rows.map(shouted)["text"][:]]
    if source.path != "text":
        found.append(task_rows(source, TASKS["text-classification"].columns)[0]["text"][:])
    return found


def shouted(row):
    return {"text": f"{row['text']}!"}
