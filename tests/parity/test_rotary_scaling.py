"""Scaled rotary positions are those of transformers' Llama, for every kind of scaling and beyond the trained length."""

import pytest
import torch
from tests.conftest import tiny_config
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from hf_gpt.modeling.layers_hf_gpt import GPTRotaryEmbedding


SCALINGS = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}


@pytest.mark.parametrize("name", SCALINGS)
def test_angles_are_those_of_llama_at_any_length(name):
    scaling = {"rope_theta": 10000.0, **SCALINGS[name]}
    ours = GPTRotaryEmbedding(tiny_config("modern", max_position_embeddings=64, rope_parameters=dict(scaling)))
    llama = LlamaRotaryEmbedding(
        LlamaConfig(
            hidden_size=32, num_attention_heads=4, head_dim=8, max_position_embeddings=64, rope_parameters=dict(scaling)
        )
    )
    # Within the trained length, beyond it, and back: dynamic scaling changes its frequencies on the way.
    for length in (32, 200, 400, 16):
        states, positions = torch.zeros(1, length, 32), torch.arange(length)[None]
        _, (cos, sin) = ours(states, positions)
        for found, expected in zip((cos, sin), llama(states, positions)):
            torch.testing.assert_close(found.squeeze(1), expected, rtol=0, atol=1e-6)
