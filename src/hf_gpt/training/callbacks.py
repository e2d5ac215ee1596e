"""What a person sees of a run while it trains: its progress, its speed, and what the model writes by then."""

import math
import re
import threading
import time
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import ProgressCallback, TrainerCallback
from transformers.integrations import TensorBoardCallback

from ..errors import counted
from ..run_folder.checkpoints import write_atomically
from ..run_folder.manifest import announce
from .budget import TimeBudget
from .trainer import SKIPPED, GuardedTrainer


SAMPLES_FILE = "samples.md"
# Of a sample on the console, and of a text before it is cut there.
SHOWN_CHARACTERS = 160
# The bar of tqdm without its guess of what is left, which takes the time of compiling for that of a step.
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]"
# What a log row is shown as, in this order.
SHOWN = {
    "loss": ("loss", ".4g"),
    "eval_loss": ("validation loss", ".4g"),
    "reward": ("reward", ".4g"),
    "kl": ("kl", ".4g"),
    "learning_rate": ("rate", ".2g"),
    "tokens_per_second": ("tokens/s", ",.0f"),
    "mfu": ("MFU", ".1%"),
}


class ProgressRecorder(TrainerCallback):
    """Adds to each row of the log how long the run has taken, across interruptions, how many tokens it has seen, and how fast.

    Args:
        tokens_per_step: Of full batches; 0 where steps are of different length: then the rows do not tell.
        flops_per_token: What a token costs, forward and backward.
        peak_flops: Of all devices together, a second; 0 where nobody knows.
    """

    def __init__(self, tokens_per_step: int = 0, flops_per_token: float = 0.0, peak_flops: float = 0.0):
        self.tokens_per_step = tokens_per_step
        self.mfu_per_token = flops_per_token / peak_flops if peak_flops else 0.0
        self._begin(0)
        # Of an epoch, whose last batch may be smaller; 0 where there is none.
        self.epoch_steps = self.epoch_tokens = 0
        # Seconds of training in the processes before this one.
        self.earlier = 0.0

    def _begin(self, step: int) -> None:
        self.last = self.last_loss = self.step_ended = time.monotonic()
        self.first_step = self.last_step = step
        # Seconds of evaluations and checkpoints: since the last loss was logged, and in all.
        self.is_paused, self.paused, self.all_paused = False, 0.0, 0.0

    def on_train_begin(self, args, state, control, train_dataloader=None, **kwargs):
        self._begin(state.global_step)
        dataset = getattr(train_dataloader, "dataset", None)
        if self.tokens_per_step and isinstance(dataset, Sized):
            batches = len(train_dataloader)
            self.epoch_steps = math.ceil(batches / args.gradient_accumulation_steps)
            rows = batches * args.train_batch_size
            if args.world_size == 1:
                # Among processes, accelerate fills the last batch up.
                rows = min(rows, len(dataset))
            self.epoch_tokens = self.tokens_per_step * rows // (args.train_batch_size * args.gradient_accumulation_steps)
        self.earlier = next((row["elapsed_seconds"] for row in reversed(state.log_history) if "elapsed_seconds" in row), 0.0)

    def tokens_at(self, step: int) -> int:
        """Return the tokens that were read in that number of steps."""
        epochs, rest = divmod(step, self.epoch_steps) if self.epoch_steps else (0, step)
        tokens = rest * self.tokens_per_step
        return epochs * self.epoch_tokens + (min(tokens, self.epoch_tokens) if self.epoch_steps else tokens)

    def tokens_learned(self, history: list[dict[str, Any]], step: int) -> int:
        """Return the tokens of that number of steps without the skipped ones."""
        skipped = {row["step"] for row in history if SKIPPED in row}
        return self.tokens_at(step) - sum(self.tokens_at(number) - self.tokens_at(number - 1) for number in skipped)

    def on_step_end(self, args, state, control, **kwargs):
        self.step_ended = time.monotonic()

    def on_evaluate(self, args, state, control, **kwargs):
        self.is_paused = True

    def on_save(self, args, state, control, **kwargs):
        self.is_paused = True

    def on_step_begin(self, args, state, control, **kwargs):
        if self.is_paused:
            self.paused += time.monotonic() - self.step_ended
            self.is_paused = False

    def on_log(self, args, state, control, logs=None, **kwargs):
        row = state.log_history[-1]
        now = time.monotonic()
        if self.tokens_per_step:
            row["tokens"] = self.tokens_learned(state.log_history, state.global_step)
        if "loss" in row:
            steps = state.global_step - self.last_step
            if steps:
                seconds = max((now - self.last_loss - self.paused) / steps, 1e-9)
                self.all_paused += self.paused
                pauses = self.all_paused / (state.global_step - self.first_step)
                row["seconds_left"] = (state.max_steps - state.global_step) * (seconds + pauses)
                if self.tokens_per_step:
                    row["tokens_per_second"] = self.tokens_per_step / seconds
                if self.tokens_per_step and self.mfu_per_token:
                    row["mfu"] = row["tokens_per_second"] * self.mfu_per_token
            self.last_step, self.last_loss, self.paused = state.global_step, now, 0.0
        before = next(
            (entry["elapsed_seconds"] for entry in reversed(state.log_history[:-1]) if "elapsed_seconds" in entry), 0.0
        )
        row["elapsed_seconds"] = before + now - self.last
        self.last = now


