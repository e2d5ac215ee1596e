"""What the Transformers backends of vLLM and SGLang read of custom code, checked without either (docs/serving.md)."""

import json

import pytest
import torch
from tests.conftest import randomize, tiny_config
from transformers import AttentionInterface, AutoModel, AutoModelForCausalLM

from hf_gpt.modeling.layers_hf_gpt import GPTAttention


def test_the_attributes_of_class_config_and_attention_modules(architecture, tmp_path):
    model = AutoModelForCausalLM.from_config(tiny_config(architecture))
    assert type(model)._supports_attention_backend
    assert type(model.model)._supports_attention_backend
    attentions = [module for module in model.modules() if isinstance(module, GPTAttention)]
    assert len(attentions) == model.config.num_hidden_layers
    assert all(attention.is_causal is True for attention in attentions)
    assert [attention.layer_idx for attention in attentions] == list(range(len(attentions)))
    assert model.config.base_model_tp_plan
    # The stages are cut between the layers, which have to be a list of that name.
    inputs, outputs = model.config.base_model_pp_plan["layers"]
    assert "hidden_states" in inputs
    assert outputs == ["hidden_states"]
    assert isinstance(model.model.layers, torch.nn.ModuleList)
    model.save_pretrained(tmp_path)
    assert "AutoModel" in json.loads((tmp_path / "config.json").read_text())["auto_map"]


@pytest.mark.parametrize("auto", [AutoModel, AutoModelForCausalLM])
def test_keywords_of_a_call_reach_an_attention_function_of_somebody_else(architecture, auto):
    """vLLM registers a function of its own and finds its layers in a keyword of the call."""
    model = randomize(auto.from_config(tiny_config(architecture)))
    seen = []

    def attend(module, query, key, value, attention_mask, scaling=None, attention_instances=None, **kwargs):
        seen.append(attention_instances[module.layer_idx])
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        output = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
        return output.transpose(1, 2).contiguous(), None

    ids = torch.randint(2, 96, (1, 4), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(ids, use_cache=False)[0]
        AttentionInterface.register("somebody_else", attend)
        model.set_attn_implementation("somebody_else")
        found = model(ids, use_cache=False, attention_instances={0: "first", 1: "second"})[0]
    assert seen == ["first", "second"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
