"""The config judges itself, and says what to change."""

import json

import pytest
from huggingface_hub.errors import StrictDataclassError

import hf_gpt
from hf_gpt.presets import PRESETS


CONTRADICTIONS = {
    "heads do not divide": ({"hidden_size": 30, "num_attention_heads": 4}, ["hidden_size=30", "num_attention_heads=4"]),
    "key heads do not divide": (
        {"num_attention_heads": 4, "num_key_value_heads": 3},
        ["num_attention_heads=4", "num_key_value_heads=3"],
    ),
    "sliding without a window": (
        {"num_hidden_layers": 1, "layer_types": ["sliding_attention"]},
        ["sliding_attention", "sliding_window=None"],
    ),
    "odd rotary head": ({"position_embedding_type": "rope", "head_dim": 15}, ["head_dim=15", "rope"]),
    "rope parameters without rope": ({"rope_parameters": {"rope_theta": 1e4}}, ["rope_parameters", "learned"]),
    "too few layer types": ({"num_hidden_layers": 3, "layer_types": ["full_attention"]}, ["length 1", "num_hidden_layers=3"]),
    "unknown layer type": ({"num_hidden_layers": 1, "layer_types": ["conv"]}, ["conv", "full_attention"]),
    "no layers": ({"num_hidden_layers": 0}, ["num_hidden_layers=0"]),
    "dropout of one": ({"resid_dropout": 1.0}, ["resid_dropout=1.0"]),
    "unknown activation": ({"hidden_act": "gelo"}, ["hidden_act='gelo'", "gelu"]),
    "padding beyond the vocabulary": ({"vocab_size": 300, "pad_token_id": 300}, ["pad_token_id=300", "vocab_size=300"]),
    "more experts for a token than there are": (
        {"mlp_type": "moe", "num_experts": 2, "num_experts_per_tok": 4},
        ["num_experts_per_tok=4", "num_experts=2"],
    ),
    "experts of an odd size": (
        {"mlp_type": "moe", "num_experts": 2, "num_experts_per_tok": 1, "intermediate_size": 90},
        ["intermediate_size=90", "multiple of 8"],
    ),
    "a mixture of nothing": ({"mlp_type": "moe"}, ["num_experts_per_tok=0"]),
    "experts without a mixture": ({"mlp_type": "glu", "num_experts": 8}, ["num_experts=8", "mlp_type='glu'"]),
    "balance without a mixture": ({"router_aux_loss_coef": 0.01}, ["router_aux_loss_coef=0.01", "mlp_type='mlp'"]),
    "epsilon of zero": ({"norm_eps": 0.0}, ["norm_eps=0.0"]),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions_are_named(name):
    values, told = CONTRADICTIONS[name]
    with pytest.raises((ValueError, StrictDataclassError)) as caught:
        hf_gpt.GPTConfig(**values)
    message = f"{caught.value} {caught.value.__cause__}"
    for part in told:
        assert part in message


@pytest.mark.parametrize("values", [{"norm_type": "batchnorm"}, {"hidden_size": "768"}, {"qk_norm": "yes"}])
def test_values_of_another_type_are_refused(values):
    with pytest.raises(StrictDataclassError, match=next(iter(values))):
        hf_gpt.GPTConfig(**values)


def test_unknown_preset_names_the_nearest():
    with pytest.raises(ValueError, match=r"'gpt2-midium' is unknown\. Did you mean 'gpt2-medium'"):
        hf_gpt.preset("gpt2-midium")


def test_unknown_override_is_refused_although_the_base_class_takes_anything():
    with pytest.raises(ValueError, match=r"'num_layers' is not a field of GPTConfig\. Did you mean 'num_labels'"):
        hf_gpt.preset("gpt2", num_layers=3)


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_survive_json(name, tmp_path):
    config = hf_gpt.preset(name)
    config.save_pretrained(tmp_path)
    again = hf_gpt.GPTConfig.from_pretrained(tmp_path)
    assert again.to_dict() == config.to_dict()
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "hf_gpt"


def test_learned_positions_keep_no_rotary_parameters():
    assert hf_gpt.preset("gpt2").rope_parameters is None
    assert hf_gpt.preset("modern-5m").rope_parameters["rope_theta"] == 10_000.0


def test_a_shallower_preset_keeps_the_pattern_of_its_layers():
    config = hf_gpt.preset("gpt3-125m", num_hidden_layers=3)
    assert config.layer_types == ["full_attention", "sliding_attention", "full_attention"]


@pytest.mark.parametrize("name", ["rope_theta", "factor"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_rotary_numbers_that_give_no_frequency_are_refused(name, value):
    values = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0, name: value}
    with pytest.raises(ValueError, match=rf"rope_parameters\.{name}={value} must be positive and finite"):
        hf_gpt.preset("modern-5m", rope_parameters=values)


def test_rotary_factors_of_each_channel_are_looked_at_too():
    values = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0, -1.0],
        "long_factor": [1.0, 2.0],
        "factor": 2.0,
    }
    with pytest.raises(ValueError, match=r"rope_parameters\.short_factor=\[1.0, -1.0\] must be positive"):
        hf_gpt.preset("modern-5m", rope_parameters=values)


def test_a_rotary_type_without_what_it_needs_is_no_key_error():
    with pytest.raises(StrictDataclassError, match=r"Missing required keys .*factor"):
        hf_gpt.preset("modern-5m", rope_parameters={"rope_type": "yarn", "rope_theta": 1e4})