def measured_speed(history: list[dict[str, Any]]) -> dict[str, float]:
    """For a record: the median speed of the rows of a log, and the MFU where the device is known."""
    speed = {}
    for name in ("tokens_per_second", "mfu"):
        values = sorted(row[name] for row in history if name in row)
        if values:
            speed[name] = values[len(values) // 2]
    return speed


def _tick(bar: Any) -> None:
    """Let the clock of a bar run until its first step is made: compiling may take minutes on a busy machine."""
    while bar.desc and not bar.disable:
        time.sleep(1)
        bar.refresh()


class ProgressLine(ProgressCallback):
    """The bar of `Trainer`, which knows when the number of steps is fixed, and rows that a person reads.

    Args:
        budget: What fixes the number of steps, if there is such a thing.
    """

    def __init__(self, budget: TimeBudget | None = None) -> None:
        super().__init__()
        self.budget = budget

    def on_train_begin(self, args, state, control, **kwargs):
        self.current_step = state.global_step
        if state.is_world_process_zero:
            total = None if self._is_open() else state.max_steps
            doing = "compiling" if args.torch_compile else None
            first = state.global_step
            bar: Any = tqdm(desc=doing, total=total, initial=first, dynamic_ncols=True, unit="step", bar_format=BAR)
            self.training_bar = bar
            threading.Thread(target=_tick, args=(bar,), name="compiling", daemon=True).start()

    def _is_open(self) -> bool:
        return self.budget is not None and not self.budget.is_fixed

    def on_step_end(self, args, state, control, **kwargs):
        bar = self.training_bar
        if bar is not None:
            if bar.desc:
                bar.set_description(None)
            if bar.total != state.max_steps and not self._is_open():
                bar.total = state.max_steps
        super().on_step_end(args, state, control, **kwargs)

    def on_log(self, args, state, control, logs=None, **kwargs):
        bar, row = self.training_bar, state.log_history[-1]
        if bar is None or not {"loss", "eval_loss"} & set(row):
            return
        if not self._is_open() and "seconds_left" in row:
            bar.set_postfix_str(_postfix(row), refresh=False)
        tqdm.write(log_line(row, None if self._is_open() else state.max_steps))


class EarlyStopping(TrainerCallback):
    """Ends training when a figure of the evaluations gets no better. It is read from the log, so that a resumed run stops where one
    that nobody interrupted does.

    Args:
        patience: Evaluations in a row without a better figure than the best before them.
    """

    def __init__(self, patience: int):
        self.patience = patience

    def on_train_begin(self, args, state, control, **kwargs):
        self._look(args, state, control)

    def on_evaluate(self, args, state, control, **kwargs):
        self._look(args, state, control)

    def _look(self, args, state, control) -> None:
        name = str(args.metric_for_best_model)
        name = name if name.startswith("eval_") else f"eval_{name}"
        sign = 1 if args.greater_is_better else -1
        values = [sign * row[name] for row in state.log_history if name in row]
        if values and len(values) - 1 - values.index(max(values)) >= self.patience:
            control.should_training_stop = True


# Steps after which a forecast is made, without the first one, which is slower; where steps take more than these seconds, after one.
FORECAST_STEPS, SLOW_STEP = 4, 5.0


class Forecast(TrainerCallback):
    """Tells early how long training will take, where nothing else does: by its first steps."""

    def __init__(self, batches: float):
        """`batches`: Of an evaluation, in steps' worth of rows; a forward pass is a third of a step."""
        self.batches = batches

    def on_train_begin(self, args, state, control, **kwargs):
        self.first, self.began, self.is_told = state.global_step, 0.0, False

    def on_step_end(self, args, state, control, **kwargs):
        done, now = state.global_step - self.first, time.monotonic()
        if done == 1:
            self.began = now
        elif not self.is_told and done > 1:
            seconds = (now - self.began) / (done - 1)
            if done > FORECAST_STEPS or seconds > SLOW_STEP:
                self.is_told = True
                if state.is_world_process_zero:
                    tqdm.write(self._line(args, state, seconds))

    def _line(self, args, state, seconds: float) -> str:
        left = state.max_steps - state.global_step
        evaluations = left // state.eval_steps if args.eval_strategy == "steps" and state.eval_steps else 0
        minutes = (left * seconds + evaluations * self.batches * seconds / 3) / 60
        return (
            f"About {minutes:,.1f} minutes of training are left: {counted(left, 'steps')} of {seconds:.2g} s"
            f"{' and ' + counted(evaluations, 'evaluations') if evaluations else ''}."
        )


def _postfix(row: dict[str, Any]) -> str:
    speed = [f"{row[name]:{SHOWN[name][1]}} {SHOWN[name][0]}" for name in ("tokens_per_second", "mfu") if name in row]
    return ", ".join([*speed, f"{_clock(row['seconds_left'])} left"])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def earlier_seconds(trainer: GuardedTrainer) -> float:
    """Return seconds of training of a run in the processes before this one."""
    recorders = (call for call in trainer.callback_handler.callbacks if isinstance(call, ProgressRecorder))
    return sum(recorder.earlier for recorder in recorders)


def log_line(row: dict[str, Any], steps: int | None) -> str:
    """Return one row of the log for the console.

    Args:
        steps: Of the run, where they are known.
    """
    parts = [f"step {row['step']:,}" + (f"/{steps:,}" if steps else "")]
    for name, value in row.items():
        if name.startswith("eval_") and name not in SHOWN and isinstance(value, float) and not _is_timing(name):
            parts.append(f"{name.removeprefix('eval_')} {value:.4g}")
    parts += [_shown(name, row[name]) for name in SHOWN if name in row]
    if steps and "seconds_left" in row:
        parts.append(f"{_clock(row['seconds_left'])} left")
    return "  ".join(parts)


def _shown(name: str, value: float) -> str:
    label, form = SHOWN[name]
    return f"{value:{form}} {label}" if name == "tokens_per_second" else f"{label} {value:{form}}"


def _is_timing(name: str) -> bool:
    return name.endswith(("_runtime", "_per_second"))


# ----------------------------------------------------------------------------------------------------------- samples


class SampleWriter(TrainerCallback):
    """Lets the model write at each evaluation: on the console, for TensorBoard, and into `samples.md` of the run.

    Args:
        trainer: Whose model writes.
        write: From a model to its samples, each with `prompt` and `text`.
        folder: Of the run.
    """

    def __init__(self, trainer: GuardedTrainer, write: Callable[[Any], list[dict[str, Any]]], folder: Path) -> None:
        self.trainer, self.write, self.path = trainer, write, folder / SAMPLES_FILE

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        # The others hold a part of a model that is split, and would have to write along; nothing is asked after training.
        if not state.is_world_process_zero or not self.trainer.is_in_train or self._is_split():
            return
        model: Any = self.trainer.accelerator.unwrap_model(self.trainer.model, keep_torch_compile=False)
        was_training = model.training
        samples = self.write(model)
        model.train(was_training)
        loss = (metrics or {}).get("eval_loss", math.nan)
        section = sample_section(state.global_step, loss, samples)
        announce(self.path.parent, [SAMPLES_FILE])
        write_atomically(self.path, with_section(self.path, state.global_step, section))
        for sample in samples[:1]:
            text = " ".join(sample["text"].split())
            tqdm.write(f"  it writes: {text[:SHOWN_CHARACTERS]}{'…' if len(text) > SHOWN_CHARACTERS else ''}")
        for callback in self.trainer.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
                callback.tb_writer.add_text("samples", section, state.global_step)

    def _is_split(self) -> bool:
        trainer = self.trainer
        return trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled or trainer.get_tp_size() > 1


def sample_section(step: int, loss: float, samples: list[dict[str, Any]]) -> str:
    """Return what a model wrote after a step, in Markdown: each line of a text is quoted, so that none is a heading."""
    quoted = []
    for sample in samples:
        text, prompt = sample["text"], sample["prompt"]
        marked = f"**{prompt}**{text[len(prompt) :]}" if text.startswith(prompt) else text
        quoted.append("\n".join(f"> {line}" for line in marked.splitlines() or [""]))
    return "\n\n".join([f"## Step {step}, validation loss {loss:.3f}", *quoted]) + "\n"


def with_section(path: Path, step: int, section: str) -> str:
    """Return the text of the file with one section more; a resumed run writes those of its steps anew."""
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    kept = [part for part in re.split(r"^(?=## Step )", before, flags=re.MULTILINE)[1:] if _step_of(part) < step]
    return "".join(["# What the model wrote while it was trained\n\n", *kept, section, "\n"])


def _step_of(section: str) -> int:
    found = re.match(r"## Step (\d+)", section)
    return int(found[1]) if found else -1
