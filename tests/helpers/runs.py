"""Small runs that end as by `kill -9` at a place that is chosen, and what they leave."""

import json

import pytest
from benchmarks.tiny import recipe_values
from transformers import Trainer

from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.run_folder.manifest import read_manifest
from hf_gpt.training import run as runs
from hf_gpt.training.distributed import read_launch
from hf_gpt.training.finetuning import Finetuning


class KilledError(BaseException):
    """Takes the place of the kill: nothing of a run catches it, and nothing is run after it."""


def kill(*arguments, **named):
    raise KilledError


def short_values(corpus, folder, **changes):
    """The tiniest recipe with two checkpoints, at steps 2 and 4."""
    short = {"max_steps": 4, "save_steps": 2, "logging_steps": 2, "eval_strategy": "no", "learning_rate": 0.01}
    return recipe_values(corpus, folder, **{**short, **changes})


def leave_out_rehearsal(patched):
    """It does beforehand what is to be interrupted later."""
    patched.setattr(runs, "rehearse", lambda *arguments: None)


def killed_at(values, module, name):
    """A run that is killed where it would call that function."""
    with pytest.MonkeyPatch.context() as patched:
        leave_out_rehearsal(patched)
        patched.setattr(module, name, kill)
        with pytest.raises(KilledError):
            runs.run(parse_recipe(values))


def killed_after(values, step):
    """A run that is killed when that step is done, saved and all."""
    training_step = Trainer.training_step

    def stop(self, *arguments, **named):
        return kill() if self.state.global_step == step else training_step(self, *arguments, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Trainer, "training_step", stop)
        with pytest.raises(KilledError):
            runs.run(parse_recipe(values))


def contents(folder):
    """What lies in a folder: bytes of files, and where links lead."""
    return {
        path.relative_to(folder).as_posix(): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def earlier(folder):
    """As a version without manifests has left it."""
    manifest = read_manifest(folder)
    (folder / "run.json").unlink()
    (folder / "data.json").write_text(json.dumps(manifest.data))
    return folder


def trainer_of(values):
    """Return the job of a recipe, its model and its trainer, not yet trained."""
    job = Finetuning(parse_recipe(values))
    job.prepare_data(read_launch(1))
    model = job.build_model()
    return job, model, job.build_trainer(model)
