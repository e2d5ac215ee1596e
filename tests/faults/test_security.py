"""What was downloaded is data: no pickle is run, no link is written through, and no file tells whose machine it was."""

import ast
import io
import json
import pickle
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from benchmarks.tiny import recipe_values, write_corpus
from tests.conftest import ROOT

from hf_gpt import checkpoints
from hf_gpt.arguments import parse_recipe
from hf_gpt.errors import InputError
from hf_gpt.packages.fetching import members
from hf_gpt.privacy import HOME_FOLDER, SECRET
from hf_gpt.train import run


class Trap:
    """Whoever loads its pickle as an object makes a file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (open, (self.marker, "w"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    write_corpus(path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:600]))
    return path


def values_of(corpus, folder, **changes):
    return recipe_values(
        corpus, folder, **{"max_steps": 4, "save_steps": 2, "logging_steps": 2, "eval_strategy": "no", **changes}
    )


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    run(parse_recipe(values_of(corpus, folder)))
    return folder


FILES = sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT / "src" / "hf_gpt").as_posix())
def test_no_code_of_ours_loads_objects(path):
    """No pickle and no yaml of objects, `torch.load` of tensors only, no code from strings, and none of a download unasked."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            named = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert name not in (
                "pickle.load",
                "pickle.loads",
                "eval",
                "exec",
                "os.system",
                "yaml.unsafe_load",
                "joblib.load",
            ), name
            assert not (name == "yaml.load" and named.get("Loader") != "yaml.BaseLoader")
            assert not (name == "torch.load" and named.get("weights_only") != "True")
            assert not (name == "numpy.load" and named.get("allow_pickle") == "True")
            assert named.get("trust_remote_code") != "True"
            assert named.get("shell") != "True"


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_trap_in_a_checkpoint_is_not_run(name, finished, corpus, tmp_path):
    """Whoever made the checkpoint can make its list of hashes fit, too."""

    marker, output = tmp_path / "marker", tmp_path / "run"
    shutil.copytree(finished, output)
    (output / "record.json").unlink()
    for old in output.glob("checkpoint-4"):
        shutil.rmtree(old)
    values = values_of(corpus, output)
    (output / "recipe.yaml").write_text(
        re.sub(r"output_dir: .*", f"output_dir: {output}", (output / "recipe.yaml").read_text())
    )
    checkpoint = output / "checkpoint-2"
    torch.save({"state": Trap(marker)}, checkpoint / name)
    checkpoint.rename(tmp_path / "trapped")
    (tmp_path / "trapped" / "sha256.json").unlink()
    checkpoints.seal(tmp_path / "trapped", checkpoint)
    with pytest.raises(InputError, match="holds objects that only running its code would read"):
        run(parse_recipe(values))
    assert not marker.exists()
    pickle.loads(pickle.dumps(Trap(marker))).close()
    assert marker.exists(), "the trap itself has to work"


@pytest.mark.parametrize("name", ["config.json", "checkpoint-2/model.safetensors", "recipe.yaml"])
def test_nothing_is_written_through_a_link(name, finished, corpus, tmp_path):

    victim, output = tmp_path / "victim", tmp_path / "run"
    victim.write_text("years of work")
    shutil.copytree(finished, output)
    (output / name).unlink()
    (output / name).symlink_to(victim)
    with pytest.raises(InputError, match="is a link: a run folder holds files only"):
        run(parse_recipe(values_of(corpus, output, overwrite=True)))
    assert victim.read_text() == "years of work"


@pytest.mark.parametrize(
    "name", ["../outside", "/outside", "a/../../outside", "C:\\outside", "\\\\host\\share", "..\\outside"]
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_cannot_name_a_place_outside(kind, name, tmp_path):

    path = tmp_path / f"package.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, "x")
    else:
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(InputError, match="lies outside of it"):
        list(members(path, "*"))


def test_links_in_an_archive_are_not_followed(tmp_path):

    with tarfile.open(tmp_path / "package.tar", "w") as archive:
        info = tarfile.TarInfo("inside")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    assert list(members(tmp_path / "package.tar", "*")) == []


def test_no_file_of_a_run_tells_a_token_or_a_home(corpus, tmp_path, monkeypatch):
    token, home = "hf_" + "a1B2c3D4e5" * 4, tmp_path / "home" / "somebody"
    home.mkdir(parents=True)
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    folder = home / "run"
    run(parse_recipe(values_of(corpus, Path("run"))))
    read = 0
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode("latin-1")
            read += 1
            assert token not in text, path
            assert not SECRET.search(text) or path.suffix in (".safetensors", ".pt"), path
            assert str(home) not in text, path
            # What the recipe of this test names itself, and the words of the text that was trained on, may stay.
            if path.suffix == ".json" and path.name not in ("tokenizer.json",):
                assert not HOME_FOLDER.search(text), path
    assert read > 20


def test_code_beside_a_model_runs_only_when_it_is_allowed(finished, tmp_path):

    from hf_gpt.inference import load_model

    marker, folder = tmp_path / "marker", tmp_path / "foreign"
    shutil.copytree(finished, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "foreign", "auto_map": {"AutoConfig": "foreign.Config", "AutoModelForCausalLM": "foreign.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "foreign.py").write_text(f"open({str(marker)!r}, 'w')\n")
    with pytest.raises(InputError):
        load_model(str(folder))
    assert not marker.exists()
