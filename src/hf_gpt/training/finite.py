"""Whether a loss is finite, read while its gradients are on their way: no GPU stands still for the answer."""

from collections.abc import Callable

import torch


def ask_if_finite(loss: torch.Tensor) -> Callable[[], bool]:
    """Ask before the backward pass whether a loss is finite; the answer is what is returned, called after it.

    To look at a number on a GPU is to wait for all that was given to it before. So the answer sets out for the memory of the processor
    behind the forward pass, and to read it waits for that pass alone, while the GPU is busy with the one after it.
    """
    is_finite = torch.isfinite(loss.detach()).all()
    if not is_finite.is_cuda:
        return lambda: bool(is_finite)
    answer = torch.empty_like(is_finite, device="cpu", pin_memory=True)
    answer.copy_(is_finite, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def read() -> bool:
        arrived.synchronize()
        return bool(answer)

    return read
