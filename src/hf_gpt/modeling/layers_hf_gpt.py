"""The layers of the GPT line, to be read top to bottom; `modeling_hf_gpt.py` stacks them.

Every choice that separates the generations is a key of one of the closed dictionaries `NORMS`, `POSITIONS`, `ATTENTIONS`,
`MLPS`, `BLOCKS` and `RESIDUAL_STD`, looked up when the model is built; the forward passes below do not branch on them.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, dynamic_rope_update
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import is_tracing

from .configuration_hf_gpt import GPTConfig
from .experts_hf_gpt import GPTMoE, Recorded


# transformers 5.24 renamed the argument and the output field `past_key_values` to `cache`.
CACHE_FIELD = "cache" if "cache" in BaseModelOutputWithPast.__dataclass_fields__ else "past_key_values"


# ---------------------------------------------------------------------------------------------------------- norms


class GPTLayerNorm(nn.LayerNorm):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, over the last dimension (Ba et al. 2016)."""

    def __init__(self, size: int, config: GPTConfig):
        super().__init__(size, eps=config.norm_eps, bias=config.use_bias)


class GPTRMSNorm(nn.RMSNorm):
    """y = x / sqrt(mean(x^2) + eps) * weight, over the last dimension (Zhang and Sennrich 2019)."""

    def __init__(self, size: int, config: GPTConfig):
        super().__init__(size, eps=config.norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        # Autocast hands over bfloat16 while the weight is float32; the fused kernel takes one type.
        return super().forward(hidden_states.to(self.weight.dtype)).to(hidden_states.dtype)


NORMS = {"layernorm": GPTLayerNorm, "rmsnorm": GPTRMSNorm}


# ------------------------------------------------------------------------------------------------------ positions


def is_transformed() -> bool:
    """Return whether `torch.func` is at work (`grad`, `vmap`, ...), where tensors may stand for many and have no values to look at."""
    return torch._C._are_functorch_transforms_active()


def check_ids(ids: torch.LongTensor, size: int, name: str, field: str) -> None:
    """Raise `ValueError` for ids outside a table of `size` rows, where torch would say only "index out of range".

    Only on the CPU and outside of a trace or transform: on an accelerator the look would make every step wait for the device.
    """
    if ids.device.type != "cpu" or is_tracing(ids) or is_transformed() or ids.numel() == 0:
        return
    lowest, highest = (int(value) for value in torch.aminmax(ids))
    if lowest < 0 or highest >= size:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(
            f"{name} holds {wrong}, but {field}={size} allows 0 to {size - 1}: shorten the input or enlarge {field}."
        )


class GPTLearnedPositionEmbedding(nn.Embedding):
    """One vector for each absolute position, added to the token embedding (Radford et al. 2018, equation 2: W_p)."""

    def __init__(self, config: GPTConfig):
        super().__init__(config.max_position_embeddings, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor, position_ids: torch.LongTensor):
        check_ids(position_ids, self.num_embeddings, "position_ids", "max_position_embeddings")
        return hidden_states + super().forward(position_ids), None


class GPTRotaryEmbedding(nn.Module):
    """Cosines and sines of m * theta_i by which queries and keys are rotated (Su et al. 2021, equation 34)."""

    inv_freq: torch.Tensor

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.max_seq_len_cached = self.original_max_seq_len = config.max_position_embeddings
        self.rope_type = config.rope_parameters["rope_type"]
        rope_init = ROPE_INIT_FUNCTIONS.get(self.rope_type, self.compute_default_rope_parameters)
        inv_freq, self.attention_scaling = rope_init(config)
        self.register_buffer("inv_freq", inv_freq, persistent=False)
        self.register_buffer("original_inv_freq", inv_freq.clone(), persistent=False)

    def _apply(self, fn: Callable, recurse: bool = True) -> "GPTRotaryEmbedding":
        # `model.to(torch.bfloat16)` and `model.half()` would round the frequencies, by more than a turn at long range.
        exact = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, buffer in self.named_buffers():
            if buffer.dtype != torch.float:
                setattr(self, name, exact[name].to(buffer.device))
        return self

    @staticmethod
    def compute_default_rope_parameters(config: GPTConfig, device=None, seq_len=None, **kwargs):
        """theta_i = base^(-2 (i - 1) / d), i = 1 .. d / 2 (Su et al. 2021, section 3.2.2), and a scale of 1."""
        exponent = torch.arange(0, config.head_dim, 2, dtype=torch.float, device=device) / config.head_dim
        return 1.0 / config.rope_parameters["rope_theta"] ** exponent, 1.0

    @torch.no_grad()
    @dynamic_rope_update
    def forward(self, hidden_states: torch.Tensor, position_ids: torch.LongTensor):
        # In bfloat16 a position above 256 is no longer a whole number: the angles are float32 whatever the model is.
        inv_freq = self.inv_freq.to(device=hidden_states.device, dtype=torch.float)
        angles = position_ids[:, None, :, None].float() * inv_freq
        angles = torch.cat((angles, angles), dim=-1)
        cos, sin = angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling
        return hidden_states, (cos, sin)


POSITIONS = {"learned": GPTLearnedPositionEmbedding, "rope": GPTRotaryEmbedding}


def rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate each pair (x_i, x_{i + d/2}) of `states` `(batch, heads, length, d)` by its angle (Su et al. 2021)."""
    first, second = states.chunk(2, dim=-1)
    return (states * cos + torch.cat((-second, first), dim=-1) * sin).to(states.dtype)


# ------------------------------------------------------------------------------------------------------ attention


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, s_aux=None, **kwargs):
    """softmax(Q K^T / sqrt(d_k) + mask) V (Vaswani et al. 2017, equation 1).

    Args:
        query (`torch.Tensor` of shape `(batch, num_attention_heads, length, head_dim)`)
        key, value (`torch.Tensor` of shape `(batch, num_key_value_heads, seen, head_dim)`)
        attention_mask (`torch.Tensor` of shape `(batch, 1, length, seen)`, *optional*): 0 where a query may look, the
            lowest number of the type where it may not.
        s_aux (`torch.Tensor` of shape `(num_attention_heads,)`, *optional*): Of each head one more score, for no value.

    Returns:
        The weighted values, `(batch, length, num_attention_heads, head_dim)`, and the weights, `(batch,
        num_attention_heads, length, seen)`.
    """
    key = key.repeat_interleave(module.num_key_value_groups, dim=1)
    value = value.repeat_interleave(module.num_key_value_groups, dim=1)
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    if s_aux is not None:
        scores = torch.cat((scores, s_aux.to(scores.dtype)[None, :, None, None].expand(*scores.shape[:-1], 1)), dim=-1)
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32)[..., : key.shape[-2]].to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class GPTAttention(Recorded):
    """MultiHead(x) = Concat(head_1 .. head_h) W^O, head_i = Attention(x W_i^Q, x W_i^K, x W_i^V) (Vaswani et al. 2017,
    section 3.2.2). The mask, or its absence with `is_causal`, keeps position i from seeing any position after i.
    """

    recorded_as = "attentions", 1

    def __init__(self, config: GPTConfig, layer_idx: int):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = config.is_causal
        is_sliding = config.layer_types[layer_idx] == "sliding_attention"
        self.sliding_window = config.sliding_window if is_sliding else None

        query_size, key_size = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, key_size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, key_size, bias=config.qkv_bias)
        self.o_proj = residual_projection(query_size, config)
        norm = NORMS[config.norm_type]
        self.q_norm = norm(self.head_dim, config) if config.qk_norm else nn.Identity()
        self.k_norm = norm(self.head_dim, config) if config.qk_norm else nn.Identity()

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        rotary: tuple[torch.Tensor, torch.Tensor] | None = None,
        cache: Cache | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        heads = (*hidden_states.shape[:-1], -1, self.head_dim)
        query = self.q_norm(self.q_proj(hidden_states).view(heads)).transpose(1, 2)
        key = self.k_norm(self.k_proj(hidden_states).view(heads)).transpose(1, 2)
        value = self.v_proj(hidden_states).view(heads).transpose(1, 2)

        if rotary is not None:
            query, key = rotate(query, *rotary), rotate(key, *rotary)
        if isinstance(cache, Cache) or (cache is not None and CACHE_FIELD == "cache"):
            key, value = cache.update(key, value, self.layer_idx, kwargs=kwargs)
        elif cache is not None:
            # Before transformers 5.24 the attention function writes to the paged cache of `generate_batch`.
            kwargs["cache"] = cache

        attention: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        attention = self.with_sinks(attention)
        output, weights = attention(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.scaling,
            dropout=self.attention_dropout if self.training else 0.0,
            sliding_window=self.sliding_window,
            **kwargs,
        )
        # Engines that hold all tokens in one row hand back `(tokens, num_attention_heads * head_dim)`.
        return self.o_proj(output.reshape(*hidden_states.shape[:-1], -1)), weights

    def with_sinks(self, attention: Callable) -> Callable:
        return attention


def attend_to_one_more_key(attention, module, query, key, value, attention_mask, scaling, **kwargs):
    """Call a kernel that knows nothing of sinks: a key before all others gets the score s_h from every query, by a channel of its
    own, and has a value of zero.

    Kernels ask for channels in eights.
    """
    length, size = query.shape[-2:]
    score = (module.sinks / scaling).to(query.dtype)[None, :, None, None].expand(*query.shape[:-1], 1)
    query = nn.functional.pad(torch.cat((query, score), dim=-1), (0, 7))
    sink = nn.functional.pad(key.new_ones(*key.shape[:2], 1, 1), (size, 7))
    key = torch.cat((sink, nn.functional.pad(key, (0, 8))), dim=-2)
    value = nn.functional.pad(value, (0, 8, 1, 0))
    if attention_mask is not None:
        attention_mask = nn.functional.pad(attention_mask, (1, 0), value=attention_mask.dtype == torch.bool)
    elif length > 1:
        # Without a mask, query i sees the keys until i: one more query keeps them in step.
        query = nn.functional.pad(query, (0, 0, 1, 0))
    output, _ = attention(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return output[:, -length:, :, :size], None


def hand_over_sinks(attention, module, *arguments, **kwargs):
    return attention(module, *arguments, s_aux=module.sinks, **kwargs)


SINKS = {
    "eager": hand_over_sinks,
    "sdpa": attend_to_one_more_key,
    "flex_attention": hand_over_sinks,
    "flash_attention_4": hand_over_sinks,
    # It looks for `module.sinks` itself.
    "paged|eager": lambda attention, *arguments, **kwargs: attention(*arguments, **kwargs),
}
if CACHE_FIELD == "cache":
    # Before transformers 5.24 it is the kernel that brings the keys of its cache.
    SINKS["paged|sdpa"] = attend_to_one_more_key


class GPTSinkAttention(GPTAttention):
    """softmax([Q K^T / sqrt(d_k) + mask, s_h]) without its last column, times V: weights that need not sum to 1, with a number s_h
    that each head learns (OpenAI 2025, gpt-oss, section 2)."""

    def __init__(self, config: GPTConfig, layer_idx: int):
        super().__init__(config, layer_idx)
        self.sinks = nn.Parameter(torch.empty(config.num_attention_heads))

    def with_sinks(self, attention: Callable) -> Callable:
        name = self.config._attn_implementation
        if name not in SINKS:
            raise ValueError(f"attn_implementation={name!r} has no attention_sinks: choose one of {', '.join(SINKS)}.")
        return partial(SINKS[name], attention)


ATTENTIONS = {False: GPTAttention, True: GPTSinkAttention}


# --------------------------------------------------------------------------------------------------- feed-forward


# The same formula in one kernel, where transformers' `gelu_new` writes out each of its eight operations.
FUSED_ACTIVATIONS = {"gelu_new": "gelu_pytorch_tanh"}


class GPTMLP(nn.Module):
    """f(x W_up) W_down (Vaswani et al. 2017, equation 2, with another f)."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.use_bias)
        self.down_proj = residual_projection(config.intermediate_size, config)
        self.act_fn = ACT2FN[FUSED_ACTIVATIONS.get(config.hidden_act, config.hidden_act)]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act_fn(self.up_proj(hidden_states)))


