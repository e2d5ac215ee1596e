"""Folders that `datasets` wrote, and splits that a dataset has itself: read by name, or said to be there."""

import json
import pickle

import pytest
from datasets import Dataset, DatasetDict, IterableDataset

from hf_gpt.data import sources, text_files
from hf_gpt.data.loading import load_rows
from hf_gpt.data.rows import task_splits
from hf_gpt.data.saved import unread_splits
from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import load_recipe
from hf_gpt.tasks import TASKS
from hf_gpt.training.output_dir import check_same_data, edited_file


def rows(count, first=0):
    numbers = range(first, first + count)
    return Dataset.from_dict({"text": [f"text {i}" for i in numbers], "label": [i % 2 for i in numbers]})


def split(task="text-classification", **dataset):
    return task_splits(sources.text_source(dataset), TASKS[task].columns, TASKS[task].group, 0.1, 0.1)


@pytest.fixture
def saved(tmp_path):
    """Two folders: a dataset of several splits and one that was saved alone."""
    DatasetDict({"train": rows(100), "dev": rows(20, 500), "test": rows(25, 1000)}).save_to_disk(str(tmp_path / "splits"))
    rows(100).with_format("numpy").save_to_disk(str(tmp_path / "alone"))
    return tmp_path


def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    rows(100).to_parquet(folder / "train-00000-of-00001.parquet")
    rows(20, 500).to_parquet(folder / "validation-00000-of-00001.parquet")
    rows(25, 1000).to_parquet(folder / "test-00000-of-00001.parquet")
    return folder


def test_what_save_to_disk_wrote_is_read(saved, monkeypatch):
    monkeypatch.setattr(pickle, "loads", lambda *_, **__: pytest.fail("it unpickles"))
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("it unpickles"))
    for folder in ("splits", "alone", "splits/train"):
        found = load_rows(sources.text_source({"path": str(saved / folder)}))
        assert found["text"][:] == rows(100)["text"][:]
    monkeypatch.undo()
    splits, dropped, counts = split(path=str(saved / "alone"))
    assert (sum(map(len, splits.values())), dropped, counts) == (100, {}, {})
    found = load_rows(sources.text_source({"path": str(saved / "splits"), "streaming": True}))
    assert isinstance(found, IterableDataset)
    assert len(list(found)) == 100


@pytest.mark.parametrize(("named", "count"), [("test", 25), ("train+test", 125), ("train[:10]", 10), ("dev[50%:]+test", 35)])
def test_splits_of_a_saved_dataset_are_chosen_as_datasets_does(saved, named, count):
    assert len(load_rows(sources.text_source({"path": str(saved / "splits"), "split": named}))) == count


def test_faults_of_a_saved_dataset_are_told(saved):
    path = str(saved / "splits")
    with pytest.raises(
        InputError, match=r"cannot be read: Unknown split \"other\". Should be one of \['train', 'dev', 'test'\]"
    ):
        load_rows(sources.text_source({"path": path, "split": "other"}))
    with pytest.raises(InputError, match=r"which has no revision: leave dataset\.revision out"):
        load_rows(sources.text_source({"path": path, "revision": "main"}))
    (saved / "splits" / "test" / "data-00000-of-00001.arrow").write_bytes(b"ARROW1\0\0")
    with pytest.raises(InputError, match=r"path='.*splits' cannot be read: "):
        load_rows(sources.text_source({"path": path}))


def test_a_folder_that_is_not_there_is_not_asked_of_the_hub(saved, monkeypatch):
    monkeypatch.chdir(saved)
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: pytest.fail("it is asked for"))
    for path in ("splits/absent", "./absent", str(saved / "absent")):
        with pytest.raises(InputError, match="does not exist: give a folder that does, or owner/name of the Hub"):
            load_rows(sources.text_source({"path": path}))


def test_a_saved_dataset_reads_no_file_of_another_folder(saved):
    state = saved / "alone" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "_data_files": [{"filename": "../splits/train/a.arrow"}]}))
    with pytest.raises(InputError, match=r"names '\.\./splits/train/a\.arrow', which is not in it"):
        load_rows(sources.text_source({"path": str(saved / "alone")}))
    (saved / "splits" / "dataset_dict.json").write_text('{"splits": ["../alone"]}')
    with pytest.raises(InputError, match=r"which is not in it: save it again"):
        load_rows(sources.text_source({"path": str(saved / "splits")}))


