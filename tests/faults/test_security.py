"""What was downloaded is data: no pickle is run, no link is written through, and no file tells whose machine it was."""

import ast
import contextlib
import io
import json
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from tests.conftest import ROOT
from tests.helpers.commands import run_command
from tests.helpers.runs import short_values

from hf_gpt.data.packages.fetching import members
from hf_gpt.errors import InputError
from hf_gpt.inference import inspect as inspection
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.recipe.task_keys import READ_BY
from hf_gpt.reports.privacy import HOME_FOLDER, SECRET
from hf_gpt.run_folder import checkpoints
from hf_gpt.training.run import run


class Trap:
    """Whoever loads its pickle as an object makes a file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (open, (self.marker, "w"))


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
            assert not (name == "yaml.load" and named.get("Loader") != "yaml.BaseLoader" and path.name != "strict_yaml.py")
            assert not (name == "torch.load" and named.get("weights_only") != "True")
            assert not (name == "numpy.load" and named.get("allow_pickle") == "True")
            assert named.get("trust_remote_code") != "True"
            assert named.get("shell") != "True"


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_trap_in_a_checkpoint_is_not_run(name, finished, corpus, tmp_path):
    """Whoever made the checkpoint can make its list of hashes fit, too."""
    marker, checkpoint = tmp_path / "marker", finished / "checkpoint-2"
    (finished / "record.json").unlink()
    shutil.rmtree(finished / "checkpoint-4")
    torch.save({"state": Trap(marker)}, checkpoint / name)
    checkpoint.rename(tmp_path / "trapped")
    (tmp_path / "trapped" / "sha256.json").unlink()
    checkpoints.finalize(tmp_path / "trapped", checkpoint)
    with pytest.raises(InputError, match="holds objects that only running its code would read"):
        run(parse_recipe(short_values(corpus, finished)))
    assert not marker.exists()
    pickle.loads(pickle.dumps(Trap(marker))).close()
    assert marker.exists(), "the trap itself has to work"


@pytest.mark.parametrize("name", ["config.json", "checkpoint-2/model.safetensors", "recipe.yaml"])
def test_nothing_is_written_through_a_link(name, finished, corpus, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("years of work")
    (finished / name).unlink()
    (finished / name).symlink_to(victim)
    with pytest.raises(InputError, match="is a link: a run folder holds files only"):
        run(parse_recipe(short_values(corpus, finished, overwrite=True)))
    assert victim.read_text() == "years of work"


@pytest.mark.parametrize(
    "name", ["../outside", "/outside", "a/../../outside", "C:\\outside", "\\outside", "\\\\host\\share", "..\\outside"]
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
    run(parse_recipe(short_values(corpus, Path("run"))))
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


# Of what can load: every call but those of objects that know no code of others, such as files of tensors.
LOADING = {"from_pretrained", "from_config", "load_dataset", "pipeline", "SFTConfig", "DPOConfig"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT / "src" / "hf_gpt").as_posix())
def test_every_loading_call_refuses_foreign_code(path):
    """Without the argument transformers asks on a terminal, and takes a `yes` from a pipe."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in LOADING:
            named = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            place = f"{path.name}:{node.lineno} {ast.unparse(node.func)}"
            assert named.get("trust_remote_code") in ("False", *ASKED.get(path.relative_to(ROOT / "src").as_posix(), ())), (
                place
            )


# Where `hf-gpt doctor --trust-remote-code` hands on what its user said.
ASKED = {
    "hf_gpt/inference/doctor/small_copy.py": ("self.trust_remote_code",),
    "hf_gpt/inference/loading.py": ("trust_remote_code",),
    "hf_gpt/planning/capacity.py": ("trust_remote_code",),
}


