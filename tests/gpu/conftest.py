"""Each test runs on the processor, where it tests itself, and on a GPU where there is one: `make test-gpu`."""

import pytest
import torch


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return request.param
