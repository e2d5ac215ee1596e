"""Names for published and for our own sets of config values. A preset is data: nothing else in the package knows its name.

Sources: GPT-1, Radford et al. 2018, section 4.1; GPT-2, Radford et al. 2019, table 2; GPT-3, Brown et al. 2020, table 2.1.
The modern presets are ours: rotary positions, RMSNorm, q/k norm, gated SiLU and grouped-query attention, kept within
what `Qwen3Config` can express, so that every engine that runs Qwen3 runs them after an export. gpt-oss: OpenAI 2025, section 2 and
table 1, and the config.json of both checkpoints; `oss-8m` and `oss-30m` are ours, kept within what `GptOssConfig` can express.
"""

import math
from typing import Any

from .errors import did_you_mean
from .modeling.configuration_hf_gpt import GPTConfig


_GPT1 = {
    "vocab_size": 40478,
    "max_position_embeddings": 512,
    "norm_position": "post",
    "residual_init": "none",
    "attention_dropout": 0.1,
    "embd_dropout": 0.1,
    "resid_dropout": 0.1,
    "classifier_dropout": 0.1,
}
_GPT2 = {
    "attention_dropout": 0.1,
    "embd_dropout": 0.1,
    "resid_dropout": 0.1,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
}
_MODERN = {
    "norm_type": "rmsnorm",
    "norm_eps": 1e-6,
    "position_embedding_type": "rope",
    "mlp_type": "glu",
    "hidden_act": "silu",
    "qk_norm": True,
    "use_bias": False,
    "residual_init": "depth_scaled",
}

_OSS = {
    "norm_type": "rmsnorm",
    "norm_eps": 1e-5,
    "position_embedding_type": "rope",
    "mlp_type": "moe",
    "hidden_act": "quick_gelu",
    "num_experts_per_tok": 4,
    "attention_sinks": True,
    "sliding_window": 128,
    "tie_word_embeddings": False,
}
# Trained on 4,096 positions, and stretched to 32 times as many (Peng et al. 2023).
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 150_000.0,
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}

# The width of the band is not in the paper; 256 is what GPT-Neo chose, and an assumption here.
GPT3_SLIDING_WINDOW = 256


def small_range(width: int) -> float:
    """GPT-2's 0.02 up to a width of 1,000, then sqrt(2 / (5 width)) (Nguyen and Salazar 2019, section 3.1).

    It keeps the spread of the first logits, width * range^2, from growing with the width: at 12,288 they would cost 2.5 nats. GPT-3's
    paper does not say; GPT-NeoX takes this, and OPT 0.006, which is its value at 12,288.
    """
    return min(0.02, math.sqrt(0.4 / width))


