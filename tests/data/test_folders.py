"""Folders of text with runs among them: what a run wrote is no text of it, and what only looks so is."""

import os
import shutil
from dataclasses import replace

import pytest
from datasets import Dataset
from tests.conftest import ROOT

from hf_gpt.data import sources, text_files
from hf_gpt.data.loading import load_rows
from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import load_recipe
from hf_gpt.run_folder.manifest import Manifest, write_manifest


def test_what_a_run_wrote_below_a_folder_is_no_text_of_it(tmp_path):
    (tmp_path / "a.txt").write_text("a text\n")
    before = text_files.read_folder(tmp_path)
    run = tmp_path / "runs" / "mine"
    (run / "checkpoint-4").mkdir(parents=True)
    for name in ("samples.md", "checkpoint-4/trainer_state.json"):
        (run / name).write_text("{}\n")
    write_manifest(run, Manifest({}, {}))
    assert (
        text_files.read_folder(tmp_path) == replace(before, runs=1) == text_files.Folder((tmp_path / "a.txt",), "text", 0, 1)
    )
    (run / "run.json").unlink()
    for card in ("quickstart", "rotten-tomatoes-lora-8"):
        shutil.copy(ROOT / "model_cards" / card / "record.json", run)
        assert text_files.read_folder(tmp_path).runs == 1


@pytest.mark.parametrize("name", ["run.json", "record.json"])
@pytest.mark.parametrize(
    "content", ['{"title": "my vinyl record"}', "[1]", "no JSON", '{"kind": "a", "recipe": "b", "data": 1}']
)
def test_a_file_that_is_called_as_one_of_a_run_is_a_text(tmp_path, name, content):
    """Whatever lies beside it is somebody's, too."""
    (tmp_path / "notes").mkdir()
    for file in (name, "lost.txt"):
        (tmp_path / "notes" / file).write_text(content)
    found = text_files.read_folder(tmp_path)
    assert sorted(path.name for path in found.files) == sorted((name, "lost.txt"))
    assert found.runs == found.skipped == 0


def test_what_of_a_folder_is_not_read_is_said(tmp_path):
    (tmp_path / "run").mkdir()
    write_manifest(tmp_path / "run", Manifest({}, {}))
    with pytest.raises(InputError, match="no file below it beside 1 run folder is UTF-8"):
        text_files.source_of(tmp_path)
    (tmp_path / "a.txt").write_text("a text\n")
    source = sources.text_source({"path": "text", "files": [str(tmp_path), str(tmp_path / "a.txt")]})
    assert sources.folder_lines(source) == [f"{tmp_path}: 1 file is read, 1 run folder left out."]
    (tmp_path / "b.png").write_bytes(b"\0")
    given = {"path": "text", "files": str(tmp_path / "a.txt"), "test": {"files": str(tmp_path)}}
    said = [f"{tmp_path}: 1 file is read, 1 other and 1 run folder left out."]
    assert sources.folder_lines(sources.text_source(given)) == said
    assert load_recipe("finetune/imdb", [f"dataset={{path: text, files: {tmp_path}}}"]).notices[1:2] == said
    (tmp_path / "b.png").unlink()
    shutil.rmtree(tmp_path / "run")
    assert sources.folder_lines(source) == []


def test_links_to_folders_and_to_nothing_are_said(tmp_path):
    folder, other = tmp_path / "texts", tmp_path / "other"
    for place in (folder / ".hidden", folder / "run", other):
        place.mkdir(parents=True)
        (place / "a.txt").write_text("a text\n")
        (place / "gone.txt").symlink_to("nowhere")
    write_manifest(folder / "run", Manifest({}, {}))
    (folder / "b.txt").symlink_to(other / "a.txt")
    (folder / "a.txt").write_text("another text\n")
    source = sources.text_source({"path": "text", "files": str(folder)})
    assert sources.folder_lines(source) == [f"{folder}: 2 files are read, 1 run folder left out."]
    (folder / "books").symlink_to(other)
    said = f"{folder}: 2 files are read, 1 run folder and 1 link (to a folder or to nothing) left out."
    assert sources.folder_lines(source) == [said]
    for name, target in (("gone.txt", "nowhere"), ("back", "."), ("itself", "itself")):
        (folder / name).symlink_to(target)
    assert text_files.read_folder(folder).links == 4
    assert [path.name for path in text_files.read_folder(folder).files] == ["a.txt", "b.txt"]
    (folder / "a.txt").unlink()
    (folder / "b.txt").unlink()
    with pytest.raises(
        InputError, match=r"no file below it beside 1 run folder and 4 links \(to a folder or to nothing\) is UTF-8"
    ):
        text_files.source_of(folder)
    with pytest.raises(InputError, match=r"is read as text, 1 run folder and 4 links .* left out"):
        sources.local_files(source)


def test_linked_folders_of_a_dataset_are_said(tmp_path):
    (tmp_path / "shards").mkdir()
    Dataset.from_dict({"text": ["a text"]}).to_parquet(tmp_path / "shards" / "train-0.parquet")
    source = sources.text_source({"path": str(tmp_path / "shards")})
    assert sources.folder_lines(source) == []
    for name in ("more", "gone.parquet"):
        (tmp_path / "shards" / name).symlink_to(tmp_path / "nowhere")
    assert sources.folder_lines(source) == [f"{tmp_path / 'shards'}: 2 links (to a folder or to nothing) are left out."]
    assert [name for name, _ in sources.files_of(source)] == ["train-0.parquet"]


@pytest.mark.parametrize("kind", ["text", "json", "shards"])
def test_a_name_that_is_not_utf8_is_refused_before_rows_are_read(kind, tmp_path, monkeypatch):
    """As an archive of Windows has it, in the encoding of that machine."""
    content = b'{"text": "a text"}\n'
    path = os.fsencode(tmp_path) + b"/Gr\xfc\xdfe0.jsonl"
    try:
        with open(path, "wb") as file:
            file.write(content)
    except OSError:
        pytest.skip("this file system takes no such name")
    (tmp_path / "good.jsonl").write_bytes(content)
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: pytest.fail("rows are read"))
    told = r"dataset: the name '.*Gr\\udcfc\\udcdfe0\.jsonl' is not UTF-8: rename it\."
    for files in (str(tmp_path), str(tmp_path / "*.jsonl"), os.fsdecode(path)):
        source = sources.text_source({"path": str(tmp_path)} if kind == "shards" else {"path": kind, "files": files})
        with pytest.raises(InputError, match=told):
            load_rows(source)
        with pytest.raises(InputError, match=told):
            sources.fingerprint(source, None)
    with pytest.raises(InputError, match=told):
        text_files.source_of(tmp_path)
    with pytest.raises(InputError, match=told):
        load_recipe("finetune/imdb", [f"dataset.files={tmp_path}"])
    assert sources.local_files(sources.text_source({"path": "json", "files": str(tmp_path / "good.jsonl")}))
