"""The traps of docs/model.md, tried on a small copy of anybody's causal language model: each check names its fix."""

from collections.abc import Callable
from dataclasses import dataclass

from ...errors import InputError, reason_of
from .files import check_buffers, check_half_precision, check_saving, check_tied_weights
from .passes import (
    check_checkpointing,
    check_decoding,
    check_engine_attention,
    check_label_smoothing,
    check_left_padding,
    check_loss,
    check_packing,
    check_padding_token,
)
from .small_copy import SmallCopy
from .verdicts import RAISED, FaultError, NotApplicableError, NotLoadedError


PASSED, FAILED, NOT_APPLICABLE = "passed", "failed", "not applicable"


@dataclass(frozen=True)
class Finding:
    """What one check has found; `advice` is the fix of what failed, or why nothing was looked at."""

    check: str
    result: str
    advice: str


CHECKS: dict[str, Callable[[SmallCopy], str | None]] = {
    "a cache gives what a pass over the whole text gives": check_decoding,
    "padding on the left changes nothing": check_left_padding,
    "packed documents do not see each other": check_packing,
    "labels are shifted by the loss": check_loss,
    "labels are shifted by label smoothing": check_label_smoothing,
    "gradient checkpointing gives the same gradients": check_checkpointing,
    "the padding token is frozen in no text": check_padding_token,
    "matrices are tied as the config says": check_tied_weights,
    "buffers are right after loading": check_buffers,
    "bfloat16 keeps the rotary frequencies": check_half_precision,
    "a saved copy loads by its own code": check_saving,
    "attention takes the shapes of engines": check_engine_attention,
}


def run_check(name: str, small: SmallCopy) -> Finding:
    """Return what one check says of a copy."""
    try:
        return Finding(name, PASSED, CHECKS[name](small) or "")
    except NotApplicableError as reason:
        return Finding(name, NOT_APPLICABLE, str(reason))
    except NotLoadedError as reason:
        return Finding(name, NOT_APPLICABLE, f"a copy cannot be saved and loaded: {' '.join(str(reason).split())[:200]}")
    except FaultError as fault:
        return Finding(name, FAILED, str(fault))
    except RAISED as error:
        return Finding(name, FAILED, f"it raises {type(error).__name__}: {reason_of(error)[:200]}")


def examine(name: str, trust_remote_code: bool = False) -> tuple[str, list[Finding]]:
    """Return what was looked at, in one line, and what each check has found.

    Raises:
        InputError: there is no causal language model of that name, or its code may not run.
    """
    try:
        small = SmallCopy(name, trust_remote_code)
    except InputError as error:
        if "asks for Python code" in str(error) and not trust_remote_code:
            raise InputError(
                f"checkpoint={name!r} brings code of its own: read it, then let it run by --trust-remote-code."
            ) from None
        raise
    try:
        told = ", ".join(
            f"{field} {after:,} of {before:,}" for field, (before, after) in small.changes.items() if field in SHOWN
        )
        kind = type(small.model).__name__
        title = f"{name}: {kind}, a copy with random weights{f' and {told}' if told else ''}"
        return title, [run_check(check, small) for check in CHECKS]
    finally:
        small.close()


# Of what a copy's config has otherwise, what is worth telling.
SHOWN = ("num_hidden_layers", "vocab_size", "intermediate_size", "sliding_window")

__all__ = ["CHECKS", "FAILED", "NOT_APPLICABLE", "PASSED", "Finding", "examine"]
