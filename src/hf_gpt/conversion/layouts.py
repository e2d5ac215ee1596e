"""What each foreign layout calls things: one table a layout, read forwards to export and backwards to import.

A `Layout` says which tensors hold what (`modules`), which config field is which (`fields`), what it can only be
(`fixed`, in our names) and what of it we cannot be (`required`, in its own names). The tables are plain data and not
`transformers`' conversion mappings: those, once registered for `hf_gpt`, would also rewrite what `save_pretrained` writes.
"""

import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from ..modeling.configuration_hf_gpt import GPTConfig


Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Module:
    """One foreign module and ours. Several of ours lie one after the other along the output dimension of the foreign one.

    `{}` in a name stands for the number of the layer. `transposed` marks a `Conv1D`, whose weight is `(input, output)`. `kinds` is what
    the names of its parameters end with.
    """

    theirs: str
    ours: tuple[str, ...]
    transposed: bool = False
    kinds: tuple[str, ...] = (".weight", ".bias")

    def for_layers(self, number: int) -> list["Module"]:
        if "{}" not in self.theirs:
            return [self]
        return [
            replace(self, theirs=self.theirs.format(i), ours=tuple(name.format(i) for name in self.ours))
            for i in range(number)
        ]


@dataclass(frozen=True)
class Layout:
    """One foreign architecture.

    Args:
        name (`str`): Its `model_type` in `transformers`.
        prefix (`str`): What a checkpoint of its base model, without a head, leaves off every name.
        modules (`tuple[Module, ...]`): Where each tensor lies.
        fields (`dict[str, str]`): Our config field to its config field, of the same meaning.
        fixed (`dict`): Our config fields that have only this value there.
        required (`dict`): Its config fields that must have this value here.
        initial (`dict`): Our config fields that it knows nothing of, and that only training reads, or that an export need not have.
        bound (`Callable`): Config to the fields that the layout derives from others, with the value it derives.
        read_config, write_config (`Callable`): Corrections to the other side's values, given the config.
        read_tensors, write_tensors (`Callable`): Corrections to the foreign tensors, in place, given our config.
        has_biases (`bool`): Whether every matrix of a block and every norm has a bias there: zeros where ours has none.
        quantization (`str`, *optional*): The `quant_method` of which `read_tensors` makes numbers again.
        ignored (`str`): Regular expression of the names of buffers that old checkpoints carry and nothing reads.
    """

    name: str
    prefix: str
    modules: tuple[Module, ...]
    fields: dict[str, str]
    fixed: dict[str, Any]
    required: dict[str, Any] = field(default_factory=dict)
    initial: dict[str, Any] = field(default_factory=dict)
    bound: Callable[[GPTConfig], dict[str, Any]] = lambda config: {}
    read_config: Callable[[PreTrainedConfig, dict[str, Any]], None] = lambda config, values: None
    write_config: Callable[[GPTConfig, dict[str, Any]], None] = lambda config, values: None
    read_tensors: Callable[[GPTConfig, Tensors], None] = lambda config, tensors: None
    write_tensors: Callable[[GPTConfig, Tensors], None] = lambda config, tensors: None
    has_biases: bool = False
    quantization: str | None = None
    ignored: str = "(?!)"


class CannotExpressError(ValueError):
    """A layout has no word for the value of a config field; `reason` is the message without the hint."""

    def __init__(self, layout: str, name: str, value: Any, there: str):
        self.reason = f"The {layout} layout cannot express {name}={reprlib.repr(value)}: there {there}."
        super().__init__(
            f"{self.reason} Choose another layout, keep the model in its own with save_pretrained, or train it with what "
            f"{layout} can express."
        )


def same(*names: str) -> dict[str, str]:
    """Return fields of one name on both sides."""
    return {name: name for name in names}


COMMON_FIELDS = same("vocab_size", "initializer_range", "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id")
GPT_FIXED = {
    "norm_type": "layernorm",
    "position_embedding_type": "learned",
    "mlp_type": "mlp",
    "qk_norm": False,
    "attention_sinks": False,
    "is_causal": True,
}


