"""What a machine computes natively is decided in one place."""

import os
import subprocess
import sys

import pytest
import torch

from hf_gpt.planning import hardware


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


def test_a_command_shares_the_processor_with_other_programs_before_torch_is_loaded():
    script = """
import os, sys
from hf_gpt import cli
sys.argv = ["hf-gpt", "recipes"]
try:
    cli.main()
except SystemExit:
    pass
print(os.environ["OMP_WAIT_POLICY"])
"""
    given = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    for environment, policy in ((given, "PASSIVE"), ({**given, "OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        told = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        ).stdout
        assert told.splitlines()[-1] == policy
