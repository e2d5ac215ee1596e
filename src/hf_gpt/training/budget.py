"""A time budget: the run times its own steps and fixes their number, once."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

from accelerate.utils import broadcast_object_list
from tqdm.auto import tqdm
from transformers import TrainerCallback
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ..errors import counted
from ..planning import USED_SHARE
from ..recipe.schedule import occasions, resolve_schedule
from ..run_folder.settled import read_settled, settle
from .trainer import GuardedTrainer


# In the first of these a graph is compiled and memory is touched; they say nothing about those that follow.
UNTIMED_STEPS = 2
# At least this number of steps is timed, for at least the first share of the budget; fewer where they alone take the second share.
TIMED_STEPS, TIMED_SHARE, LONGEST_SHARE = 5, 0.015, 0.1
# A step that takes this many times as long as the typical one has compiled something.
COMPILED_TIMES = 3.0
# However slow a machine is: fewer steps train nothing.
FEWEST_STEPS = 20


@dataclass(frozen=True)
class Costs:
    """Seconds of a step, of an evaluation and of a checkpoint."""

    step: float
    evaluation: float = 0.0
    checkpoint: float = 0.0


def steps_within(
    seconds: float, done: int, limit: int, costs: Costs, intervals: Callable[[int], tuple[int | None, int | None]]
) -> int:
    """Return the largest number of steps of a run that ends in time.

    Args:
        seconds: What is left of the budget.
        done: Steps that were made already.
        limit: The most that the run may make.
        intervals: Steps between two evaluations and between two checkpoints of a run of that length; `None` where there are none.
    """

    def needed(steps: int) -> float:
        evaluations, checkpoints = (occasions(every, done, steps) for every in intervals(steps))
        return (steps - done) * costs.step + evaluations * costs.evaluation + checkpoints * costs.checkpoint

    fewest, most = done, limit
    while fewest < most:
        middle = (fewest + most + 1) // 2
        fewest, most = (middle, most) if needed(middle) <= seconds else (fewest, middle - 1)
    return fewest


def steps_in_budget(seconds: float, done: int, limit: int, per_epoch: int, costs: Costs, arguments: Any, schedule: Any) -> int:
    """`steps_within` with the intervals of a run.

    Args:
        per_epoch: Steps of an epoch.
        arguments: The training arguments, which say when the run evaluates and saves.
        schedule: What of them may be shares, as it was given.
    """

    def intervals(steps: int) -> tuple[int | None, int | None]:
        return run_intervals(arguments, schedule, steps, per_epoch)

    return steps_within(seconds, done, limit, costs, intervals)


def run_intervals(arguments: Any, schedule: Any, steps: int, per_epoch: int) -> tuple[int | None, int | None]:
    """Return steps between two evaluations and between two checkpoints of a run of that length; `None` where there are none."""
    resolved = resolve_schedule(schedule, steps)
    return (
        _interval(arguments.eval_strategy, resolved["eval_steps"], per_epoch),
        _interval(arguments.save_strategy, resolved["save_steps"], per_epoch),
    )


def is_enough(steps: int, seconds: float, budget: float) -> bool:
    """Return whether the timed steps are enough to tell how fast the others will be."""
    # Two steps of a machine that is too slow for more look alike; one may be no step of it.
    is_slow = steps >= 2 and seconds >= LONGEST_SHARE * budget
    return is_slow or (steps >= TIMED_STEPS and seconds >= TIMED_SHARE * budget)


def fewest_steps(fitting: int, done: int, limit: int) -> int:
    """Return the steps of a run, given how many fit into its budget."""
    return max(fitting, min(FEWEST_STEPS, limit), done + 1)


def foreseen_steps(
    minutes: float, before: float, limit: int, per_epoch: int, costs: Costs, arguments: Any, schedule: Any
) -> int:
    """Return the number that a run will fix for itself, where it is known what everything costs.

    Args:
        before: Seconds before the first step, as for compiling.
    """
    budget = 60 * minutes
    done = UNTIMED_STEPS + next(steps for steps in count(1) if is_enough(steps, steps * costs.step, budget))
    if done >= limit:
        return limit
    left = USED_SHARE * budget - before - done * costs.step - costs.evaluation - costs.checkpoint
    return fewest_steps(steps_in_budget(left, done, limit, per_epoch, costs, arguments, schedule), done, limit)


class TimeBudget(TrainerCallback):
    """Times the first steps of a run that begins, one evaluation and one checkpoint, and fixes how many steps fit.

    The first process decides for all.

    Args:
        trainer: Whose number of steps is fixed.
        minutes: From the beginning of training to its end.
        folder: Of the run, which keeps the number.
        clock: Seconds that pass.
    """

    def __init__(
        self, trainer: GuardedTrainer, minutes: float, folder: Path, clock: Callable[[], float] | None = None
    ) -> None:
        self.trainer, self.budget, self.folder = trainer, 60 * minutes, folder
        self.clock = clock or monotonic
        self.is_fixed = False
        self.times: list[float] = []
        self.predictions: list[float] = []
        # When the evaluation and the checkpoint that are timed began, and what came of them.
        self.asked: float | None = None
        self.evaluated: float | None = None
        self.saved: float | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        self.started = self.last = self.clock()
        self.first = state.global_step
        self.is_interrupted = False

    def on_step_end(self, args, state, control, **kwargs):
        if self.is_fixed:
            return
        now = self.clock()
        if state.global_step - self.first == 1:
            self.first_step = now - self.started
        if state.global_step - self.first > UNTIMED_STEPS and not self.is_interrupted:
            self.times.append(now - self.last)
        self.last, self.is_interrupted = now, False
        if self._agree(self._is_enough()):
            self.asked = now
            control.should_evaluate = control.should_evaluate or args.eval_strategy != IntervalStrategy.NO
            control.should_save = control.should_save or args.save_strategy not in (SaveStrategy.NO, SaveStrategy.BEST)

    def on_prediction_step(self, args, state, control, **kwargs):
        if self.asked is not None:
            self.predictions.append(self.clock())

    def on_evaluate(self, args, state, control, **kwargs):
        self.is_interrupted = True
        self.evaluated = self.clock()

    def on_save(self, args, state, control, **kwargs):
        self.is_interrupted = True
        self.saved = self.clock()

    def on_step_begin(self, args, state, control, **kwargs):
        if self.asked is not None:
            self._fix(state.global_step, state.max_steps)
            self.asked, self.is_fixed = None, True

    def _agree(self, value: Any) -> Any:
        if self.trainer.args.world_size == 1:
            return value
        told = [value]
        broadcast_object_list(told)
        return told[0]

    def _kept(self) -> list[float]:
        """Return the times of steps without those in which something was compiled, as for a batch of another shape."""
        typical = sorted(self.times)[(len(self.times) - 1) // 2] if self.times else 0.0
        return [seconds for seconds in self.times if seconds <= COMPILED_TIMES * typical]

    def _is_enough(self) -> bool:
        kept = self._kept()
        return is_enough(len(kept), sum(kept), self.budget)

    def costs(self) -> Costs:
        """Return what was timed; a compiler's time, which comes once in each of them, is left out."""
        kept = self._kept()
        asked = self.asked or 0.0
        evaluated = max(self.evaluated or asked, asked)
        saved = max(self.saved or evaluated, evaluated)
        evaluation, batches = evaluated - asked, len(self.predictions)
        if batches >= 4:
            last = self.predictions[batches // 2 :]
            later = (last[-1] - last[0]) / (len(last) - 1) * batches
            evaluation -= max(0.0, self.predictions[-1] - asked - later)
        return Costs(sum(kept) / len(kept), evaluation, saved - evaluated)

    def _fix(self, done: int, limit: int) -> None:
        trainer, args = self.trainer, self.trainer.args
        costs = self.costs()
        per_epoch = max(round(limit / args.num_train_epochs), 1)

        def fitting_in(seconds: float) -> int:
            return steps_in_budget(seconds, done, limit, per_epoch, costs, args, trainer.given_schedule)

        left = USED_SHARE * self.budget - (self.clock() - self.started)
        fitting = fitting_in(left)
        if fitting >= per_epoch > done and self._compiles_at_the_end_of_an_epoch():
            fitting = max(fitting_in(left - self.first_step), per_epoch - 1)
        steps = self._agree(fewest_steps(fitting, done, limit))
        fixed_after = trainer.fix_steps(steps)
        if not trainer.is_world_process_zero():
            return
        values = {
            "minutes": self.budget / 60,
            "fixed_after": fixed_after,
            "provisional_steps": limit,
            "seconds_per_step": costs.step,
            "seconds_per_evaluation": costs.evaluation,
        }
        settle(self.folder, max_steps=steps, time_budget=values)
        tqdm.write(self._line(steps, fitting, limit, costs))

    def _compiles_at_the_end_of_an_epoch(self) -> bool:
        """Return whether the last batch is smaller than the others, which the first epoch of a run compiles for."""
        trainer = self.trainer
        dataset: Any = trainer.train_dataset
        if not trainer.args.torch_compile or trainer.args.dataloader_drop_last or not hasattr(dataset, "__len__"):
            return False
        return len(dataset) % trainer.get_total_train_batch_size(trainer.args) > 0

    def _line(self, steps: int, fitting: int, limit: int, costs: Costs) -> str:
        minutes = f"max_minutes={self.budget / 60:g}"
        if fitting < steps:
            return (
                f"{minutes} is too short for this machine: a step takes {costs.step:.1f} s. Training for "
                f"{counted(steps, 'steps')}, the fewest that make sense; make the model, block_size or "
                "per_device_train_batch_size smaller."
            )
        epochs = counted(steps * self.trainer.args.num_train_epochs / limit, "epochs", ".2g")
        told = f"{counted(steps, 'steps')} ({epochs})"
        if steps == limit:
            return f"{minutes}: training ends earlier, after the {told} that the recipe allows."
        return f"{minutes}: {told} fit, at {costs.step:.3g} s a step and {costs.evaluation:.2g} s an evaluation."


def _interval(strategy: Any, steps: int | None, per_epoch: int) -> int | None:
    if strategy == IntervalStrategy.EPOCH:
        return per_epoch
    return steps if strategy == IntervalStrategy.STEPS else None


def keep_to_budget(trainer: GuardedTrainer, minutes: float | None, folder: Path) -> TimeBudget | None:
    """Give a run its time budget; a run that has fixed its number of steps keeps it.

    Args:
        minutes: `None` for none.
        folder: Of the run.

    Returns:
        What will fix the number; `None` where it is fixed.
    """
    if minutes is None:
        return None
    settled = read_settled(folder)
    if "max_steps" in settled:
        trainer.args.max_steps = settled["max_steps"]
        trainer.before_fixed = (settled["time_budget"]["provisional_steps"], settled["time_budget"]["fixed_after"])
        return None
    budget = TimeBudget(trainer, minutes, folder)
    trainer.add_callback(budget)
    return budget


def settled_steps(folder: Path) -> dict[str, Any]:
    """For a record: how the run in a folder came to its number of steps, as `{"time_budget": …}`, if it had a budget; else empty."""
    return {name: value for name, value in read_settled(folder).items() if name == "time_budget"}