def one_key_head_per_head(config: GPTConfig) -> dict[str, Any]:
    whole, rest = divmod(config.hidden_size, config.num_attention_heads)
    return {
        "num_key_value_heads": config.num_attention_heads,
        "head_dim": config.hidden_size / config.num_attention_heads if rest else whole,
    }


def full_attention(config: GPTConfig) -> dict[str, Any]:
    return {"layer_types": ["full_attention"] * config.num_hidden_layers}


LAYER = "model.layers.{}"
QUERY_KEY_VALUE = tuple(f"{LAYER}.self_attn.{name}_proj" for name in "qkv")


# ------------------------------------------------------------------------------------------------- GPT-1 and GPT-2


def gpt_blocks(transposed: bool) -> tuple[Module, ...]:
    """Return the blocks of GPT-1, GPT-2 (`Conv1D`) and nanoGPT (`Linear`)."""
    theirs = "transformer.h.{}"
    return (
        Module(f"{theirs}.ln_1", (f"{LAYER}.input_layernorm",)),
        Module(f"{theirs}.attn.c_attn", QUERY_KEY_VALUE, transposed),
        Module(f"{theirs}.attn.c_proj", (f"{LAYER}.self_attn.o_proj",), transposed),
        Module(f"{theirs}.ln_2", (f"{LAYER}.post_attention_layernorm",)),
        Module(f"{theirs}.mlp.c_fc", (f"{LAYER}.mlp.up_proj",), transposed),
        Module(f"{theirs}.mlp.c_proj", (f"{LAYER}.mlp.down_proj",), transposed),
    )


LM_HEAD = Module("lm_head", ("lm_head",))
GPT2_ENDS = (
    Module("transformer.wte", ("model.embed_tokens",)),
    Module("transformer.wpe", ("model.embed_positions",)),
    Module("transformer.ln_f", ("model.norm",)),
    LM_HEAD,
)
GPT_FIELDS = {
    **COMMON_FIELDS,
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
    "norm_eps": "layer_norm_epsilon",
    "resid_dropout": "resid_pdrop",
    "embd_dropout": "embd_pdrop",
    "attention_dropout": "attn_pdrop",
}

# OpenAIGPTModel's "gelu" is the approximation with tanh, which is called "gelu_new" everywhere else.
OPENAI_GPT_ACTIVATIONS = {"gelu_new": "gelu", "relu": "relu", "silu": "silu"}


def read_openai_gpt(config: PreTrainedConfig, values: dict[str, Any]) -> None:
    names = {theirs: ours for ours, theirs in OPENAI_GPT_ACTIVATIONS.items()} | {"swish": "silu"}
    if config.afn not in names:
        raise ValueError(f"config.json has afn={config.afn!r}, which openai-gpt does not know: it is one of {sorted(names)}.")
    values["hidden_act"] = names[config.afn]


def write_openai_gpt(config: GPTConfig, values: dict[str, Any]) -> None:
    if config.hidden_act not in OPENAI_GPT_ACTIVATIONS:
        raise CannotExpressError(
            "openai-gpt", "hidden_act", config.hidden_act, f"it is one of {', '.join(OPENAI_GPT_ACTIVATIONS)}"
        )
    values["afn"] = OPENAI_GPT_ACTIVATIONS[config.hidden_act]


OPENAI_GPT = Layout(
    name="openai-gpt",
    prefix="transformer.",
    modules=(
        Module("transformer.tokens_embed", ("model.embed_tokens",)),
        Module("transformer.positions_embed", ("model.embed_positions",)),
        *gpt_blocks(transposed=True),
        LM_HEAD,
    ),
    fields=GPT_FIELDS,
    fixed={**GPT_FIXED, "norm_position": "post"},
    initial={"residual_init": "none", "use_bias": True},
    has_biases=True,
    bound=lambda config: {
        **one_key_head_per_head(config),
        **full_attention(config),
        "intermediate_size": 4 * config.hidden_size,
    },
    read_config=read_openai_gpt,
    write_config=write_openai_gpt,
    ignored=r"transformer\.(h\.\d+\.attn\.bias|position_ids)",
)

