"""What this machine computes natively: asked in one place, measured where libraries only report what a processor is called."""

import time
from functools import cache
from typing import Any

import torch

from ..errors import InputError


# A processor without instructions for a type emulates it, at a fiftieth of the speed of float32 (AVX2) or a fifth (AVX-512 without
# BF16); one that has them is at least as fast as in float32. Half lies far from both.
NATIVE_SHARE = 0.5


def device_type(use_cpu: bool = False) -> str:
    """Return the type of the device that a run of this machine computes on, such as `cpu` or `cuda`."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if use_cpu or accelerator is None else accelerator.type


@cache
def multiplies_natively(dtype: torch.dtype = torch.bfloat16, device: str = "cpu") -> bool:
    """Return whether a matrix product in `dtype` is worth it on a device, that is, not emulated.

    On a CPU a small product is timed, about 15 ms where it is emulated: flags such as those of `torch.cpu` tell what the processor has
    and not what its libraries make of it.
    """
    if device == "cuda":
        # FP16 has been native since Pascal's successor, and is emulated nowhere that CUDA still runs.
        return dtype != torch.bfloat16 or torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return True
    return product_seconds(torch.float32) >= NATIVE_SHARE * product_seconds(dtype)


def to_run(model: Any) -> Any:
    """Return a model that was loaded on the device that this machine computes on, in float32 where the type of its weights is emulated.

    Raises:
        InputError: the memory of the device is too small for it.
    """
    device = device_type()
    if model.device.type != device:
        try:
            model = model.to(device)
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"The model's {model.get_memory_footprint() / 1e9:.1f} GB do not fit into the free memory of the device {device!r}: "
                "end what else uses it, or keep to the processor with CUDA_VISIBLE_DEVICES= in the environment."
            ) from error
    is_half = model.dtype in (torch.bfloat16, torch.float16)
    return model.float() if is_half and not multiplies_natively(model.dtype, model.device.type) else model


def product_seconds(dtype: torch.dtype, size: int = 256, repeats: int = 4) -> float:
    """Return seconds of the fastest of some products of two square matrices on the CPU."""
    left, right = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - begun)
    return min(seconds)
