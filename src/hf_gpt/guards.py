"""`Trainer` with what a long run needs: whole checkpoints, no silent NaN, an end in time, and causes that are named."""

import hashlib
import pickle
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch.distributed import DistError
from transformers import Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import rotate_checkpoints

from .checkpoints import STAGING_FOLDER, newest, seal
from .errors import InputError


# A loss is taken to have exploded when it is this many times the first one that was logged, and more than any loss of a model
# that knows nothing: the logarithm of a vocabulary of 200,000 is 12.
EXPLODED_TIMES, EXPLODED_NATS = 10.0, 20.0
# What a key of a log row is called that tells of a batch that was left out.
SKIPPED = "skipped_batch"


def batch_hash(inputs: dict[str, Any]) -> str:
    """The SHA-256 of the tensors of a batch, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(inputs):
        if isinstance(inputs[name], torch.Tensor):
            value = inputs[name].detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class GuardedTrainer(Trainer):
    """The stock trainer; or, named before another trainer among the bases of a class, that one.

    Attributes:
        on_nan: What happens when a loss is not a number: `stop`, or `skip` the step and count it in the log.
    """

    on_nan: Literal["stop", "skip"] = "stop"
    _staging: Path | None = None
    _batch: dict[str, Any] = {}
    _is_spoilt = False
    _finite_loss: torch.Tensor | None = None

    # ------------------------------------------------------------------------------------------------ checkpoints

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._staging is None else str(self._staging)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._staging is None:
            super()._push_from_checkpoint(checkpoint_folder)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Writes a checkpoint beside its place, lists its hashes, and gives it its name when every process has written its part.

        Raises:
            InputError: it cannot be written, or the weights are not finite; the checkpoints before it are left as they are.
        """
        self.check_weights()
        folder, name = Path(self._get_output_dir(trial)), f"checkpoint-{self.state.global_step}"
        staging = folder / STAGING_FOLDER
        if self.args.should_save and staging.exists():
            shutil.rmtree(staging)
        self.accelerator.wait_for_everyone()
        self._staging = staging
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            self._name_best(folder)
            if self.args.should_save:
                self.state.save_to_json(str(staging / name / TRAINER_STATE_NAME))
                seal(staging / name, folder / name)
                shutil.rmtree(staging)
                rotate_checkpoints(str(folder), self.args.save_total_limit, self.state.best_model_checkpoint, use_mtime=False)
        except (OSError, RuntimeError, SafetensorError) as error:
            if self.args.should_save:
                shutil.rmtree(staging, ignore_errors=True)
            raise InputError(
                f"{folder / name} cannot be written: {first_line(error)} ({shutil.disk_usage(folder).free:,} bytes are free there); "
                f"{newest(folder)}. Free the place and give the same command again."
            ) from error
        finally:
            self._staging = None
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(folder / name))

    def _name_best(self, folder: Path) -> None:
        if self.state.best_global_step:
            best = folder / f"checkpoint-{self.state.best_global_step}"
            if best.exists() or self.state.best_global_step == self.state.global_step:
                self.state.best_model_checkpoint = str(best)

    def check_weights(self) -> None:
        """Raises `InputError` when a weight is not finite: such a model is never saved as a good one."""
        model: Any = self.model
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not torch.isfinite(parameter).all():
                raise InputError(f"step {self.state.global_step}: weight {name} is not finite. {self._mend()}")

    # --------------------------------------------------------------------------------------------------- the loss

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """The step, whose loss is looked at once, as `Trainer` does by default to hide what is not finite from the log."""
        self._batch = inputs
        loss = super().training_step(model, inputs, num_items_in_batch)
        if torch.isfinite(loss):
            self._finite_loss = loss.detach()
        elif self.on_nan == "stop":
            raise InputError(f"{self._place()} the loss is {loss.item()}. {self._mend()}")
        else:
            self._is_spoilt = True
            self._count_skipped(loss.item())
            loss = torch.zeros_like(loss) if self._finite_loss is None else self._finite_loss
        if self.accelerator.sync_gradients and self._is_spoilt_anywhere():
            self._is_spoilt = False
            if self.accelerator.scaler is None:
                # Without gradients no optimizer touches a weight or its state; a scaler leaves the step out by itself.
                model.zero_grad(set_to_none=True)
        return loss

    def _is_spoilt_anywhere(self) -> bool:
        if self.on_nan == "stop" or self.args.world_size == 1:
            return self._is_spoilt
        told = torch.tensor(float(self._is_spoilt), device=self.args.device)
        return bool(self.accelerator.reduce(told, reduction="sum").item())

    def _count_skipped(self, loss: float) -> None:
        row: dict[str, Any] = {
            "step": self.state.global_step + 1,
            SKIPPED: batch_hash(self._batch),
            "reason": f"the loss was {loss}",
        }
        self.state.log_history.append(row)
        count = sum(SKIPPED in entry for entry in self.state.log_history)
        print(f"{self._place()} the loss is {loss}: the step is skipped, number {count} of this run.", flush=True)

    def log(self, logs: dict[str, float], *arguments: Any, **named: Any) -> None:
        for name in ("loss", "eval_loss"):
            value = logs.get(name)
            if value is None or not isinstance(value, float):
                continue
            if value != value or value in (float("inf"), float("-inf")):
                raise InputError(f"{self._place()} {name} is {value}. {self._mend()}")
            if name == "loss":
                first = next((row["loss"] for row in self.state.log_history if "loss" in row), value)
                if value > max(EXPLODED_NATS, EXPLODED_TIMES * first):
                    raise InputError(
                        f"{self._place()} the loss has exploded: {value:.4g}, after {first:.4g} at first. {self._mend()}"
                    )
        super().log(logs, *arguments, **named)

    def _place(self) -> str:
        return f"step {self.state.global_step + 1}, batch of SHA-256 {batch_hash(self._batch)}:"

    def _mend(self) -> str:
        return (
            f"Of the run, {newest(Path(str(self.args.output_dir)))}. Go on without such batches with on_nan=skip, or start anew "
            "with a lower learning_rate and overwrite=true."
        )


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# ------------------------------------------------------------------------------------------------- an end in time