GPT2 = Layout(
    name="gpt2",
    prefix="transformer.",
    modules=(*GPT2_ENDS, *gpt_blocks(transposed=True)),
    fields={
        **GPT_FIELDS,
        **same("use_cache"),
        "hidden_act": "activation_function",
        "intermediate_size": "n_inner",
    },
    fixed={**GPT_FIXED, "norm_position": "pre"},
    required={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
    initial={"residual_init": "depth_scaled", "use_bias": True},
    has_biases=True,
    bound=lambda config: {**one_key_head_per_head(config), **full_attention(config)},
    ignored=r"transformer\.h\.\d+\.attn\.(bias|masked_bias)",
)

NANOGPT_MODULES = (*GPT2_ENDS, *gpt_blocks(transposed=False))


# --------------------------------------------------------------------------------------------------------- GPT-Neo

NEO_LAYER_TYPES = {"global": "full_attention", "local": "sliding_attention"}


def read_gpt_neo(config: PreTrainedConfig, values: dict[str, Any]) -> None:
    values["layer_types"] = [NEO_LAYER_TYPES[name] for name in config.attention_layers]
    values["sliding_window"] = config.window_size


def write_gpt_neo(config: GPTConfig, values: dict[str, Any]) -> None:
    names = {ours: theirs for theirs, ours in NEO_LAYER_TYPES.items()}
    values["attention_types"] = [[[names[layer_type]], 1] for layer_type in config.layer_types]
    if config.sliding_window is not None:
        # Both count the current position: key j is seen from position i when i - window < j <= i.
        values["window_size"] = config.sliding_window


def neo_projections(config: GPTConfig, names: str) -> list[str]:
    return [f"transformer.h.{i}.attn.attention.{name}_proj" for i in range(config.num_hidden_layers) for name in names]


def read_gpt_neo_tensors(config: GPTConfig, tensors: Tensors) -> None:
    """Scale the queries by sqrt(d), since GPT-Neo's scores are not divided by it.

    The scaling is exact where sqrt(head_dim) is a power of two, as in the sizes of 125M (64); elsewhere each weight is
    rounded once.
    """
    for name in neo_projections(config, "q"):
        if f"{name}.weight" in tensors:
            tensors[f"{name}.weight"] = tensors[f"{name}.weight"] * config.head_dim**0.5


def write_gpt_neo_tensors(config: GPTConfig, tensors: Tensors) -> None:
    for name in neo_projections(config, "qkv"):
        bias = tensors.pop(f"{name}.bias")
        if bias.any():
            raise CannotExpressError(
                "gpt_neo", "qkv_bias", True, f"{name} has none, and this model's reaches {bias.abs().max().item():.3g}"
            )
    for name in neo_projections(config, "q"):
        tensors[f"{name}.weight"] = tensors[f"{name}.weight"] / config.head_dim**0.5


NEO_LAYER = "transformer.h.{}"
GPT_NEO = Layout(
    name="gpt_neo",
    prefix="transformer.",
    modules=(
        *GPT2_ENDS,
        Module(f"{NEO_LAYER}.ln_1", (f"{LAYER}.input_layernorm",)),
        *(Module(f"{NEO_LAYER}.attn.attention.{n}_proj", (f"{LAYER}.self_attn.{n}_proj",)) for n in "qkv"),
        Module(f"{NEO_LAYER}.attn.attention.out_proj", (f"{LAYER}.self_attn.o_proj",)),
        Module(f"{NEO_LAYER}.ln_2", (f"{LAYER}.post_attention_layernorm",)),
        Module(f"{NEO_LAYER}.mlp.c_fc", (f"{LAYER}.mlp.up_proj",)),
        Module(f"{NEO_LAYER}.mlp.c_proj", (f"{LAYER}.mlp.down_proj",)),
    ),
    fields={
        **COMMON_FIELDS,
        **same("hidden_size", "intermediate_size", "max_position_embeddings", "use_cache"),
        **same("attention_dropout", "resid_dropout", "classifier_dropout"),
        "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads",
        "hidden_act": "activation_function",
        "norm_eps": "layer_norm_epsilon",
        "embd_dropout": "embed_dropout",
    },
    fixed={**GPT_FIXED, "norm_position": "pre"},
    initial={"residual_init": "none", "use_bias": True, "qkv_bias": False},
    has_biases=True,
    bound=one_key_head_per_head,
    read_config=read_gpt_neo,
    write_config=write_gpt_neo,
    read_tensors=read_gpt_neo_tensors,
    write_tensors=write_gpt_neo_tensors,
    ignored=r"transformer\.h\.\d+\.attn\.attention\.(bias|masked_bias)",
)


# ------------------------------------------------------------------------------------------------- Llama and Qwen3

LLAMA_MODULES = (
    "model.embed_tokens",
    *(f"{LAYER}.self_attn.{name}_proj" for name in "qkvo"),
    *(f"{LAYER}.mlp.{name}_proj" for name in ("gate", "up", "down")),
    f"{LAYER}.input_layernorm",
    f"{LAYER}.post_attention_layernorm",
    "model.norm",
    "lm_head",
)
QWEN3_MODULES = (*LLAMA_MODULES, f"{LAYER}.self_attn.q_norm", f"{LAYER}.self_attn.k_norm")
LLAMA_FIELDS = {
    **COMMON_FIELDS,
    **same("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"),
    **same("hidden_act", "max_position_embeddings", "rope_parameters", "attention_dropout", "use_cache"),
    "norm_eps": "rms_norm_eps",
}
LLAMA_FIXED = {
    "norm_position": "pre",
    "norm_type": "rmsnorm",
    "position_embedding_type": "rope",
    "mlp_type": "glu",
    "use_bias": False,
    "qkv_bias": False,
    "attention_sinks": False,
    "is_causal": True,
}


def read_llama(config: PreTrainedConfig, values: dict[str, Any]) -> None:
    # transformers makes any decoder bidirectional that has this key in its config.json, though no config class has it.
    values["is_causal"] = config.to_dict().get("is_causal", True)


def write_llama(config: GPTConfig, values: dict[str, Any]) -> None:
    if config.hidden_size % config.num_attention_heads:
        raise CannotExpressError(
            "llama", "hidden_size", config.hidden_size, f"it is a multiple of num_attention_heads={config.num_attention_heads}"
        )


def read_qwen3(config: PreTrainedConfig, values: dict[str, Any]) -> None:
    read_llama(config, values)
    values["layer_types"], values["sliding_window"] = list(config.layer_types), config.sliding_window


def write_qwen3(config: GPTConfig, values: dict[str, Any]) -> None:
    values["layer_types"] = list(config.layer_types)
    values["use_sliding_window"] = "sliding_attention" in config.layer_types
    values["sliding_window"] = config.sliding_window


LLAMA = Layout(
    name="llama",
    prefix="model.",
    modules=tuple(Module(name, (name,)) for name in LLAMA_MODULES),
    fields=LLAMA_FIELDS,
    fixed={**LLAMA_FIXED, "qk_norm": False},
    required={"attention_bias": False, "mlp_bias": False},
    initial={"residual_init": "none"},
    bound=full_attention,
    read_config=read_llama,
    write_config=write_llama,
    ignored=r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",
)
QWEN3 = Layout(
    name="qwen3",
    prefix="model.",
    modules=tuple(Module(name, (name,)) for name in QWEN3_MODULES),
    fields=LLAMA_FIELDS,
    fixed={**LLAMA_FIXED, "qk_norm": True},
    required={"attention_bias": False},
    initial={"residual_init": "none"},
    read_config=read_qwen3,
    write_config=write_qwen3,
)


# --------------------------------------------------------------------------------------------------------- gpt-oss

EXPERTS = f"{LAYER}.mlp.experts"


def read_gpt_oss(config: PreTrainedConfig, values: dict[str, Any]) -> None:
    read_qwen3(config, values)
    # There the loss is added only for who asks for the scores.
    values["router_aux_loss_coef"] = config.router_aux_loss_coef if config.output_router_logits else 0.0


def write_gpt_oss(config: GPTConfig, values: dict[str, Any]) -> None:
    values["layer_types"], values["sliding_window"] = list(config.layer_types), config.sliding_window
    values["router_aux_loss_coef"] = float(config.router_aux_loss_coef)
    values["output_router_logits"] = config.router_aux_loss_coef > 0


def read_gpt_oss_tensors(config: GPTConfig, tensors: Tensors) -> None:
    """Make matrices `(output, input)` of `(input, output)`, with all gates before all others, where they alternate in gpt-oss; and
    numbers of 16 bits of those of 4 with a scale for every 32 of them, in which it was published (MXFP4)."""
    for i in range(config.num_hidden_layers):
        name = EXPERTS.format(i)
        for key in (f"{name}.gate_up_proj", f"{name}.down_proj"):
            if f"{key}_blocks" in tensors and f"{key}_scales" in tensors:
                tensors[key] = convert_moe_packed_tensors(tensors.pop(f"{key}_blocks"), tensors.pop(f"{key}_scales"))
        for key in (f"{name}.gate_up_proj", f"{name}.down_proj"):
            if key in tensors:
                tensors[key] = tensors[key].mT
        for key in (f"{name}.gate_up_proj", f"{name}.gate_up_proj_bias"):
            if key in tensors:
                tensors[key] = torch.cat((tensors[key][:, ::2], tensors[key][:, 1::2]), dim=1)


def write_gpt_oss_tensors(config: GPTConfig, tensors: Tensors) -> None:
    for i in range(config.num_hidden_layers):
        name = EXPERTS.format(i)
        for key in (f"{name}.gate_up_proj", f"{name}.gate_up_proj_bias"):
            tensors[key] = torch.stack(tensors[key].chunk(2, dim=1), dim=2).flatten(1, 2)
        for key in (f"{name}.gate_up_proj", f"{name}.down_proj"):
            tensors[key] = tensors[key].mT.contiguous()


GPT_OSS = Layout(
    name="gpt_oss",
    prefix="model.",
    modules=(
        *(Module(name, (name,)) for name in LLAMA_MODULES if ".mlp." not in name),
        Module(f"{LAYER}.self_attn.sinks", (f"{LAYER}.self_attn.sinks",), kinds=("",)),
        Module(f"{LAYER}.mlp.router", (f"{LAYER}.mlp.router",)),
        *(Module(f"{EXPERTS}.{name}", (f"{EXPERTS}.{name}",), kinds=("", "_bias")) for name in ("gate_up_proj", "down_proj")),
    ),
    fields={
        **{ours: theirs for ours, theirs in LLAMA_FIELDS.items() if ours != "hidden_act"},
        **same("num_experts_per_tok"),
        "num_experts": "num_local_experts",
    },
    fixed={
        **LLAMA_FIXED,
        "mlp_type": "moe",
        "hidden_act": "quick_gelu",
        "qk_norm": False,
        "use_bias": True,
        "qkv_bias": True,
        "attention_sinks": True,
    },
    required={"attention_bias": True, "swiglu_alpha": 1.702, "swiglu_limit": 7.0},
    initial={"residual_init": "none"},
    read_config=read_gpt_oss,
    write_config=write_gpt_oss,
    read_tensors=read_gpt_oss_tensors,
    write_tensors=write_gpt_oss_tensors,
    quantization="mxfp4",
)

# In the order in which an export without a name tries them.
LAYOUTS = {layout.name: layout for layout in (OPENAI_GPT, GPT2, LLAMA, QWEN3, GPT_NEO, GPT_OSS)}
