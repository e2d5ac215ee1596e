"""Parameters, FLOPs and tokens of a model, from the values of its config and without building a weight."""

import math
from dataclasses import dataclass

import numpy as np

from ..modeling.configuration_hf_gpt import GPTConfig


def parameter_counts(config: GPTConfig) -> dict[str, int]:
    """Return the parameters of `GPTForCausalLM` by part, to the last one; a tied output matrix is counted with the embeddings."""
    width, layers, bias = config.hidden_size, config.num_hidden_layers, int(config.use_bias)
    query, key = projection_sizes(config)
    norm = width * (1 + bias * (config.norm_type == "layernorm"))
    head_norm = config.head_dim * (1 + bias * (config.norm_type == "layernorm"))
    attention = width * (2 * query + 2 * key) + int(bool(config.qkv_bias)) * (query + 2 * key) + bias * width
    attention += config.num_attention_heads * config.attention_sinks
    router = config.num_experts * (width + bias)
    feed_forward = expert_size(config) * max(config.num_experts, 1) + router
    return {
        "token embeddings": config.vocab_size * width,
        "position embeddings": config.max_position_embeddings * width * (config.position_embedding_type == "learned"),
        "attention": layers * attention,
        "feed-forward": layers * feed_forward,
        "norms": layers * (2 * norm + 2 * head_norm * config.qk_norm) + norm * (config.norm_position == "pre"),
        "output matrix": 0 if config.tie_word_embeddings else config.vocab_size * width,
    }


def active_parameters(config: GPTConfig) -> int:
    """Return the parameters that a token meets (OpenAI 2025, table 1).

    Of the experts those that it goes through, the output matrix tied or not, and no table.
    """
    counts = parameter_counts(config)
    tables = sum(count for name, count in counts.items() if name.endswith("embeddings"))
    output = config.vocab_size * config.hidden_size * config.tie_word_embeddings
    idle = config.num_hidden_layers * (config.num_experts - config.num_experts_per_tok)
    return sum(counts.values()) - tables + output - idle * expert_size(config)


def expert_size(config: GPTConfig) -> int:
    """Return the parameters of one expert of one layer, or of a layer that has no others."""
    inner, width, inputs = config.intermediate_size, config.hidden_size, mlp_inputs(config)
    return (inputs + 1) * width * inner + int(config.use_bias) * (inputs * inner + width)


def block_matrices(config: GPTConfig, experts: int | None = None) -> int:
    """Return the entries of all matrices inside the blocks, which is what Muon trains.

    Args:
        experts: How many count of each mixture of them; all by default.
    """
    query, key = projection_sizes(config)
    attention = config.hidden_size * (2 * query + 2 * key)
    expert = (mlp_inputs(config) + 1) * config.hidden_size * config.intermediate_size
    experts = config.num_experts if experts is None else experts
    router = config.num_experts * config.hidden_size
    return config.num_hidden_layers * (attention + expert * (experts if config.mlp_type == "moe" else 1) + router)


def projection_sizes(config: GPTConfig) -> tuple[int, int]:
    return config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim


def mlp_inputs(config: GPTConfig) -> int:
    """Return matrices of a feed-forward layer that read the residual stream: a gated one has two."""
    return {"mlp": 1, "glu": 2, "moe": 2}[config.mlp_type]


# --------------------------------------------------------------------------------------------- FLOPs and tokens


@dataclass(frozen=True)
class Flops:
    """Products and sums of one trained token, forward and backward.

    Args:
        matrices: 6 for each entry of a matrix that a token meets: 2 forward, 4 backward.
        attention: 12 L H Q T, the products of queries with keys and of weights with values (L layers, H heads of Q, length T).
        masked: How much of `attention` lies where no position may look; only a kernel that skips it saves it.
        recomputed: What checkpointing of activations does a second time, which counts for no MFU.
    """

    matrices: float
    attention: float
    masked: float
    recomputed: float

    @property
    def total(self) -> float:
        return self.matrices + self.attention


def training_flops(config: GPTConfig, length: int) -> Flops:
    """6 N + 12 L H Q T (Chowdhery et al. 2022, PaLM, appendix B), with N the matrices that a token is multiplied with.

    Looking a row of an embedding up multiplies nothing, so N has the output matrix and no table; biases, norms and activations are
    left out. Hoffmann et al. 2022, appendix F, count the same products one by one. A layer with a window counts whole,
    since eager attention and sdpa compute it whole.
    """
    blocks, query = block_matrices(config, config.num_experts_per_tok), projection_sizes(config)[0]
    attention = 12.0 * config.num_hidden_layers * query * length
    # A norm, dropout or the weight of an expert after it needs the output of a block's last matrix in order to be made again.
    is_needed = config.norm_position == "post" or config.resid_dropout > 0 or config.mlp_type == "moe"
    last = 0 if is_needed else config.num_hidden_layers * config.intermediate_size * config.hidden_size
    seen = sum(pairs_seen(length, window_of(config, kind, length)) for kind in config.layer_types) / length**2
    return Flops(
        matrices=6.0 * (blocks + config.vocab_size * config.hidden_size),
        attention=attention,
        masked=attention - 12.0 * query * length * seen,
        recomputed=2.0 * (blocks - last) + attention / 3,
    )


def window_of(config: GPTConfig, layer_type: str, length: int) -> int:
    return min(length, int(config.sliding_window or length)) if layer_type == "sliding_attention" else length


def pairs_seen(length: int, window: int) -> int:
    """Return pairs of a position and one that it sees: min(i, window) for i = 1 .. length."""
    return window * (window + 1) // 2 + (length - window) * window


# Hoffmann et al. 2022, table 3 (approach 1): parameters, and the tokens that use the same compute best.
OPTIMAL_PARAMETERS = (400e6, 1e9, 10e9, 67e9, 175e9, 280e9, 520e9, 1e12, 10e12)
OPTIMAL_TOKENS = (8.0e9, 20.2e9, 205.1e9, 1.5e12, 3.7e12, 5.9e12, 11.0e12, 21.2e12, 216.2e12)


def compute_optimal_tokens(parameters: float) -> tuple[float, str]:
    """Return tokens that make the best of their compute at that size, and whether the size is inside the published table.

    Between the rows of the table the logarithms are interpolated; outside, tokens stay proportional to parameters.
    """
    nearest = min(max(parameters, OPTIMAL_PARAMETERS[0]), OPTIMAL_PARAMETERS[-1])
    logarithm = np.interp(math.log(nearest), np.log(OPTIMAL_PARAMETERS), np.log(OPTIMAL_TOKENS))
    is_inside = nearest == parameters
    return math.exp(logarithm) * parameters / nearest, "published" if is_inside else "extrapolated"
