"""What the Transformers backends of vLLM and SGLang read of custom code, checked without either.

`docs/serving.md` names the commits that were read. Here stands what these read, by file: vLLM's `registry.py` and
`transformers/base.py`, `causal.py`, `fusers/*.py`, SGLang's `model_loader/utils.py` and `models/transformers.py`.
"""

import ast
import copy
import inspect
import json
import re
import textwrap

import pytest
import torch
from tests.conftest import randomize, tiny_config
from torch import nn
from transformers import AttentionInterface, AutoModel, AutoModelForCausalLM
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from hf_gpt.modeling.layers_hf_gpt import GPTAttention


def attentions_of(model):
    return [module for module in model.modules() if isinstance(module, GPTAttention)]


def test_the_class_that_auto_map_names_says_that_it_is_compatible(architecture, tmp_path):
    """`registry.py` and `model_loader/utils.py`: every class of auto_map is loaded, and AutoModel's is asked."""
    AutoModelForCausalLM.from_config(tiny_config(architecture)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    classes = {
        name: get_class_from_dynamic_module(target, str(tmp_path)) for name, target in sorted(config["auto_map"].items())
    }
    assert classes["AutoModel"].is_backend_compatible()
    assert classes["AutoModel"]._supports_attention_backend is True
    # By the name of the architecture both tell generation from pooling.
    assert config["architectures"] == ["GPTForCausalLM"]


def test_the_attributes_of_the_config(architecture):
    """`base.py` and `models/transformers.py` make caches and heads of these, and read nothing else of a text model."""
    config = tiny_config(architecture)
    assert config.get_text_config() is config
    for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"):
        assert isinstance(getattr(config, name), int), name
    assert isinstance(config.tie_word_embeddings, bool)
    assert len(config.layer_types) == config.num_hidden_layers
    assert ("sliding_attention" not in config.layer_types) or config.sliding_window > 0
    # Nothing that would be taken for a scale, compressed keys or, where there is none, a mixture of experts.
    for name in ("logit_scale", "final_logit_softcapping", "attn_logit_softcapping", "kv_lora_rank", "embedding_size"):
        assert getattr(config, name, None) is None, name
    for name in ("num_experts", "num_local_experts", "n_routed_experts", "num_experts_per_tok", "num_nextn_predict_layers"):
        assert bool(getattr(config, name, None)) == (
            config.mlp_type == "moe" and name in ("num_experts", "num_experts_per_tok")
        ), name


def test_the_attributes_of_attention_modules(architecture):
    model = AutoModel.from_config(tiny_config(architecture))
    attentions = attentions_of(model)
    assert [attention.layer_idx for attention in attentions] == list(range(model.config.num_hidden_layers))
    # One module that is not causal, and both take the model for an encoder.
    assert all(getattr(module, "is_causal", True) is True for module in model.modules())
    encoder = AutoModel.from_config(tiny_config(architecture, is_causal=False))
    assert all(attention.is_causal is False for attention in attentions_of(encoder))
    # `fusers/attention.py` looks for one call in the source, and for what its `scaling` is.
    tree = ast.parse(textwrap.dedent(inspect.getsource(GPTAttention.forward)))
    names = {
        node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.value).startswith("ALL_ATTENTION_FUNCTIONS.get_interface(")
    }
    (call,) = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) in names]
    (scaling,) = [ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == "scaling"]
    assert scaling == "self.scaling"
    assert all(isinstance(attention.scaling, float) for attention in attentions)


def test_the_plan_of_tensor_parallelism_names_every_matrix_and_only_what_is_there(architecture):
    model = AutoModel.from_config(tiny_config(architecture))
    # transformers 5.24 adds the embedding to the plan of every base model that has one of this name.
    plan = {pattern: style for pattern, style in model.tp_plan.items() if pattern != "embed_tokens"}
    assert plan == {name: style for name, style in model.config.base_model_tp_plan.items() if name != "embed_tokens"}
    names = [name for name, _ in model.named_modules()]
    for pattern, style in plan.items():
        assert style in ("colwise", "rowwise", "replicated_with_grad_allreduce")
        assert any(re.match(pattern, name) for name in names), pattern
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    assert not plan or all(any(re.match(pattern, name) for pattern in plan) for name in linears)