@pytest.mark.parametrize("folder", ["splits", "alone"])
def test_a_saved_dataset_given_as_files_says_how_it_is_read(saved, folder):
    path = saved / folder
    for read in (
        lambda: text_files.source_of(path),
        lambda: load_recipe("finetune/imdb", [f"dataset.files={path}"]),
        lambda: load_recipe("finetune/imdb", [f"dataset={{path: json, files: {path}}}"]),
    ):
        with pytest.raises(
            InputError, match=rf"holds a dataset that save_to_disk .*: a recipe reads it as dataset\.path={path}"
        ):
            read()
    with pytest.raises(
        InputError, match=r"is a table of Arrow: .*the folder that save_to_disk of datasets wrote as dataset\.path"
    ):
        split(path="text", files=f"{path}/**/*.arrow")


def test_beside_texts_nothing_of_a_saved_dataset_is_text(saved):
    (saved / "a.txt").write_text("words\n")
    found = text_files.read_folder(saved)
    assert (found.files, found.kind) == ((saved / "a.txt",), "text")


@pytest.mark.parametrize("kind", ["shards", "splits"])
def test_own_splits_that_are_not_read_are_said_and_how_they_are(saved, kind):
    path = str(shards(saved) if kind == "shards" else saved / "splits")
    dev = "validation" if kind == "shards" else "dev"
    said = {
        name: {
            f"rows (the dataset's own split {own!r}) are not read: dataset.{name}.split={own} holds them out in place of a share": size
        }
        for name, own, size in (("validation", dev, 20), ("test", "test", 25))
    }
    splits, _, counts = split(path=path)
    assert counts == said
    assert sum(map(len, splits.values())) == 100
    splits, _, counts = split(path=path, test={"split": "test"})
    assert (len(splits["test"]), counts) == (25, {"validation": said["validation"]})
    splits, _, counts = split(path=path, test={"split": "test"}, validation={"split": dev})
    assert ({name: len(part) for name, part in splits.items()}, counts) == ({"train": 100, "validation": 20, "test": 25}, {})
    source = sources.text_source({"path": path, "split": f"train+{dev}"})
    assert unread_splits(source, load_rows(source)) == {"test": ("test", 25)}


def test_a_part_of_a_dataset_of_the_hub_is_of_the_same_name_and_revision():
    given = {"path": "org/name", "name": "en", "revision": "abc"}
    found = sources.text_source({**given, "test": {"split": "test"}, "validation": {"path": "org/other"}})
    assert (found.test.name, found.test.revision, found.test.split) == ("en", "abc", "test")
    assert (found.validation.name, found.validation.revision) == (None, None)


def flipped(row):
    return {"label": 1 - row["label"]}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("saved", r"data-00000-of-00001\.arrow"),
        ("splits", r"train/data-00000-of-00001\.arrow"),
        ("shards", r"train-0\.parquet"),
    ],
)
def test_a_run_does_not_go_on_with_a_folder_of_other_labels(name, changed, tmp_path):
    folder = tmp_path / name

    def write(part):
        if name == "shards":
            folder.mkdir(exist_ok=True)
            part.to_parquet(folder / "train-0.parquet")
        else:
            (DatasetDict({"train": part}) if name == "splits" else part).save_to_disk(str(folder))

    write(rows(100))
    recipe = load_recipe("finetune/imdb", [f"dataset={{path: {folder}, test: {{split: 'train[:10%]'}}}}"])
    before = sources.fingerprint(recipe.source, None)
    # What `datasets` keeps beside the tables is none of the data.
    load_rows(recipe.source).map(flipped)
    assert sources.fingerprint(recipe.source, None) == before
    assert edited_file(recipe, before) is None
    earlier = {key: value for key, value in before.items() if key != "files"}
    earlier["test"] = {key: value for key, value in before["test"].items() if key != "files"}
    write(rows(100).map(flipped))
    now = sources.fingerprint(recipe.source, None)
    with pytest.raises(
        InputError, match=rf"the data have changed since the run in .* began: {changed} is not the file that it was"
    ):
        check_same_data(tmp_path, before, now)
    with pytest.raises(InputError, match=f"{changed} is not the file that it was"):
        check_same_data(tmp_path, {**earlier, "test": before["test"]}, now)
    assert edited_file(recipe, before).endswith(changed.split("/")[-1].replace("\\", ""))
    # One of a version that did not describe the files.
    check_same_data(tmp_path, earlier, now)
    assert edited_file(recipe, earlier) is None
    assert str(tmp_path) not in json.dumps(now["files"])
