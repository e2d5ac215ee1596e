"""Attention equals a transcription of its formulas in numpy, and the post-norm encoder equals `torch.nn`'s. A fused activation
equals the formula that it stands for."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers.activations import ACT2FN

from hf_gpt import GPTConfig, GPTModel
from hf_gpt.modeling.layers_hf_gpt import FUSED_ACTIVATIONS


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def multi_head_attention(x, weights, heads, key_heads, causal, window):
    """Vaswani et al. 2017, section 3.2, in float64. `x` is `(length, hidden_size)`; each weight is a matrix and a bias."""
    queries, keys, values = (x @ matrix.T + bias for matrix, bias in (weights[name] for name in "qkv"))
    length, d = len(x), queries.shape[1] // heads
    position = np.arange(length)
    seen = np.ones((length, length), dtype=bool)
    if causal:
        seen &= position[None, :] <= position[:, None]
    if window:
        seen &= position[None, :] > position[:, None] - window
    concatenated = []
    for head in range(heads):
        key_head = head // (heads // key_heads)
        query = queries[:, head * d : (head + 1) * d]
        key, value = (part[:, key_head * d : (key_head + 1) * d] for part in (keys, values))
        scores = np.where(seen, query @ key.T / np.sqrt(d), -np.inf)
        concatenated.append(softmax(scores) @ value)
    matrix, bias = weights["o"]
    return np.concatenate(concatenated, axis=1) @ matrix.T + bias


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize(
    ("heads", "key_heads", "causal", "window"),
    [(1, 1, True, None), (1, 1, False, None), (4, 4, True, None), (4, 2, True, None), (4, 1, False, None), (4, 2, True, 3)],
)
def test_attention_is_the_formula(heads, key_heads, causal, window, implementation):
    torch.manual_seed(0)
    config = GPTConfig(
        vocab_size=7,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        is_causal=causal,
        layer_types=["sliding_attention" if window else "full_attention"],
        sliding_window=window,
    )
    model = GPTModel(config).eval()
    model.set_attn_implementation(implementation)
    attention = model.layers[0].self_attn
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    caught = {}
    attention.register_forward_hook(lambda _, given, kwargs, result: caught.update(x=given[0], y=result[0]), with_kwargs=True)
    with torch.no_grad():
        model(torch.randint(0, 7, (1, 11)))

    weights = {
        name: [parameter.detach().double().numpy() for parameter in getattr(attention, f"{name}_proj").parameters()]
        for name in "qkvo"
    }
    # Random embeddings are small: the norm before the attention has brought the input to one.
    expected = multi_head_attention(caught["x"][0].double().numpy(), weights, heads, key_heads, causal, window)
    assert np.abs(expected).max() > 0.3
    assert np.abs(expected - caught["y"][0].numpy()).max() <= 1e-5


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("causal", [False, True])
def test_post_norm_blocks_are_those_of_torch(causal, implementation):
    torch.manual_seed(0)
    size, heads, inner, layers, length = 24, 4, 40, 3, 13
    layer = nn.TransformerEncoderLayer(size, heads, inner, dropout=0.0, activation="gelu", batch_first=True)
    theirs = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, mean=1.0 if parameter.ndim == 1 else 0.0, std=0.2)
    config = GPTConfig(
        vocab_size=7,
        hidden_size=size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        hidden_act="gelu",
        norm_position="post",
        is_causal=causal,
    )
    ours = GPTModel(config)
    ours.set_attn_implementation(implementation)
    with torch.no_grad():
        ours.embed_positions.weight.zero_()
        for block, layer in zip(ours.layers, theirs.layers):
            parts = (block.self_attn.q_proj, block.self_attn.k_proj, block.self_attn.v_proj)
            stacked = (layer.self_attn.in_proj_weight.chunk(3), layer.self_attn.in_proj_bias.chunk(3))
            for part, weight, bias in zip(parts, *stacked):
                part.weight.copy_(weight)
                part.bias.copy_(bias)
            for part, source in (
                (block.self_attn.o_proj, layer.self_attn.out_proj),
                (block.mlp.up_proj, layer.linear1),
                (block.mlp.down_proj, layer.linear2),
                (block.input_layernorm, layer.norm1),
                (block.post_attention_layernorm, layer.norm2),
            ):
                part.load_state_dict(source.state_dict())

    inputs = torch.randn(2, length, size)
    mask = torch.ones(2, length, dtype=torch.long)
    mask[1, 9:] = 0
    forbidden = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1) if causal else None
    expected = theirs.train()(inputs, mask=forbidden, src_key_padding_mask=mask == 0)
    found = ours.train()(inputs_embeds=inputs, attention_mask=mask).last_hidden_state
    assert expected.std() > 0.5
    assert (expected - found)[mask.bool()].abs().max() <= 1e-5


@pytest.mark.parametrize("name", FUSED_ACTIVATIONS)
def test_a_fused_activation_is_the_function_it_stands_for(name):
    values = torch.linspace(-12, 12, 4001, dtype=torch.float64, requires_grad=True)
    wanted, found = (ACT2FN[key](values) for key in (name, FUSED_ACTIVATIONS[name]))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    slopes = [torch.autograd.grad(result.sum(), values)[0] for result in (wanted, found)]
    torch.testing.assert_close(slopes[1], slopes[0], rtol=0, atol=1e-12)
