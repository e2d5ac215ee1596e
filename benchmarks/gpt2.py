"""GPT-2 of any size, as transformers has it and as we do: no dropout, no end-of-text token, no cache."""

from typing import Any, NamedTuple

from transformers import GPT2Config, GPT2LMHeadModel

import hf_gpt


NO_ENDS = dict.fromkeys(("bos_token_id", "eos_token_id"))
STOCK_NO_DROPOUT = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
NO_DROPOUT = dict.fromkeys(("attention_dropout", "embd_dropout", "resid_dropout"), 0.0)


class Sizes(NamedTuple):
    width: int
    layers: int
    heads: int
    vocabulary: int
    length: int = 1024


def stock_gpt2(sizes: Sizes, **more: Any) -> Any:
    config: dict[str, Any] = {
        "n_embd": sizes.width,
        "n_layer": sizes.layers,
        "n_head": sizes.heads,
        "n_positions": sizes.length,
    }
    config |= {"vocab_size": sizes.vocabulary, **STOCK_NO_DROPOUT, **NO_ENDS, "use_cache": False, **more}
    return GPT2LMHeadModel(GPT2Config(**config))


def our_config(sizes: Sizes, preset: str = "gpt2", **more: Any) -> hf_gpt.GPTConfig:
    """Return a preset at that size; width and heads are the preset's own where they are 0."""
    config: dict[str, Any] = {"num_hidden_layers": sizes.layers, "vocab_size": sizes.vocabulary}
    config["max_position_embeddings"] = sizes.length
    config |= {"hidden_size": sizes.width, "num_attention_heads": sizes.heads} if sizes.width else {}
    return hf_gpt.preset(preset, **config, **NO_DROPOUT, **NO_ENDS, use_cache=False, **more)


def our_gpt2(sizes: Sizes, **more: Any) -> Any:
    return hf_gpt.GPTForCausalLM(our_config(sizes, **more))
