"""Tiny stock models of `transformers` with random weights, one for each architecture that ours has to equal."""

import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoConfig,
    GptOssConfig,
    LlamaConfig,
    OpenAIGPTConfig,
    PreTrainedModel,
    Qwen3Config,
)

from hf_gpt.conversion import LAYOUTS
from hf_gpt.conversion.translation import tensors_to_ours


VOCABULARY = 61
IDS = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2}
GPT = {**IDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 48}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
LLAMA = {
    **IDS,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    # Not hidden_size / num_attention_heads, so that no one can mistake the one for the other.
    "head_dim": 16,
    "max_position_embeddings": 48,
}
NEO = {**IDS, "hidden_size": 32, "num_heads": 2, "max_position_embeddings": 48, "window_size": 5}

CONFIGS = {
    "openai-gpt": lambda: OpenAIGPTConfig(**GPT, **NO_DROPOUT),
    "gpt2": lambda: GPT2Config(**GPT, **NO_DROPOUT, n_inner=56),
    "gpt2-untied": lambda: GPT2Config(**GPT, **NO_DROPOUT, tie_word_embeddings=False),
    "gpt_neo": lambda: GPTNeoConfig(**NEO, num_layers=4, attention_types=[[["global", "local"], 2]]),
    "llama": lambda: LlamaConfig(**LLAMA),
    "llama-tied": lambda: LlamaConfig(**LLAMA, tie_word_embeddings=True),
    "llama-scaled": lambda: LlamaConfig(
        **LLAMA,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    ),
    "qwen3": lambda: Qwen3Config(**LLAMA),
    "qwen3-tied": lambda: Qwen3Config(**LLAMA, tie_word_embeddings=True),
    "qwen3-sliding": lambda: Qwen3Config(
        **LLAMA, use_sliding_window=True, sliding_window=5, layer_types=["full_attention", "sliding_attention"]
    ),
}
# Of three experts a token goes through two; angles are scaled beyond 16 positions; the window is shorter than the rows.
OSS = {
    **LLAMA,
    "num_local_experts": 3,
    "num_experts_per_tok": 2,
    "sliding_window": 5,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 150000.0,
        "factor": 4.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": False,
        "original_max_position_embeddings": 16,
    },
    "router_aux_loss_coef": 0.0,
}
CONFIGS |= {
    "gpt_oss": lambda: GptOssConfig(**OSS),
    "gpt_oss-tied": lambda: GptOssConfig(**OSS, tie_word_embeddings=True),
    "gpt_oss-dense": lambda: GptOssConfig(
        **OSS | {"num_experts_per_tok": 3, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        layer_types=["full_attention"] * 2,
    ),
    # Of one layer: over several, transformers balances the sum, and we each.
    "gpt_oss-balanced": lambda: GptOssConfig(
        **OSS | {"num_hidden_layers": 1, "router_aux_loss_coef": 0.1}, output_router_logits=True
    ),
}


def reference(name: str, seed: int = 0, **changes) -> PreTrainedModel:
    """The stock model of that name; its weights are far larger than at the start of training, so that errors show."""
    config = CONFIGS[name]()
    for field, value in changes.items():
        setattr(config, field, value)
    # GPT-1 and GPT-Neo have no other, and one reference for both of our implementations is the stricter test.
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = 0.2 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise if parameter.ndim > 1 else parameter + noise)
    return model


def to_our_names(model: PreTrainedModel, tensors: dict, expected: dict) -> dict:
    """Tensors of a stock model, as its gradients, by our names."""
    rules, tensors = LAYOUTS[model.config.model_type], dict(tensors)
    if rules.name == "gpt_oss":
        # There it changes places only, and no number.
        rules.read_tensors(model.config, tensors)
    return tensors_to_ours(rules.modules, model.config.num_hidden_layers, tensors, expected)


def random_ids(batch: int = 3, length: int = 17, seed: int = 1) -> torch.LongTensor:
    return torch.randint(3, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))


def padded_mask(side: str, batch: int = 3, length: int = 17) -> torch.LongTensor:
    """Rows of 17, 13 and 9 tokens, padded on `side` (`none`, `left` or `right`)."""
    mask = torch.ones(batch, length, dtype=torch.long)
    for row in range(batch):
        padding = 4 * row
        if side == "left":
            mask[row, :padding] = 0
        elif side == "right":
            mask[row, length - padding :] = 0
    return mask


def positions_of(mask: torch.LongTensor) -> torch.LongTensor:
    return (mask.cumsum(-1) - 1).clamp(min=0)