class GPTGatedMLP(GPTMLP):
    """(f(x W_gate) * x W_up) W_down (Shazeer 2020, equation 6)."""

    def __init__(self, config: GPTConfig):
        super().__init__(config)
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.use_bias)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(hidden_states)) * self.up_proj(hidden_states))


MLPS = {"mlp": GPTMLP, "glu": GPTGatedMLP, "moe": GPTMoE}


# --------------------------------------------------------------------------------------------------------- blocks


class GPTBlock(Recorded, GradientCheckpointingLayer):
    """Attention and a feed-forward layer, each with a norm and added to the residual stream."""

    recorded_as = "hidden_states", 0

    def __init__(self, config: GPTConfig, layer_idx: int):
        super().__init__()
        self.self_attn = ATTENTIONS[config.attention_sinks](config, layer_idx)
        self.mlp = MLPS[config.mlp_type](config)
        self.input_layernorm = NORMS[config.norm_type](config.hidden_size, config)
        self.post_attention_layernorm = NORMS[config.norm_type](config.hidden_size, config)
        self.dropout = nn.Dropout(config.resid_dropout)


class GPTPreNormBlock(GPTBlock):
    """h = x + Attention(Norm(x)); y = h + MLP(Norm(h)) (Radford et al. 2019, section 2.3)."""

    def forward(self, hidden_states: torch.Tensor, **kwargs) -> torch.Tensor:
        hidden_states = hidden_states + self.dropout(self.self_attn(self.input_layernorm(hidden_states), **kwargs)[0])
        return hidden_states + self.dropout(self.mlp(self.post_attention_layernorm(hidden_states)))


