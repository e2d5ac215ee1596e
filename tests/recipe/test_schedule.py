"""Shares of a run become steps; what is longer than the run is refused before its first step."""

import pytest
import torch
from tests.conftest import tiny_config
from transformers import TrainingArguments

from hf_gpt.errors import InputError
from hf_gpt.modeling.modeling_hf_gpt import GPTForCausalLM
from hf_gpt.recipe.parser import load_recipe, parse_recipe
from hf_gpt.recipe.schedule import phase_lengths, resolve_schedule, steps_per_epoch
from hf_gpt.training.trainer import GuardedTrainer


def arguments_of(folder, **values):
    return TrainingArguments(str(folder), use_cpu=True, report_to="none", **values)


def test_every_share_becomes_steps_of_the_run(tmp_path):
    arguments = arguments_of(
        tmp_path,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": 0.6, "decay_type": "linear"},
        warmup_steps=0.03,
        logging_steps=0.01,
        eval_steps=0.25,
        save_steps=7,
    )
    assert resolve_schedule(arguments, 200) == {
        "logging_steps": 2,
        "eval_steps": 50,
        "save_steps": 7,
        "warmup_steps": 6,
        "lr_scheduler_kwargs": {"num_decay_steps": 120, "decay_type": "linear"},
    }


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 100, 101, 18_290])
def test_rounded_shares_never_exceed_the_run(steps):
    lengths = phase_lengths({"warmup_steps": 0.1, "num_stable_steps": 0.3, "num_decay_steps": 0.6}, steps)
    assert sum(lengths.values()) <= steps
    assert lengths["warmup_steps"] < steps


@pytest.mark.parametrize(
    ("phases", "fix"),
    [
        (
            {"warmup_steps": 20, "num_decay_steps": 440},
            "warmup_steps=0.03 lr_scheduler_kwargs.num_decay_steps=0.6, or max_steps=460",
        ),
        ({"warmup_steps": 0.03, "num_decay_steps": 440}, "shares of the run, lr_scheduler_kwargs.num_decay_steps=0.6"),
        ({"warmup_steps": 140}, "shares of the run, warmup_steps=0.03, or max_steps=140"),
        ({"warmup_steps": 0.5, "num_decay_steps": 0.6}, "110% of the run"),
    ],
)
def test_a_schedule_longer_than_the_run_is_refused_with_the_fix(phases, fix):
    with pytest.raises(InputError, match=fix):
        phase_lengths(phases, 100)


def test_a_schedule_without_warmup_is_not_asked_for_one(tmp_path):
    resolve_schedule(arguments_of(tmp_path, lr_scheduler_type="constant", warmup_steps=140), 100)


@pytest.mark.parametrize(("rows", "steps"), [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3)])
def test_steps_of_an_epoch_are_those_of_the_trainer(rows, steps):
    assert steps_per_epoch(rows, batch_size=8, batches=2, accumulation=2) == steps


def test_packaged_recipes_fit_a_run_of_any_length(packaged):
    for recipe in packaged.values():
        for steps in (1, 8, 100, 5000):
            assert resolve_schedule(recipe.training, steps).get("warmup_steps", 0) <= steps


def rates(folder, **values):
    model = torch.nn.Linear(1, 1)
    trainer = GuardedTrainer(model, arguments_of(folder, learning_rate=1.0, **values), train_dataset=[0])
    seen = []
    trainer.create_optimizer()
    trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())
    trainer.create_scheduler(values["max_steps"])
    for _ in range(values["max_steps"]):
        seen.append(trainer.lr_scheduler.get_last_lr()[0])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    return seen


def test_a_short_run_of_the_quickstart_reaches_its_rate(tmp_path):
    training = load_recipe("pretrain/quickstart").training
    schedule = {
        "lr_scheduler_type": training.lr_scheduler_type,
        "lr_scheduler_kwargs": training.lr_scheduler_kwargs,
        "warmup_steps": training.warmup_steps,
    }
    for steps in (8, 100):
        seen = rates(tmp_path, max_steps=steps, **schedule)
        assert max(seen) == 1.0
        assert seen[-1] <= 0.25
        assert training.lr_scheduler_kwargs["num_decay_steps"] == 0.6, "resolving does not change what was given"


def test_a_run_is_refused_before_it_has_a_folder(tmp_path):
    from hf_gpt.training.run import run

    (tmp_path / "corpus.txt").write_text("".join(f"Line {n} says something of its own.\n" for n in range(400)))
    values = {
        "preset": "modern-5m",
        "dataset": {"path": "text", "files": str(tmp_path / "corpus.txt")},
        "tokenizer_vocab_size": 300,
        "block_size": 16,
        "preprocessing_workers": 1,
        "output_dir": str(tmp_path / "run"),
        "use_cpu": True,
        "report_to": "none",
        "warmup_steps": 5000,
    }
    for length in ({"max_steps": 100}, {"num_train_epochs": 1}):
        with pytest.raises(InputError, match=r"warmup_steps=5000 do not fit into a run of [0-9]+ steps"):
            run(parse_recipe({**values, **length}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("compiled", "rows"), [(True, [4, 4]), (False, [4, 4, 3])])
def test_a_compiled_run_has_no_smaller_batch_at_the_end_of_an_epoch(tmp_path, compiled, rows):
    model = GPTForCausalLM(tiny_config("modern"))
    blocks = [{"input_ids": [number], "labels": [number]} for number in range(11)]
    arguments = arguments_of(tmp_path, per_device_train_batch_size=4, torch_compile=compiled)
    loader = GuardedTrainer(model, arguments, train_dataset=blocks).get_train_dataloader()
    batches = [batch["input_ids"].flatten().tolist() for batch in loader]
    assert [len(batch) for batch in batches] == rows
    assert len({row for batch in batches for row in batch}) == sum(rows)
    again = [row for batch in loader for row in batch["input_ids"].flatten().tolist()]
    assert again != [row for batch in batches for row in batch], "each epoch leaves out others"
