"""The presets have the number of parameters that was published."""

import pytest
import torch

from hf_gpt import GPTForCausalLM, preset


# The released checkpoints: openai-gpt, and gpt2 to gpt2-xl, without counting a tied matrix twice.
EXACT = {
    "gpt1": 116_534_784,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
}
# Brown et al. 2020, table 2.1, as printed there.
ROUNDED = {
    "gpt3-125m": 125e6,
    "gpt3-350m": 350e6,
    "gpt3-760m": 760e6,
    "gpt3-1.3b": 1.3e9,
    "gpt3-2.7b": 2.7e9,
    "gpt3-6.7b": 6.7e9,
    "gpt3-13b": 13.0e9,
    "gpt3-175b": 175.0e9,
}


def parameters_of(name):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in GPTForCausalLM(preset(name)).parameters())


@pytest.mark.parametrize("name", EXACT)
def test_size_is_that_of_the_released_checkpoint(name):
    assert parameters_of(name) == EXACT[name]


@pytest.mark.parametrize("name", ROUNDED)
def test_size_is_that_of_the_table(name):
    assert parameters_of(name) == pytest.approx(ROUNDED[name], rel=0.02)
