"""What a machine computes natively is decided in one place."""

import os
import subprocess
import sys

import pytest
import torch

from hf_gpt import _environment
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


@pytest.mark.parametrize(
    ("program", "given", "policy"),
    [
        ("-m hf_gpt", None, "PASSIVE"),
        ("-m other", None, "None"),
        ("bin/hf-gpt", None, "PASSIVE"),
        ("bin/hf-gpt", "ACTIVE", "ACTIVE"),
        ("train.py", None, "None"),
    ],
)
def test_a_command_shares_the_processor_with_other_programs_before_torch_is_loaded(program, given, policy):
    script = f"""
import os, sys
sys.argv, sys.orig_argv = {program.split()[:1]!r}, {["python", *program.split()]!r}
exec(open({_environment.__file__!r}).read())
print(os.environ.get("OMP_WAIT_POLICY"))
"""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {} if given is None else {"OMP_WAIT_POLICY": given}
    told = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == policy