def test_a_norm_has_the_name_and_the_numbers_that_sglang_replaces_it_by(architecture):
    model = AutoModel.from_config(tiny_config(architecture))
    norms = [module for module in model.modules() if type(module).__name__.endswith("RMSNorm")]
    assert bool(norms) == (model.config.norm_type == "rmsnorm")
    for norm in norms:
        assert norm.eps == model.config.norm_eps
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))


def stage(model, first, last, layers):
    """One stage of a pipeline as `pipeline_parallel` cuts it: what is elsewhere gives back what it is given."""

    class Missing(nn.Identity):
        def forward(self, *args, **kwargs):
            return args[0]

    names = list(model.config.base_model_pp_plan)
    middle = names.index("layers")
    for name in names[:middle] if not first else []:
        setattr(model, name, Missing())
    for index in set(range(len(model.layers))) - set(layers):
        model.layers[index] = Missing()
    for name in names[middle + 1 :] if not last else []:
        setattr(model, name, Missing())
    return model


def test_two_stages_of_a_pipeline_are_the_whole_model(architecture):
    """Of learned positions there is no plan: a later stage would add them to hidden states once more."""
    config = tiny_config(architecture)
    if config.position_embedding_type == "learned":
        assert config.base_model_pp_plan is None
        return
    whole = randomize(AutoModel.from_config(config))
    first = stage(copy.deepcopy(whole), True, False, [0])
    second = stage(copy.deepcopy(whole), False, True, [1])
    ids, positions = torch.arange(2, 8)[None], torch.arange(6)[None]
    with torch.no_grad():
        expected = whole(ids, position_ids=positions, use_cache=False)[0]
        hidden_states = first(input_ids=ids, position_ids=positions, use_cache=False, return_dict=False)[0]
        found = second(inputs_embeds=hidden_states, position_ids=positions, use_cache=False, return_dict=False)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_it_is_made_without_weights_but_with_its_buffers(architecture, monkeypatch):
    """`init_on_device_without_buffers`: parameters on the meta device, the frequencies of rotary positions real."""
    register = nn.Module.register_parameter

    def register_empty(module, name, parameter):
        register(module, name, parameter)
        if parameter is not None:
            module._parameters[name] = nn.Parameter(module._parameters[name].to("meta"), parameter.requires_grad)

    whole = AutoModel.from_config(tiny_config(architecture))
    monkeypatch.setattr(nn.Module, "register_parameter", register_empty)
    model = AutoModel.from_config(tiny_config(architecture))
    monkeypatch.undo()
    assert all(parameter.is_meta for parameter in model.parameters())
    expected = dict(whole.named_buffers())
    assert all(torch.equal(buffer, expected[name]) for name, buffer in model.named_buffers())


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
        # As vLLM's `vllm_attention_forward` and SGLang's: all tokens in one row, all heads in one dimension.
        return output.transpose(1, 2).reshape(query.shape[-2], -1), None

    ids = torch.randint(2, 96, (1, 4), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(ids, use_cache=False)[0]
        AttentionInterface.register("somebody_else", attend)
        model.set_attn_implementation("somebody_else")
        # The call of both engines: a row of tokens with their positions.
        given = {"position_ids": torch.arange(4)[None], "use_cache": False, "return_dict": False}
        if model.config.attention_sinks:
            # Which none of them has: left out, they would be missed in the numbers alone.
            with pytest.raises(ValueError, match="attn_implementation='somebody_else' has no attention_sinks"):
                model(input_ids=ids, attention_instances={0: "first", 1: "second"}, **given)
            return
        found = model(input_ids=ids, attention_instances={0: "first", 1: "second"}, **given)[0]
    assert seen == ["first", "second"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
