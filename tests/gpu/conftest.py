"""Each test runs on the processor, where it tests itself, and on a GPU where there is one: `make test-gpu`."""

import os

import pytest
import torch


# Read by the first product of a process; `full_determinism` sets it too late for the second test.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return request.param


@pytest.fixture(autouse=True)
def as_before():
    """`full_determinism` is of a process, and would be of the tests that follow."""
    yield
    torch.use_deterministic_algorithms(False)