class StopsInTime(TrainerCallback):
    """On SIGTERM, as a scheduler sends it before it takes a machine away, the run writes a checkpoint after the step and ends.

    transformers' own `enable_jit_checkpoint` waits three seconds first and saves before the step that it is in has changed the
    weights, when the random numbers of that step are drawn already: what goes on from there is another run. A second SIGTERM ends the
    process at once. Several processes agree where `Trainer` waits for the devices anyway, with a row of the log.
    """

    def __init__(self) -> None:
        self.was_told = False
        self.has_stopped = False
        self.before: Any = None

    def on_train_begin(self, args, state, control, **kwargs):
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGTERM, self._told)

    def _told(self, number: int, frame: Any) -> None:
        self.was_told = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_step_end(self, args, state, control, **kwargs):
        is_time = self.was_told
        if args.world_size > 1:
            if not control.should_log:
                return
            told = torch.tensor(float(self.was_told), device=args.device)
            torch.distributed.all_reduce(told)
            is_time = bool(told.item())
        if is_time and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = self.has_stopped = True

    def on_train_end(self, args, state, control, **kwargs):
        if self.before is not None:
            signal.signal(signal.SIGTERM, self.before)


# ------------------------------------------------------------------------------------------------- causes by name


@contextmanager
def named_causes(folder: Path) -> Iterator[None]:
    """Turns what can end a run from outside into an `InputError` that says what happened and what to do.

    Args:
        folder: Of the run.
    """
    try:
        yield
    except pickle.UnpicklingError as error:
        raise InputError(
            f"a checkpoint in {folder} holds objects that only running its code would read, which is not done: it was not written by "
            "this program. Remove it and give the same command again."
        ) from error
    except SafetensorError as error:
        raise InputError(f"weights in {folder} cannot be read: {first_line(error)}.") from error
    except FileNotFoundError as error:
        raise InputError(
            f"a file that the run needs has vanished: {error.filename or first_line(error)}; {newest(folder)}. Put it back and give "
            "the same command again."
        ) from error
    except DistError as error:
        raise InputError(lost_process(error, folder)) from error
    except RuntimeError as error:
        if "DataLoader worker" in str(error):
            raise InputError(
                f"a worker that reads data died ({first_line(error)}), most often because memory ran out; {newest(folder)}. Give the "
                "same command again; dataloader_num_workers=0 needs no worker."
            ) from error
        if any(word in str(error) for word in ("gloo", "Gloo", "NCCL", "Connection closed by peer")):
            raise InputError(lost_process(error, folder)) from error
        raise


def lost_process(error: BaseException, folder: Path) -> str:
    return (
        f"another process of this run ended or does not answer ({first_line(error)}); {newest(folder)}. Look for its message, then "
        "give the same command again."
    )


__all__ = ["SKIPPED", "GuardedTrainer", "StopsInTime", "batch_hash", "named_causes"]
