"""How a check says what it has found, and when two tensors are the same."""

import torch

from ...checks.boundary import UNUSABLE


# What code of others raises when it is wrong.
RAISED = (*UNUSABLE, AssertionError, NameError)
# Of two ways to the same numbers in float32, the largest difference by the size of the numbers.
TOLERANCE = 1e-3


class FaultError(Exception):
    """A check has failed; the message is the fix."""


class NotLoadedError(Exception):
    """A copy cannot be saved, or not loaded again: what one check reports keeps others from looking."""


class NotApplicableError(Exception):
    """A check has nothing to look at; the message says why."""


def difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the distance of two tensors by the size of the second; infinite if a number of the first is not finite."""
    distance = ((found - wanted).norm() / wanted.norm().clamp(min=1e-12)).item()
    return distance if distance == distance else float("inf")


def require_equal(found: torch.Tensor, wanted: torch.Tensor, fix: str) -> None:
    """Raise `FaultError` with the fix where two tensors differ by more than rounding."""
    if found.shape != wanted.shape or difference(found, wanted) > TOLERANCE:
        raise FaultError(fix)
