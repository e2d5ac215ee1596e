"""The bytes that a step of training needs, counted tensor by tensor."""

from dataclasses import dataclass

from ..modeling.configuration_hf_gpt import GPTConfig
from ..modeling.loss_hf_gpt import slice_tokens
from .counts import block_matrices, mlp_inputs, parameter_counts, projection_sizes, window_of


@dataclass(frozen=True)
class Workload:
    """How a device trains.

    Args:
        length, rows: Tokens of a row, rows of a device at a time.
        optimizer: `adamw`, two float32 numbers for each parameter, or `muon`, one for those of the blocks' matrices.
        bfloat16: Whether products are made in bfloat16 under autocast; weights stay in float32.
        attention: `eager` keeps the matrix of attention weights, every other implementation a number for each row of it.
        checkpointing: Whether a block keeps only its input and is computed again in the backward pass.
        on_cpu: Whether kernels are those of a CPU, which differ in dropout and in the type of a power.
    """

    length: int
    rows: int = 1
    optimizer: str = "adamw"
    bfloat16: bool = True
    attention: str = "sdpa"
    checkpointing: bool = False
    on_cpu: bool = False

    @property
    def tokens(self) -> int:
        return self.length * self.rows

    @property
    def compute_bytes(self) -> int:
        return 2 if self.bfloat16 else 4


# Of an expert's row: five numbers of a place or an expert in 64 bits, and what it counts, twice.
ROW_BYTES = 5 * 8 + 2 * 4
# Channels that a kernel without sinks is given for one more key.
SINK_CHANNELS = 8


def block_activations(config: GPTConfig, load: Workload, layer_type: str, parts: int = 1) -> float:
    """Return bytes that one block keeps for the backward pass, for one token.

    Counted tensor by tensor, as autograd keeps them without a compiler, which keeps fewer.

    Args:
        parts: Devices that share the heads and the feed-forward layer (tensor parallelism).
    """
    width, size = config.hidden_size, load.compute_bytes
    query, key = (value / parts for value in projection_sizes(config))
    heads = config.num_attention_heads / parts
    # A residual stream in float32 goes into each norm; RMSNorm keeps the normalised input beside it, and one statistic in place
    # of two.
    is_rms = config.norm_type == "rmsnorm"
    is_mixture = config.mlp_type == "moe"
    copies, statistics = (2, 1) if is_rms else (1, 2)
    norms = 2 * (copies * width + statistics) * 4
    if config.qk_norm:
        key_heads = config.num_key_value_heads / parts
        norms += (copies * (query + key) + statistics * (heads + key_heads)) * 4
    # Under autocast each matrix casts its input anew; in float32 they share it.
    readers = 3 + (1 if is_mixture else mlp_inputs(config))
    inputs = (readers if load.bfloat16 else 2) * width * size
    dropped = config.resid_dropout > 0
    mask = size if load.on_cpu else 1
    return (
        norms
        + inputs
        + _attention_activations(config, load, layer_type, query, key, heads)
        + (
            _expert_activations(config)
            if is_mixture
            else _activation_function(config, load) * config.intermediate_size / parts
        )
        + 2 * width * mask * dropped
    )


def _attention_activations(config, load: Workload, layer_type: str, query: float, key: float, heads: float) -> float:
    size, row = load.compute_bytes, heads * (load.length + config.attention_sinks)
    is_dropped = config.attention_dropout > 0
    window = window_of(config, layer_type, load.length)
    # What the last matrix takes is what the kernel gave, unless channels are cut off it.
    cut = query * size * config.attention_sinks
    if config.attention_sinks and load.attention != "eager":
        query, key = (number * (config.head_dim + SINK_CHANNELS) / config.head_dim for number in (query, key))
    # The fused kernel of a CPU has no dropout: torch then makes the whole matrix, in float32.
    if load.attention != "eager" and not (load.on_cpu and is_dropped):
        # Where attention is not just causal there is a mask, with which keys and values are repeated for each query head.
        key = query if window < load.length else key
        return (2 * query + 2 * key) * size + cut + heads * 4 + load.length * size * (window < load.length)
    if load.attention != "eager":
        return 3 * query * 4 + (cut or query * size) + 3 * row * 4
    # Keys and values are repeated for each query head. The softmax is float32, its cast and what dropout leaves are not.
    matrices = 4 + (size if load.bfloat16 or is_dropped else 0) + (size if load.on_cpu else 1) * is_dropped
    return 4 * query * size + row * matrices