def _size(width: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    return {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, **more}


def _gpt3(width: int, layers: int, heads: int, head_dim: int) -> dict[str, Any]:
    # "Alternating dense and locally banded sparse attention patterns", Brown et al. 2020, section 2.1.
    layer_types = ["full_attention", "sliding_attention"] * (layers // 2)
    size = _size(width, layers, heads, head_dim=head_dim, layer_types=layer_types)
    return {
        **size,
        "initializer_range": small_range(width),
        "max_position_embeddings": 2048,
        "sliding_window": GPT3_SLIDING_WINDOW,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
    }


def _oss(width: int, layers: int, heads: int, experts: int, **more: Any) -> dict[str, Any]:
    size = _size(
        width, layers, heads, num_experts=experts, layer_types=["sliding_attention", "full_attention"] * (layers // 2)
    )
    return {**_OSS, **size, "initializer_range": small_range(width), **more}


def _published_oss(layers: int, experts: int) -> dict[str, Any]:
    sizes = {"num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 2880, "vocab_size": 201_088}
    ids = {"bos_token_id": 199_998, "eos_token_id": 200_002, "pad_token_id": 199_999}
    return _oss(2880, layers, 64, experts, **sizes, **ids, max_position_embeddings=131_072, rope_parameters=_YARN)


def _small_oss(width: int, layers: int, heads: int, experts: int, inner: int) -> dict[str, Any]:
    sizes = {"num_key_value_heads": 2, "intermediate_size": inner, "vocab_size": 8192, "tie_word_embeddings": True}
    return _oss(width, layers, heads, experts, **sizes, router_aux_loss_coef=0.01)


PRESETS: dict[str, dict[str, Any]] = {
    "gpt1": {**_GPT1, **_size(768, 12, 12)},
    "gpt2": {**_GPT2, **_size(768, 12, 12)},
    "gpt2-medium": {**_GPT2, **_size(1024, 24, 16)},
    "gpt2-large": {**_GPT2, **_size(1280, 36, 20)},
    "gpt2-xl": {**_GPT2, **_size(1600, 48, 25)},
    "gpt3-125m": _gpt3(768, 12, 12, 64),
    "gpt3-350m": _gpt3(1024, 24, 16, 64),
    "gpt3-760m": _gpt3(1536, 24, 16, 96),
    "gpt3-1.3b": _gpt3(2048, 24, 16, 128),
    "gpt3-2.7b": _gpt3(2560, 32, 32, 80),
    "gpt3-6.7b": _gpt3(4096, 32, 32, 128),
    "gpt3-13b": _gpt3(5140, 40, 40, 128),
    "gpt3-175b": _gpt3(12288, 96, 96, 128),
    # At the 8,192 entries of the recipes' tokenizer, tied: 5.0 and 14.2 million parameters.
    "modern-5m": {**_MODERN, **_size(256, 4, 4, num_key_value_heads=2, intermediate_size=704, vocab_size=8192)},
    "modern-15m": {**_MODERN, **_size(384, 7, 6, num_key_value_heads=2, intermediate_size=1024, vocab_size=8192)},
    # At GPT-2's vocabulary.
    "modern-124m": {**_MODERN, **_size(768, 12, 12, num_key_value_heads=4, intermediate_size=2432)},
    "modern-350m": {**_MODERN, **_size(1024, 24, 16, num_key_value_heads=4, intermediate_size=3200)},
    "modern-1b": {
        **_MODERN,
        **_size(2048, 18, 16, num_key_value_heads=8, intermediate_size=6144),
        "initializer_range": small_range(2048),
    },
    "gpt-oss-20b": _published_oss(24, 32),
    "gpt-oss-120b": _published_oss(36, 128),
    # At the 8,192 entries of the recipes' tokenizer, tied: 7.6 and 30.4 million parameters, of which 5.3 and 11.8 are active.
    "oss-8m": _small_oss(256, 4, 4, 8, 192),
    "oss-30m": _small_oss(384, 6, 6, 16, 224),
}

# Training FLOPs of each size on 300 billion tokens, as published: Brown et al. 2020, table D.1, which counts 6 for each parameter.
PUBLISHED_TOKENS = 300e9
PUBLISHED_FLOPS = {
    "gpt3-125m": 2.25e20,
    "gpt3-350m": 6.41e20,
    "gpt3-760m": 1.37e21,
    "gpt3-1.3b": 2.38e21,
    "gpt3-2.7b": 4.77e21,
    "gpt3-6.7b": 1.20e22,
    "gpt3-13b": 2.31e22,
    "gpt3-175b": 3.14e23,
}


def list_presets() -> list[str]:
    """Return the names that `preset` knows, by generation and size."""
    return list(PRESETS)


def preset(name: str, **overrides: Any) -> GPTConfig:
    """Return the config of a published or of one of our own models, with any field overridden.

    Parameters, counted with a tied output matrix: GPT-1 116.5M (published as 117M); GPT-2 124.4M, 354.8M, 774.0M and
    1557.6M, the published sizes; GPT-3 125.2M, 355.9M, 760.3M, 1315.7M, 2651.6M, 6658.4M, 12936.5M (from the printed width of
    5140 with 40 heads of 128) and 174604.3M against the rounded 125M, 350M, 760M, 1.3B, 2.7B, 6.7B, 13.0B and 175.0B of
    table 2.1. The table prints 24 heads of 128 for a width of 2048 in its 1.3B row; with them the model would have
    1.52B parameters, so that row has the 16 heads here that its width and its size ask for. gpt-oss, with an output matrix of its own:
    20.91B and 116.83B, of which 3.61B and 5.13B are active, which counts the output matrix and the experts that a token goes through,
    and no table (OpenAI 2025, table 1). Our `oss-8m` has 7.6M, 5.3M of them active, and `oss-30m` 30.4M and 11.8M.

    Args:
        name (`str`): One of `list_presets()`.
        overrides: Fields of `GPTConfig`.

    Returns:
        `GPTConfig`: A new config.

    Raises:
        ValueError: an unknown name, an unknown field, or fields that contradict each other.
    """
    if name not in PRESETS:
        raise ValueError(f"preset={name!r} is unknown.{did_you_mean(name, PRESETS)} Known presets: {', '.join(PRESETS)}.")
    fields = set(GPTConfig.__dataclass_fields__) | {"num_labels"}
    for key in overrides:
        if key not in fields:
            hint = did_you_mean(key, fields, " See `help(hf_gpt.GPTConfig)` for the fields.")
            raise ValueError(f"{key!r} is not a field of GPTConfig.{hint}")
    values = {**PRESETS[name], **overrides}
    layers = overrides.get("num_hidden_layers")
    # Of another type, it is the config's to refuse.
    if isinstance(layers, int) and "layer_types" not in overrides and "layer_types" in values:
        pattern = values["layer_types"]
        values["layer_types"] = [pattern[i % len(pattern)] for i in range(values["num_hidden_layers"])]
    entries = values.get("vocab_size", GPTConfig.vocab_size)
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        # Of the published vocabulary, which a smaller one has no such token of.
        if key in values and key not in overrides and isinstance(entries, int) and values[key] >= entries:
            values.pop(key)
    if overrides.keys() & {"hidden_size", "num_attention_heads"} and "head_dim" not in overrides:
        values.pop("head_dim", None)
    return GPTConfig(**values)