def test_foreign_code_runs_for_the_doctor_alone_and_when_it_is_told_so():
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                named = [*node.args.args, *node.args.kwonlyargs]
                defaults = [None] * (len(node.args.args) - len(node.args.defaults)) + [
                    *node.args.defaults,
                    *node.args.kw_defaults,
                ]
                found = dict(zip([argument.arg for argument in named], defaults))
                assert "trust_remote_code" not in found or ast.unparse(found["trust_remote_code"]) == "False", node.name
            elif isinstance(node, ast.Name) and node.id == "trust_remote_code" and "doctor" not in path.as_posix():
                assert path.name in ("cli.py", "loading.py", "capacity.py"), path


def planted(finished, folder, marker, through):
    """A folder that asks for `evil.py`, which leaves a mark when it is run: through its config or its tokenizer, or both."""
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("checkpoint-*", "record.json", "recipe.yaml"))
    (folder / "evil.py").write_text(
        f"open({str(marker)!r}, 'w')\nclass Config: pass\nclass Model: pass\nclass Tokenizer: pass\n"
    )
    config = json.loads((folder / "config.json").read_text())
    if "config" in through:
        names = dict.fromkeys(config["auto_map"], "evil.Model") | {"AutoConfig": "evil.Config"}
        config |= {"model_type": "evil", "auto_map": names}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    if "tokenizer" in through:
        tokenizer |= {"tokenizer_class": "EvilTokenizer", "auto_map": {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


def commands(folder, corpus, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("The value of an object is not the object. " * 40)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"row number {i}", "label": i % 2}) + "\n" for i in range(200)))
    tuned = {"preset": None, "model_name_or_path": str(folder), "config": {}}
    recipes = {
        "train": short_values(corpus, tmp_path / "trained", **tuned),
        "tokenizer": short_values(corpus, tmp_path / "trained", tokenizer=str(folder)),
        "classify": short_values(rows, tmp_path / "trained", **tuned, task="text-classification"),
    }
    recipes["classify"]["dataset"].pop("text_column")
    for key, tasks in READ_BY.items():
        if "text-classification" not in tasks:
            recipes["classify"].pop(key, None)
    for name, values in recipes.items():
        (tmp_path / f"{name}.yaml").write_text(json.dumps(values))
    return [
        ["generate", folder, "x"],
        ["evaluate", folder, text],
        ["evaluate", folder, "finetune/rotten-tomatoes", "--few-shot", "1"],
        ["export", folder, tmp_path / "exported"],
        ["import", folder, tmp_path / "imported"],
        *(["train", tmp_path / f"{name}.yaml"] for name in recipes),
    ]


@pytest.mark.parametrize("through", ["config", "tokenizer", "config and tokenizer"])
def test_no_command_runs_code_beside_a_model_though_yes_is_piped(through, finished, corpus, tmp_path, monkeypatch, capsys):
    marker = tmp_path / "marker"
    folder = planted(finished, tmp_path / "foreign", marker, through)
    monkeypatch.setattr("builtins.input", lambda *_: "yes")
    for command in commands(folder, corpus, tmp_path):
        if through == "config" and Path(command[-1]).name == "tokenizer.yaml":
            # A tokenizer of a known class is loaded beside whatever model.
            continue
        code, _, told = run_command(monkeypatch, capsys, *command)
        assert code == 2, told
        assert not marker.exists(), command
        assert told.count("hf-gpt: ") == 1, told
        assert "trust_remote_code" not in told
        if command[0] != "import":
            assert "which hf-gpt never does" in told, (command, told)
    with pytest.raises(InputError, match="which hf-gpt never does"):
        inspection.load(str(folder))
    assert not marker.exists()


def test_the_planted_code_itself_works(finished, tmp_path):
    from transformers import AutoConfig, AutoTokenizer

    for through, auto in (("config", AutoConfig), ("tokenizer", AutoTokenizer)):
        marker = tmp_path / f"marker-{through}"
        folder = planted(finished, tmp_path / f"foreign_{through}", marker, through)
        with contextlib.suppress(Exception):
            auto.from_pretrained(folder, trust_remote_code=True)
        assert marker.exists()
