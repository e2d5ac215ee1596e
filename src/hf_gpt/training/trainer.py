"""`Trainer` with what a long run needs: valid checkpoints, no silent NaN, an end in time, and causes that are named."""

import hashlib
import json
import math
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
from accelerate.utils import gather_object
from peft import PeftModel
from safetensors import SafetensorError
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, RandomSampler, Sampler
from transformers import Trainer, get_scheduler
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import rotate_checkpoints

from ..checks.boundary import refused
from ..errors import InputError
from ..recipe.schedule import FIELDS, resolve_schedule
from ..run_folder.checkpoints import STAGING_FOLDER, check_in_place, finalize, newest, rerun
from ..run_folder.manifest import announce
from .balance import AUX_LOSS, EXPERT_USE, ExpertUse
from .causes import first_line
from .finite import ask_if_finite
from .label_smoothing import WholeLabelSmoother
from .whole_means import Sizes, mean_loss, put_together, sizes_of, summed
from .workers import outlive_signals


# A loss is taken to have exploded when it is this many times the first one that was logged, and more than any loss of a model
# that knows nothing: the logarithm of a vocabulary of 200,000 is 12.
EXPLODED_TIMES, EXPLODED_NATS = 10.0, 20.0
# What a key of a log row is called that tells of a batch that was left out.
SKIPPED = "skipped_batch"


def batch_hash(inputs: Any) -> str:
    """Return the SHA-256 of the tensors of a batch, in the order of their names; of one that is not yet tensors, of its rows."""
    if not isinstance(inputs, dict):
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
    digest = hashlib.sha256()
    for name in sorted(inputs):
        if isinstance(inputs[name], torch.Tensor):
            value = inputs[name].detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def skipped_steps(history: list[dict[str, Any]]) -> int:
    """Return how many steps were left out: in one of them, more than one batch may have been at fault."""
    return len({row["step"] for row in history if SKIPPED in row})


