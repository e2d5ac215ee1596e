"""What a device holds and computes, by the data sheet of who makes it; a CPU is measured."""

import platform
import re
import time
from dataclasses import dataclass

import torch

from ..checks.system import total_memory
from ..errors import InputError, counted, did_you_mean
from . import hardware


# A vendor's "80 GB" of device memory are GiB.
GIB = 2**30


@dataclass(frozen=True)
class Device:
    """One device of a plan.

    Args:
        memory: Bytes.
        peak_flops: Products and sums a second in bfloat16, dense: what a data sheet prints "with sparsity" is twice that.
        interconnect: Bytes a second to the other devices of a node, both directions together; 0 where there are none.
        source: Where the three come from.
        is_cpu: Whether it is this machine's processor.
    """

    memory: int
    peak_flops: float
    interconnect: float
    source: str
    is_cpu: bool = False


DEVICES: dict[str, Device] = {
    "a100": Device(80 * GIB, 312e12, 600e9, "NVIDIA A100 80GB SXM data sheet"),
    "h100": Device(80 * GIB, 989.5e12, 900e9, "NVIDIA H100 SXM data sheet (1,979 TFLOPS with sparsity)"),
    "h200": Device(141 * GIB, 989.5e12, 900e9, "NVIDIA H200 SXM data sheet (1,979 TFLOPS with sparsity)"),
    "b200": Device(180 * GIB, 2250e12, 1800e9, "NVIDIA HGX B200 data sheet (36 PFLOPS with sparsity for eight)"),
}
DEVICE_NAMES = (*DEVICES, "cpu")


def find_device(name: str) -> Device:
    """Return the device of that name; `cpu` is measured, which takes about a second.

    Raises:
        InputError: an unknown name.
    """
    if name == "cpu":
        return measured_cpu()
    if name not in DEVICES:
        hint = did_you_mean(name, DEVICE_NAMES)
        raise InputError(f"device={name!r} is unknown.{hint} The devices are {', '.join(DEVICE_NAMES)}.")
    return DEVICES[name]


def named_device(name: str) -> Device | None:
    """Return the device that CUDA calls so, such as `NVIDIA H100 80GB HBM3`; `None` for one whose data sheet is not here.

    Cards for a PCIe slot have the name and not the speed, but for the A100.
    """
    words = re.findall(r"[A-Z0-9]+", name.upper())
    found = next((key for key in DEVICES if key.upper() in words), None)
    is_slower = found != "a100" and not {"PCIE", "NVL"}.isdisjoint(words)
    return None if found is None or is_slower else DEVICES[found]


def measured_cpu(size: int = 1024, seconds: float = 0.5) -> Device:
    """This machine: its memory, and the fastest of its products of two matrices with the threads that torch has.

    They are of bfloat16, or of float32 on a processor that would emulate it.
    """
    is_native = hardware.multiplies_natively(torch.bfloat16, "cpu")
    dtype, type_name = (torch.bfloat16, "bfloat16") if is_native else (torch.float32, "float32")
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        best = min(best, hardware.product_seconds(dtype, size, 2))
    threads = f"{counted(torch.get_num_threads(), 'threads')} of {platform.machine()}"
    name = f"measured here: {threads}, products of {size} x {size} in {type_name}"
    return Device(total_memory(), 2 * size**3 / best, 0.0, name, is_cpu=True)
