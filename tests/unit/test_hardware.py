"""What a machine computes natively is decided in one place."""

import pytest
import torch

from hf_gpt import hardware


@pytest.fixture(autouse=True)
def forget():
    hardware.multiplies_natively.cache_clear()
    yield
    hardware.multiplies_natively.cache_clear()


@pytest.mark.parametrize(("bfloat16_times_slower", "is_native"), [(50.0, False), (5.0, False), (1.0, True), (0.3, True)])
def test_a_type_is_native_when_its_products_are_about_as_fast_as_those_of_float32(
    monkeypatch, bfloat16_times_slower, is_native
):
    seconds = {torch.float32: 1e-3, torch.bfloat16: bfloat16_times_slower * 1e-3}
    monkeypatch.setattr(hardware, "product_seconds", lambda dtype: seconds[dtype])
    assert hardware.multiplies_natively(torch.bfloat16, "cpu") is is_native