class GuardedTrainer(Trainer):
    """The stock trainer; or, named before another trainer among the bases of a class, that one.

    Several processes agree once in each step of the optimizer: on a batch that one of them must not learn from, and on an end that one
    of them was notified of. None goes on alone to a place where it would wait for the others.

    Attributes:
        counts_experts: Whether the use of a mixture's experts is counted, of the outputs that the loss was made of.
        on_nan: What happens when a loss is not a number: `stop`, or `skip` the step and count it in the log.
        is_notified: Whether this process is to stop; set from outside.
        has_to_stop: Whether any process was notified, as of the last step.
    """

    on_nan: Literal["stop", "skip"] = "stop"
    counts_experts = True
    is_notified = False
    has_to_stop = False
    # The schedule as it was given, with its shares; and the steps that the run had in view until it fixed their number, with the step
    # after which it did, for a run that resumes.
    given_schedule: Any = None
    planned_steps = 1
    before_fixed: tuple[int, int] | None = None
    _staging: Path | None = None
    _finite_loss: torch.Tensor | None = None
    _is_finite: Callable[[], bool] = staticmethod(lambda: True)

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        if self.label_smoother is not None:
            model: Any = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
            name = type(model.get_base_model() if isinstance(model, PeftModel) else model).__name__
            is_causal = name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
            self.label_smoother = WholeLabelSmoother(self.args.label_smoothing_factor, is_causal)
        config: Any = getattr(self.model, "config", None)
        is_balanced = bool(getattr(config, "router_aux_loss_coef", 0))
        self.expert_use = ExpertUse(config.num_experts_per_tok) if is_balanced and self.counts_experts else None
        # Of this process, since the optimizer's last step: the SHA-256 of a batch, and its loss.
        self._bad_batches: list[tuple[str, float]] = []
        # Of this process, in an evaluation: the loss of each batch, and its sizes.
        self._batches: list[tuple[float, Sizes]] = []

    # ------------------------------------------------------------------------------------------------- the schedule

    def set_initial_training_values(self, args: Any, dataloader: DataLoader) -> Any:
        """What `Trainer` computes; then, the number of steps being known, the arguments hold steps in place of shares of them."""
        values = super().set_initial_training_values(args, dataloader)
        if self.given_schedule is None:
            self.given_schedule = SimpleNamespace(**{name: getattr(args, name) for name in FIELDS})
        self.planned_steps = values[-1]
        self._set_schedule(self.planned_steps)
        return values

    def _set_schedule(self, steps: int) -> None:
        for name, value in resolve_schedule(self.given_schedule, steps).items():
            setattr(self.args, name, value)

    def _init_training_state(self, max_steps: int, *arguments: Any) -> tuple[int, int]:
        values = super()._init_training_state(max_steps, *arguments)
        # A checkpoint from before the number of steps was fixed has intervals of another length of the run, or those of before the
        # command was changed; and the run may have lain elsewhere.
        self.state.compute_steps(self.args, max_steps)
        self._name_best(Path(str(self.args.output_dir)))
        return values

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if self.before_fixed is not None:
            steps, fixed_after = self.before_fixed
            change_rates(scheduler, self.rate_functions(steps), self.rate_functions(num_training_steps), fixed_after)
        return scheduler

    def rate_functions(self, steps: int) -> list[Callable[[int], float]]:
        """For each group of parameters, the function from a step to the factor of its learning rate, in a run of that length."""
        resolved = resolve_schedule(self.given_schedule, steps)
        optimizer: Any = self.optimizer
        groups: list[dict[str, Any]] = [{"params": [torch.zeros(1)]} for _ in optimizer.param_groups]
        stand_in = torch.optim.SGD(groups, lr=self.args.learning_rate)
        warmup = resolved.get("warmup_steps", 0)
        made: Any = get_scheduler(self.args.lr_scheduler_type, stand_in, warmup, steps, resolved["lr_scheduler_kwargs"])
        return getattr(made, "lr_lambdas", [])

    def fix_steps(self, steps: int) -> int:
        """End the run after that many steps, with rates and intervals of a run of this length from the next step on.

        Returns:
            The step of the scheduler after which the rates are those.
        """
        self._set_schedule(steps)
        self.args.max_steps = self.state.max_steps = steps
        self.state.compute_steps(self.args, steps)
        scheduler: Any = self.lr_scheduler
        fixed_after = int(scheduler.last_epoch)
        change_rates(scheduler, getattr(scheduler, "lr_lambdas", []), self.rate_functions(steps), fixed_after)
        return fixed_after

    def _finalize_training(self, trial: Any, num_train_samples: float, start_time: float) -> Any:
        samples = num_train_samples * self.state.max_steps / self.planned_steps
        return super()._finalize_training(trial, samples, start_time)

    # ---------------------------------------------------------------------------------------------------- evaluation

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        """Return what `Trainer` does; where a run is evaluated, and what it writes there, changes nothing in what it learns."""
        with untouched_random_state():
            return super().evaluate(*arguments, **named)

    def evaluation_loop(self, *arguments: Any, **named: Any) -> Any:
        """What `Trainer` does; with a loss, and figures of TRL's, over all rows or tokens, in the log as in what is returned."""
        self._batches = []
        output: Any = super().evaluation_loop(*arguments, **named)
        parts = gather_object([self._batches])
        if any(sizes[""] for part in parts for _, sizes in part):
            loss = mean_loss([batch for part in parts for batch in part])
            output.metrics[f"{named.get('metric_key_prefix', 'eval')}_loss"] = loss
        put_together(self._figures(), summed([[sizes for _, sizes in part] for part in parts]))
        return output

    def prediction_step(self, model: Any, inputs: Any, *arguments: Any, **named: Any) -> Any:
        found = super().prediction_step(model, inputs, *arguments, **named)
        if found[0] is not None:
            self._batches.append((float(found[0]), sizes_of(inputs, self._figures())))
        return found

    def _figures(self) -> dict[str, list[float]]:
        """Return what a trainer of TRL's has counted in an evaluation, a number for each batch."""
        return getattr(self, "_metrics", {}).get("eval", {})

    # -------------------------------------------------------------------------------------------------- the loaders

    def _prepare_input(self, data: Any) -> Any:
        """`Trainer`'s way to the device; from pinned memory without a wait, which would be for the whole step before."""
        if isinstance(data, torch.Tensor) and data.is_pinned():
            data = data.to(self.args.device, non_blocking=True)
        return super()._prepare_input(data)

    def get_train_dataloader(self) -> DataLoader:
        return outlive_signals(super().get_train_dataloader())

    def _get_train_sampler(self, *arguments: Any) -> Sampler | None:
        """`Trainer`'s sampler; of a compiled run in full batches, since a smaller last one would be compiled anew for a minute."""
        sampler = super()._get_train_sampler(*arguments)
        rows = self._train_batch_size * self.args.world_size
        if self.args.torch_compile and type(sampler) is RandomSampler and len(sampler) > rows:
            return RandomSampler(sampler.data_source, num_samples=len(sampler) // rows * rows, generator=sampler.generator)
        return sampler

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """`Trainer`'s loader; of every row, also where training leaves a last batch out."""
        is_dropped, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            return outlive_signals(super().get_eval_dataloader(eval_dataset))
        finally:
            self.args.dataloader_drop_last = is_dropped

    # ------------------------------------------------------------------------------------------------ checkpoints

    def _run_epoch(self, *arguments: Any, **named: Any) -> None:
        """The epoch; not one step of it where a checkpoint holds the last one already, since `Trainer` would do one more."""
        if self.state.global_step < self.state.max_steps and not self.control.should_training_stop:
            super()._run_epoch(*arguments, **named)
            return
        checkpoint = named.get("resume_from_checkpoint")
        if checkpoint is not None:
            self._load_rng_state(checkpoint)
        self.control.should_training_stop = True

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with resuming(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """The state of both, without which `Trainer` would resume in silence, to other weights."""
        if checkpoint is not None and not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            _check_there(Path(checkpoint), OPTIMIZER_NAME)
            _check_there(Path(checkpoint), SCHEDULER_NAME)
        with resuming(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            _check_there(Path(checkpoint), "rng_state*.pth")
        with resuming(checkpoint):
            super()._load_rng_state(checkpoint)

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._staging is None else str(self._staging)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._staging is None:
            super()._push_from_checkpoint(checkpoint_folder)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint beside its place, list its hashes, and give it its name when every process has written its part.

        Raises:
            InputError: it cannot be written, or the weights are not finite; the checkpoints before it are left as they are.
        """
        self.check_weights()
        folder, name = Path(self._get_output_dir(trial)), f"checkpoint-{self.state.global_step}"
        check_in_place(folder)
        staging = folder / STAGING_FOLDER
        if self.args.should_save and staging.exists():
            shutil.rmtree(staging)
        self.accelerator.wait_for_everyone()
        self._staging = staging
        try:
            with as_used(self.model):
                super()._save_checkpoint(model, trial)
            self.save_extra_state(staging / name)
            self.accelerator.wait_for_everyone()
            self._name_best(folder)
            if self.args.should_save:
                self.state.save_to_json(str(staging / name / TRAINER_STATE_NAME))
                announce(folder, folders=[name])
                finalize(staging / name, folder / name)
                shutil.rmtree(staging)
                rotate_checkpoints(str(folder), self.args.save_total_limit, self.state.best_model_checkpoint, use_mtime=False)
        except (OSError, RuntimeError, SafetensorError) as error:
            if self.args.should_save:
                shutil.rmtree(staging, ignore_errors=True)
            raise InputError(
                f"{folder / name} cannot be written: {first_line(error)} ({shutil.disk_usage(folder).free:,} bytes are free there); "
                f"{newest(folder)}. Free the place and {rerun(folder)}."
            ) from error
        finally:
            self._staging = None
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            if self.args.should_save:
                # `Trainer` copies what it pushes into the run's folder first.
                pushed = [path.name for path in (folder / name).iterdir() if path.is_file()]
                announce(folder, [*pushed, TRAINING_ARGS_NAME, "README.md"])
            self._push_from_checkpoint(str(folder / name))

    def create_model_card(self, *arguments: Any, **named: Any) -> None:
        """Leave the card to the end of the run: TRL writes one of its own, without a figure, beside each checkpoint."""

    def save_extra_state(self, folder: Path) -> None:
        """Write what a checkpoint holds beside what `Trainer` writes; called in every process, before the hashes are taken."""

    def on_resume(self, checkpoint: str | None) -> None:
        """Prepare for a run that resumes from a checkpoint, or begins with `None`."""

    def _name_best(self, folder: Path) -> None:
        if self.state.best_global_step:
            best = folder / f"checkpoint-{self.state.best_global_step}"
            if best.exists() or self.state.best_global_step == self.state.global_step:
                self.state.best_model_checkpoint = str(best)

    def check_weights(self) -> None:
        """Raise `InputError` in every process when a weight of one is not finite: such a model is never saved as a good one."""
        model: Any = self.model
        names = [
            name
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
            and not torch.isfinite(parameter.to_local() if isinstance(parameter, DTensor) else parameter).all()
        ]
        if self._any([bool(names)])[0]:
            # A process may have another part of the matrices, all of it finite.
            first = gather_object(names)[0]
            raise InputError(f"step {self.state.global_step}: weight {first} is not finite. {self._hint()}")

    # --------------------------------------------------------------------------------------------------- the loss

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Return the step, whose loss is looked at once, as `Trainer` does by default to hide what is not finite from the log.

        Raises:
            InputError: in every process, when the loss of one is not finite and `on_nan` is `stop`.
        """
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self._is_finite():
            self._finite_loss = loss.detach()
        else:
            self._bad_batches.append((batch_hash(inputs), loss.item()))
            loss = torch.zeros_like(loss) if self._finite_loss is None else self._finite_loss
        if self.accelerator.sync_gradients:
            has_bad_batch, self.has_to_stop = self._any([bool(self._bad_batches), self.is_notified])
            if has_bad_batch:
                self._leave_out(gather_object(self._bad_batches))
                self._bad_batches = []
                if self.accelerator.scaler is None:
                    # Without gradients no optimizer touches a weight or its state; a scaler leaves the step out by itself.
                    model.zero_grad(set_to_none=True)
        return loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None, **named: Any
    ) -> Any:
        """Return what `Trainer` does; of a model that is trained, it is asked on the way whether the loss is finite, and the use of
        experts is counted."""
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch, **named)
        has_outputs = return_outputs or self.expert_use is not None
        found: Any = super().compute_loss(model, inputs, has_outputs, num_items_in_batch, **named)
        loss, outputs = found if has_outputs else (found, None)
        self._is_finite = ask_if_finite(loss)
        if self.expert_use is not None:
            self.expert_use.add(outputs)
        return (loss, outputs) if return_outputs else loss

    def _any(self, flags: list[bool]) -> list[bool]:
        """Of each flag, whether it is set in any process."""
        if self.args.world_size == 1:
            return flags
        told = torch.tensor(flags, dtype=torch.float32, device=self.args.device)
        return [value > 0 for value in self.accelerator.reduce(told, reduction="sum").tolist()]

    def _leave_out(self, bad: list[tuple[str, float]]) -> None:
        step = self.state.global_step + 1
        digest, loss = bad[0]
        place = f"step {step}, batch of SHA-256 {digest}: the loss is {loss}"
        if self.on_nan == "stop":
            raise InputError(f"{place}. {self._hint('Continue without such batches with on_nan=skip, or ')}")
        for other, value in bad:
            row: dict[str, Any] = {"step": step, SKIPPED: other, "reason": f"the loss was {value}"}
            self.state.log_history.append(row)
        count = skipped_steps(self.state.log_history)
        if self.is_world_process_zero():
            print(f"{place}: the step is skipped, number {count} of this run.", flush=True)

    def log(self, logs: dict[str, float], *arguments: Any, **named: Any) -> None:
        step = self.state.global_step
        evaluation = f"the evaluation after step {step}" if step else "the evaluation before the first step"
        for name, place in (("loss", f"step {step}"), ("eval_loss", evaluation)):
            value = logs.get(name)
            if value is None or not isinstance(value, float):
                continue
            if not math.isfinite(value):
                raise InputError(f"{place}: {name} is {value}. {self._hint()}")
            if name == "loss":
                first = next((row["loss"] for row in self.state.log_history if "loss" in row), value)
                if value > max(EXPLODED_NATS, EXPLODED_TIMES * first):
                    raise InputError(
                        f"{place}: the loss has exploded: {value:.4g}, after {first:.4g} at first. {self._hint()}"
                    )
        use = self.expert_use.take() if self.expert_use is not None and "loss" in logs else None
        if use is None:
            super().log(logs, *arguments, **named)
        else:
            super().log({**logs, AUX_LOSS: use[0]}, *arguments, **named)
            # Not through the reporters, which take numbers alone.
            row: dict[str, Any] = self.state.log_history[-1]
            row[EXPERT_USE] = use[1]

    def _hint(self, skips: str = "") -> str:
        """Return what may be done about a loss or weights.

        Args:
            skips: What would leave out the batch that is to blame, where one is.
        """
        if not self.state.global_step and not skips:
            return "Nothing was learned yet: look at the sizes and ranges under config, or at the weights that the run starts from."
        anew = "start anew with a lower learning_rate, or other values under config, and overwrite=true."
        return f"Of the run, {newest(Path(str(self.args.output_dir)))}. {skips}{anew if skips else anew.capitalize()}"


def _check_there(checkpoint: Path, pattern: str) -> None:
    if not any(checkpoint.glob(pattern)):
        raise InputError(
            f"{checkpoint} lacks {pattern}, without which the run would resume to other weights: restore it, or take that folder away "
            "to resume from the checkpoint before it."
        )


@contextmanager
def as_used(model: Any) -> Iterator[None]:
    """Within it the config of a model says what one is loaded with, not what is set while it is trained: no logits, and no cache."""
    config, trained = model.config, {"use_cache": False, "fused_loss": False}
    trained = {name: getattr(config, name) for name in trained if hasattr(config, name)}
    for name in trained:
        setattr(config, name, getattr(type(config)(), name))
    try:
        yield
    finally:
        for name, value in trained.items():
            setattr(config, name, value)


@contextmanager
def resuming(checkpoint: str | None) -> Iterator[None]:
    """Turn what a library raises of a checkpoint's files into an `InputError` that names the checkpoint."""
    with refused(f"{checkpoint} cannot be resumed from"):
        try:
            yield
        except pickle.UnpicklingError as error:
            raise InputError(
                f"{checkpoint} holds objects that only running its code would read, which is not done: it was not written by this "
                "program. Remove it and rerun the same command to resume."
            ) from error


@contextmanager
def untouched_random_state() -> Iterator[None]:
    """Put every generator of random numbers back where it was: even a loader draws from the one of dropout when it begins."""
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else [], device_type="cuda"):
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def change_rates(
    scheduler: Any, before: list[Callable[[int], float]], after: list[Callable[[int], float]], fixed_after: int
) -> None:
    """Let the rates follow other functions after a step. A schedule that follows the loss has none, and stays as it is."""

    def changed(early: Callable[[int], float], late: Callable[[int], float]) -> Callable[[int], float]:
        return lambda step: early(step) if step <= fixed_after else late(step)

    if before:
        scheduler.lr_lambdas = [changed(early, late) for early, late in zip(before, after)]