class GPTPostNormBlock(GPTBlock):
    """h = Norm(x + Attention(x)); y = Norm(h + MLP(h)) (Vaswani et al. 2017, section 3.1; GPT-1)."""

    def forward(self, hidden_states: torch.Tensor, **kwargs) -> torch.Tensor:
        hidden_states = self.input_layernorm(hidden_states + self.dropout(self.self_attn(hidden_states, **kwargs)[0]))
        return self.post_attention_layernorm(hidden_states + self.dropout(self.mlp(hidden_states)))


BLOCKS = {"pre": GPTPreNormBlock, "post": GPTPostNormBlock}


# ------------------------------------------------------------------------------------------------- initial weights


def residual_projection(input_size: int, config: GPTConfig) -> nn.Linear:
    """Return a linear layer that writes to the residual stream; `_init_weights` knows it by its mark."""
    projection = nn.Linear(input_size, config.hidden_size, bias=config.use_bias)
    # transformers visits leaves, not containers, of models outside its own tree: the mark has to sit on the leaf.
    projection.is_residual_projection = True
    return projection


RESIDUAL_STD = {
    "none": lambda config: config.initializer_range,
    # Two additions a block: the variance of their sum stays that of one (Radford et al. 2019, section 2.3).
    "depth_scaled": lambda config: config.initializer_range / math.sqrt(2 * config.num_hidden_layers),
    # Every block starts as the identity.
    "zero": lambda config: 0.0,
}