def _activation_function(config: GPTConfig, load: Workload) -> float:
    """Return bytes for each entry of the inner layer, the input of the last matrix included."""
    size = load.compute_bytes
    # The function is one kernel, which keeps its input.
    gate = 2 * size if config.mlp_type == "glu" else 0
    return 2 * size + gate


def _expert_activations(config: GPTConfig) -> float:
    """Return bytes of the experts that a token goes through: each has its row to itself, and autocast does not reach its kernels.

    Of the inner layer seven numbers each: gate and up, and what is made of them in four steps, and the product; of the width two, the
    input and the output. Beside them, where the row came from and goes to, and what it counts.
    """
    return config.num_experts_per_tok * ((7 * config.intermediate_size + 2 * config.hidden_size) * 4 + ROW_BYTES)


def activation_bytes(config: GPTConfig, load: Workload, parts: int = 1) -> float:
    """Return bytes that the blocks and what is around them keep at the end of a forward pass, for one token."""
    width = config.hidden_size
    around = (2 * width + 1 if config.norm_type == "rmsnorm" else width + 2) * 4 * (config.norm_position == "pre")
    around += width * (4 if load.on_cpu else 1) * (config.embd_dropout > 0)
    # The probabilities of every expert, for the loss that balances them.
    around += (config.num_hidden_layers * config.num_experts + 1) * 4 * (config.router_aux_loss_coef > 0)
    if load.checkpointing:
        return around + config.num_hidden_layers * width * 4
    return around + sum(block_activations(config, load, kind, parts) for kind in config.layer_types)


def recomputed_bytes(config: GPTConfig, load: Workload, parts: int = 1) -> float:
    """Return bytes of the one block that checkpointing has whole at a time, for one token."""
    return max(block_activations(config, load, kind, parts) for kind in config.layer_types) if load.checkpointing else 0.0


def loss_bytes(config: GPTConfig, load: Workload) -> dict[str, float]:
    """Return what the chunked loss holds (`modeling/loss_hf_gpt.py`), and what materialised logits would.

    `logits`: a slice of them in float32, shifted, and as powers. `loss gradients`: of the hidden states and of the output matrix,
    made in the forward pass, with the product that is added to the second.
    """
    table = config.vocab_size * config.hidden_size
    cast = 2 * table if load.bfloat16 else 0
    tokens = slice_tokens(config.vocab_size, load.tokens, load.compute_bytes, "cpu" if load.on_cpu else "cuda")
    return {
        "logits": 12.0 * tokens * config.vocab_size,
        "loss gradients": 4.0 * load.tokens * config.hidden_size + 4 * table + 4 * table + 2 * cast,
    }


def whole_logits_bytes(config: GPTConfig, load: Workload) -> float:
    """Return the logits of a loss that makes them whole: as computed, their log-probabilities in float32, and the gradients of both."""
    return float(load.tokens * config.vocab_size * (load.compute_bytes + 3 * 4))


def optimizer_bytes(config: GPTConfig, optimizer: str) -> float:
    """Return bytes of the optimizer's state: moments in float32 (Loshchilov and Hutter 2019; Jordan et al. 2024)."""
    total, matrices = sum(parameter_counts(config).values()), block_matrices(config)
    return 8.0 * total - (4.0 * matrices if optimizer == "muon" else 0.0)
