"""Figures of an evaluation do not depend on how its rows are put into batches."""

import math

import pytest
import torch
from tests.helpers import recipes
from tests.helpers.recipes import sentence, task_values, write_rows

from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.recipe.task_keys import READ_BY
from hf_gpt.tasks import TASKS
from hf_gpt.training.distributed import read_launch
from hf_gpt.training.finetuning import Finetuning
from hf_gpt.training.task_trainers import in_order
from hf_gpt.training.whole_means import over_all, put_together


ROWS = 5
OF_TRL = {"chat", "text-to-text", "preference", "reward", "reinforcement"}


def unequal(task):
    """Rows of a task, whose lengths and labels differ from row to row."""
    few = {
        "token-classification": lambda number, row: {name: row[name][: 1 + number % 6] for name in row},
        "chat": lambda number, row: {
            "messages": [row["messages"][0], {**row["messages"][1], "content": sentence(number, 1 + 2 * (number % 6))}]
        },
        "text-to-text": lambda number, row: {**row, "target": sentence(number, 1 + 2 * (number % 6))},
        "preference": lambda number, row: {**row, "chosen": f" {sentence(number, 1 + number % 6)}", "rejected": " no"},
    }
    maker = recipes.TASKS[task][0]
    return lambda number: few.get(task, lambda number, row: row)(number, maker(number))


def evaluated(values, batch_size):
    torch.manual_seed(0)
    job = Finetuning(parse_recipe({**values, "per_device_eval_batch_size": batch_size}))
    job.prepare_data(read_launch(1))
    model = job.build_model()
    trainer = job.build_trainer(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    if job.task.trainer == "reinforcement":
        # What is drawn depends on the batches.
        trainer.generation_config.do_sample = False
    # Those are of the validation split's rows.
    trainer.compute_metrics = None
    rows = job.encoded["train"].select(range(ROWS))
    return trainer.evaluate(in_order(rows) if job.task.trainer == "trainer" else rows)


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        *((task, {}) for task in TASKS),
        ("reinforcement", {"algorithm": "rloo"}),
        ("token-classification", {"class_weights": [1.0, 9.0]}),
        ("chat", {"label_smoothing_factor": 0.1}),
    ],
    ids=str,
)
def test_each_figure_is_that_of_all_rows_however_they_are_batched(task, changes, base, tmp_path):
    if task in OF_TRL:
        pytest.importorskip("trl", reason="trl needs Python 3.11")
    changes = {**changes, **({"max_new_tokens": 6} if task in READ_BY["max_new_tokens"] else {})}
    values = task_values(base, write_rows(tmp_path, unequal(task)), tmp_path / "run", task, **changes)
    one, several = (evaluated(values, size) for size in (1, 4))
    figures = {name for name in several if not name.endswith(("_time", "_runtime", "_per_second"))}
    assert figures == {name for name in one if not name.endswith(("_time", "_runtime", "_per_second"))}
    assert "eval_loss" in figures
    if task == "reinforcement":
        told = {"reward", "rewards/format/mean", "kl", "completions/mean_length", "completions/max_length"}
        assert {f"eval_{name}" for name in told} <= figures
        assert several["eval_kl"] > 1e-3
    for name in figures:
        assert several[name] == pytest.approx(one[name], rel=2e-3, abs=1e-6), name
    # Of answers one to a prompt there is no spread.
    assert not any("std" in name for name in figures)


def test_batches_that_have_none_of_what_a_figure_is_of_do_not_count():
    assert over_all("completions/min_terminated_length", [0.0, 3.0, 5.0], [0, 2, 1]) == 3
    assert over_all("completions/mean_terminated_length", [0.0, 3.0, 6.0], [0, 2, 1]) == 4
    assert over_all("completions/max_terminated_length", [0.0, 0.0], [0, 0]) is None
    assert over_all("reward", [1.0, 0.0], [8, 2]) == 0.8
    assert math.isnan(over_all("loss", [1.0, math.nan], [8, 2]))
    figures = {"num_tokens": [9.0], "reward": [1.0, 0.0], "reward_std": [1.0, 0.0]}
    put_together(figures, [{"": 8}, {"": 2}])
    assert figures == {"num_tokens": [9.0], "reward": [0.8]}
