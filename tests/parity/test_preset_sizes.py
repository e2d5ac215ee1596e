"""The presets have the number of parameters that was published."""

import pytest
import torch

from hf_gpt import GPTForCausalLM, preset
from hf_gpt.planning import active_parameters, parameter_counts


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
# OpenAI 2025, table 1, in billions: of feed-forward layers, attention, both tables; in all, and active.
OPENAI = {"gpt-oss-20b": (19.12, 0.64, 1.16, 20.91, 3.61), "gpt-oss-120b": (114.71, 0.96, 1.16, 116.83, 5.13)}


def parameters_of(name):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in GPTForCausalLM(preset(name)).parameters())


@pytest.mark.parametrize("name", EXACT)
def test_size_is_that_of_the_released_checkpoint(name):
    assert parameters_of(name) == EXACT[name]


@pytest.mark.parametrize("name", ROUNDED)
def test_size_is_that_of_the_table(name):
    assert parameters_of(name) == pytest.approx(ROUNDED[name], rel=0.02)


@pytest.mark.parametrize("name", OPENAI)
def test_sizes_of_gpt_oss_are_those_of_its_table(name):
    counts = parameter_counts(preset(name))
    found = [counts["feed-forward"], counts["attention"], counts["token embeddings"] + counts["output matrix"]]
    found += [sum(counts.values()), active_parameters(preset(name))]
    assert [round(count / 1e9, 2) for count in found] == list(OPENAI[name])


def test_what_is_active_is_a_preset_without_the_experts_that_a_token_passes_by():
    """At equal active size: the sizes in the names of our own mixtures, and of the model that a token makes of each."""
    for name, total, active in (("oss-8m", 7.6e6, 5.3e6), ("oss-30m", 30.4e6, 11.8e6)):
        config = preset(name)
        few = preset(name, num_experts=config.num_experts_per_tok)
        idle_scores = config.num_hidden_layers * (config.num_experts - few.num_experts) * (config.hidden_size + 1)
        assert (
            active_parameters(config) == sum(parameter_counts(few).values()) + idle_scores == pytest.approx(active, rel=0.01)
        )
        assert parameters_of(name) == pytest.approx(total, rel=0.01)
