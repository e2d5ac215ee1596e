"""The GGUF file of a mixture of experts, by the table of the `gguf` package: transformers' reader knows no experts in such a file."""

import pytest
import torch

from hf_gpt import GPTForCausalLM, export_checkpoint, preset


gguf = pytest.importorskip("gguf")

YARN = {"rope_type": "yarn", "rope_theta": 150000.0, "factor": 4.0, "original_max_position_embeddings": 16}


def mixture(**overrides):
    sizes = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    return GPTForCausalLM(preset("oss-8m", **{**sizes, "intermediate_size": 40, **overrides}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_has_the_tensors_and_the_values_that_llama_cpp_asks_for(dtype, tmp_path):
    # What llama.cpp computes where a file does not say.
    model = mixture(rope_parameters={**YARN, "beta_fast": 32, "beta_slow": 1.0, "truncate": True}).to(dtype)
    export_checkpoint(model, tmp_path / "out", "gguf")
    path = tmp_path / "out" / "model.gguf"
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    wanted = {
        "general.architecture": "gpt-oss",
        "gpt-oss.expert_count": 8,
        "gpt-oss.expert_used_count": 4,
        "gpt-oss.expert_feed_forward_length": 40,
        "gpt-oss.attention.sliding_window": 128,
        "gpt-oss.rope.scaling.type": "yarn",
        "gpt-oss.rope.scaling.factor": 4.0,
        "gpt-oss.rope.scaling.original_context_length": 16,
    }
    assert {name: fields[name] for name in wanted} == wanted
    architecture = gguf.MODEL_ARCH.GPT_OSS
    known = {gguf.TENSOR_NAMES[kind].format(bid=i) for kind in gguf.MODEL_TENSORS[architecture] for i in range(2)}
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert {name.rsplit(".", 1)[0] for name in tensors} == known
    exact = ("norm.weight", ".bias", "attn_sinks.weight", "ffn_gate_inp.weight")
    for name, tensor in tensors.items():
        assert (tensor.tensor_type.name == "F32") == (dtype == torch.float32 or name.endswith(exact)), name
    if dtype == torch.float32:
        layer = model.model.layers[1]
        for name, found in (
            ("ffn_gate_exps.weight", layer.mlp.experts.gate_up_proj[:, :40]),
            ("ffn_up_exps.weight", layer.mlp.experts.gate_up_proj[:, 40:]),
            ("ffn_up_exps.bias", layer.mlp.experts.gate_up_proj_bias[:, 40:]),
            ("ffn_down_exps.weight", layer.mlp.experts.down_proj),
            ("ffn_gate_inp.bias", layer.mlp.router.bias),
            ("attn_sinks.weight", layer.self_attn.sinks),
            ("post_attention_norm.weight", layer.post_attention_layernorm.weight),
        ):
            assert torch.equal(torch.tensor(tensors[f"blk.1.{name}"].data), found), name


def test_experts_are_quantized_as_other_matrices_are(tmp_path):
    export_checkpoint(mixture(num_attention_heads=4, intermediate_size=64), tmp_path / "out", "gguf", quantize="q4_0")
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "out" / "model.gguf").tensors}
    assert {types[f"blk.0.ffn_{name}_exps.weight"] for name in ("gate", "up", "down")} == {"Q4_0"}
    assert types["blk.0.ffn_gate_inp.weight"] == types["blk.0.ffn_up_exps.bias"] == "F32"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"layer_types": ["full_attention"] * 2}, "gguf layout cannot express layer_types="),
        ({"rope_parameters": {**YARN, "rope_type": "linear"}}, "gguf layout cannot express rope_parameters="),
        *(
            (
                {"rope_parameters": {**YARN, name: value}},
                f"gguf layout cannot express rope_parameters.{name}={value}: there it is",
            )
            for name, value in [
                *(("beta_fast", 16.0), ("beta_slow", 2.0), ("truncate", False), ("attention_factor", 1.7)),
                *(("mscale", 0.7), ("mscale_all_dim", 0.3), ("partial_rotary_factor", 0.5), ("factor", None)),
            ]
        ),
        ({"use_bias": False}, "gpt_oss layout cannot express use_bias=False"),
    ],
)
def test_one_that_gguf_cannot_express(overrides, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        export_checkpoint(mixture(**overrides), tmp_path / "out", "gguf")
    assert not list(tmp_path.iterdir())
