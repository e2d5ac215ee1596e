"""One file for llama.cpp and what is built on it: weights, config and tokenizer in GGUF."""

import json
from pathlib import Path
from typing import Any

import gguf
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..modeling.configuration_hf_gpt import GPTConfig
from ..modeling.modeling_hf_gpt import GPTForCausalLM
from .checkpoints import TOKENIZER_FILES
from .layouts import EXPERTS, GPT2, GPT_OSS, LAYER, LLAMA, QUERY_KEY_VALUE, QWEN3, CannotExpressError, Layout, Module
from .translation import config_to_theirs, tensors_of, tensors_to_theirs, zero_biases


BLOCK = "blk.{}"
SHARED_MODULES = (
    Module("token_embd", ("model.embed_tokens",)),
    Module("output_norm", ("model.norm",)),
    # Absent when it is the token embedding.
    Module("output", ("lm_head",)),
    Module(f"{BLOCK}.attn_norm", (f"{LAYER}.input_layernorm",)),
    Module(f"{BLOCK}.attn_output", (f"{LAYER}.self_attn.o_proj",)),
)
DENSE_MODULES = (
    *SHARED_MODULES,
    Module(f"{BLOCK}.ffn_norm", (f"{LAYER}.post_attention_layernorm",)),
    Module(f"{BLOCK}.ffn_up", (f"{LAYER}.mlp.up_proj",)),
    Module(f"{BLOCK}.ffn_down", (f"{LAYER}.mlp.down_proj",)),
)
SEPARATE = tuple(Module(f"{BLOCK}.attn_{name}", (f"{LAYER}.self_attn.{name}_proj",)) for name in "qkv")
LLAMA_MODULES = (
    *DENSE_MODULES,
    *SEPARATE,
    Module(f"{BLOCK}.ffn_gate", (f"{LAYER}.mlp.gate_proj",)),
)
MODULES = {
    "gpt2": (
        *DENSE_MODULES,
        Module("position_embd", ("model.embed_positions",)),
        Module(f"{BLOCK}.attn_qkv", QUERY_KEY_VALUE),
    ),
    "llama": LLAMA_MODULES,
    "qwen3": (
        *LLAMA_MODULES,
        Module(f"{BLOCK}.attn_q_norm", (f"{LAYER}.self_attn.q_norm",)),
        Module(f"{BLOCK}.attn_k_norm", (f"{LAYER}.self_attn.k_norm",)),
    ),
    "gpt-oss": (
        *SHARED_MODULES,
        *SEPARATE,
        Module(f"{BLOCK}.attn_sinks", (f"{LAYER}.self_attn.sinks",)),
        Module(f"{BLOCK}.post_attention_norm", (f"{LAYER}.post_attention_layernorm",)),
        Module(f"{BLOCK}.ffn_gate_inp", (f"{LAYER}.mlp.router",)),
        *(Module(f"{BLOCK}.ffn_{name}_exps", (f"{EXPERTS}.{name}",)) for name in ("gate", "up", "down")),
    ),
}
FILE_TYPES = {
    torch.float32: gguf.LlamaFileType.ALL_F32,
    torch.float16: gguf.LlamaFileType.MOSTLY_F16,
    torch.bfloat16: gguf.LlamaFileType.MOSTLY_BF16,
}
# Of the types that `gguf.quants` writes, those for matrices of any values. Each row is cut into blocks with a scale of their own.
QUANTIZED = {
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q5_1": (gguf.GGMLQuantizationType.Q5_1, gguf.LlamaFileType.MOSTLY_Q5_1),
    "q5_0": (gguf.GGMLQuantizationType.Q5_0, gguf.LlamaFileType.MOSTLY_Q5_0),
    "q4_1": (gguf.GGMLQuantizationType.Q4_1, gguf.LlamaFileType.MOSTLY_Q4_1),
    "q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}
BLOCK_SIZE = 32
# What llama.cpp computes for each architecture, whatever a file might say.
ACTIVATIONS = {"gpt2": "gelu_new", "llama": "silu", "qwen3": "silu", "gpt_oss": "quick_gelu"}
# What llama.cpp computes of YaRN, beside what a file names of it: it rounds the first and the last dimension of the ramp.
YARN = {
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": True,
    "partial_rotary_factor": 1.0,
    "attention_factor": None,
    "mscale": None,
    "mscale_all_dim": None,
}
# What a file names of it.
NUMBERS_OF_YARN = ("factor", "original_max_position_embeddings")


def write_gguf(
    model: GPTForCausalLM,
    path: Path,
    tokenizer: PreTrainedTokenizerBase | str | Path | None = None,
    quantize: str | None = None,
) -> None:
    """Write `model` as a GGUF file of the architecture `gpt2`, `llama`, `qwen3` or `gpt-oss`, in the model's dtype or quantized.

    Args:
        model (`GPTForCausalLM`)
        path (`Path`): The file.
        tokenizer (`PreTrainedTokenizerBase`, `str` or `Path`, *optional*): A byte-level BPE, or a folder with its files. The
            file of a model without one takes and gives token ids only.
        quantize (`str`, *optional*): A type of `QUANTIZED` for the matrices of the blocks. Embeddings and output matrix have
            8 bits at the least, as llama.cpp's own quantizer leaves them more; norms, biases and positions are float32.

    Raises:
        ValueError: GGUF cannot express a config field, or the tokenizer; the message names it and its value.
    """
    if model.dtype not in FILE_TYPES:
        raise CannotExpressError("gguf", "dtype", model.dtype, "it is float32, float16 or bfloat16")
    architecture = choose_architecture(model.config)
    if quantize is not None:
        check_quantization(quantize, model.config)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_file_type(FILE_TYPES[model.dtype] if quantize is None else QUANTIZED[quantize][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_config(writer, model.config, architecture)
    add_tokenizer(writer, load_tokenizer(tokenizer), model.config)
    for name, tensor in foreign_tensors(model, architecture).items():
        add_tensor(writer, name, tensor, quantize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def choose_architecture(config: GPTConfig) -> str:
    """Return the first of `gpt2`, `llama`, `qwen3` and `gpt-oss` that is the model.

    Raises:
        ValueError: none is, or GGUF narrows the one that is.
    """
    reasons = []
    for layout in (GPT2, LLAMA, QWEN3, GPT_OSS):
        try:
            config_to_theirs(layout, config)
        except CannotExpressError as error:
            reasons.append(error.reason)
            continue
        if config.hidden_act != ACTIVATIONS[layout.name]:
            needed = f"of a {layout.name} it is {ACTIVATIONS[layout.name]!r}"
            raise CannotExpressError("gguf", "hidden_act", config.hidden_act, needed)
        check_layers(layout, config)
        return layout.name.replace("_", "-")
    raise ValueError(f"GGUF cannot express this model. {' '.join(reasons)} Keep it in its own layout with save_pretrained.")


def check_layers(layout: Layout, config: GPTConfig) -> None:
    """Raise `CannotExpressError` for windows and rotary positions that llama.cpp does not compute for that architecture."""
    is_oss, rope = layout is GPT_OSS, config.rope_parameters or {"rope_type": "default"}
    pairs = ["sliding_attention", "full_attention"] * -(-config.num_hidden_layers // 2)
    if is_oss and config.layer_types != pairs[: config.num_hidden_layers]:
        raise CannotExpressError(
            "gguf", "layer_types", config.layer_types, "of a gpt-oss every second layer is 'full_attention'"
        )
    if not is_oss and "sliding_attention" in config.layer_types:
        raise CannotExpressError("gguf", "layer_types", config.layer_types, "every layer is 'full_attention'")
    is_yarn = is_oss and rope["rope_type"] == "yarn"
    if rope["rope_type"] != "default" and not is_yarn:
        raise CannotExpressError("gguf", "rope_parameters", rope, f"rope_type is 'default'{' or yarn' if is_oss else ''}")
    for name, needed in YARN.items() if is_yarn else ():
        if rope.get(name, needed) != needed:
            raise CannotExpressError("gguf", f"rope_parameters.{name}", rope[name], f"it is {needed}")
    for name in NUMBERS_OF_YARN if is_yarn else ():
        if rope.get(name) is None:
            raise CannotExpressError("gguf", f"rope_parameters.{name}", None, "it is a number, and not left to others")


def check_quantization(quantize: str, config: GPTConfig) -> None:
    if quantize not in QUANTIZED:
        raise ValueError(
            f"quantize={quantize!r} is not a type that the package gguf writes: it is one of {', '.join(QUANTIZED)}. For others, "
            "export without it and run llama.cpp's own llama-quantize on the file."
        )
    widths = {
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_attention_heads * head_dim": config.num_attention_heads * config.head_dim,
    }
    for name, width in widths.items():
        if width % BLOCK_SIZE:
            raise CannotExpressError("gguf", name, width, f"with quantize={quantize!r} it is a multiple of {BLOCK_SIZE}")


def add_config(writer: gguf.GGUFWriter, config: GPTConfig, architecture: str) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    if architecture == "gpt2":
        writer.add_layer_norm_eps(config.norm_eps)
        return
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.norm_eps)
    if architecture == "gpt-oss":
        add_mixture(writer, config)


def add_mixture(writer: gguf.GGUFWriter, config: GPTConfig) -> None:
    writer.add_expert_count(config.num_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_expert_feed_forward_length(config.intermediate_size)
    writer.add_sliding_window(config.sliding_window)
    rope = config.rope_parameters
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def split_experts(ours: dict[str, torch.Tensor], number_of_layers: int) -> None:
    """Give experts and sinks, in place, a module's names, and gates and what they are multiplied with a tensor each."""
    for i in range(number_of_layers):
        sinks, experts = f"{LAYER.format(i)}.self_attn.sinks", EXPERTS.format(i)
        ours[f"{sinks}.weight"] = ours.pop(sinks)
        for kind, ending in (("weight", ""), ("bias", "_bias")):
            gate, up = ours.pop(f"{experts}.gate_up_proj{ending}").chunk(2, dim=1)
            ours[f"{experts}.gate.{kind}"], ours[f"{experts}.up.{kind}"] = gate.contiguous(), up.contiguous()
            ours[f"{experts}.down.{kind}"] = ours.pop(f"{experts}.down_proj{ending}")


def foreign_tensors(model: GPTForCausalLM, architecture: str) -> dict[str, torch.Tensor]:
    config = model.config
    ours = tensors_of(model)
    # A gpt-oss has to have an output matrix of its own there.
    if config.tie_word_embeddings and architecture != "gpt-oss":
        del ours["lm_head.weight"]
    if architecture == "gpt-oss":
        split_experts(ours, config.num_hidden_layers)
    if architecture == "gpt2":
        ours |= zero_biases(ours)
    if architecture == "llama":
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        for i in range(config.num_hidden_layers):
            for name, number in heads.items():
                name = f"{LAYER.format(i)}.self_attn.{name}.weight"
                ours[name] = interleave_pairs(ours[name], number)
    return tensors_to_theirs(MODULES[architecture], config.num_hidden_layers, ours)


def add_tensor(writer: gguf.GGUFWriter, name: str, tensor: torch.Tensor, quantize: str | None) -> None:
    # llama.cpp computes norms, biases, positions and the scores of experts in float32 and asks for them so.
    if tensor.ndim == 1 or name.endswith((".bias", "ffn_gate_inp.weight")) or name.startswith("position_embd"):
        writer.add_tensor(name, tensor.float().numpy())
    elif quantize is not None:
        kind = QUANTIZED["q8_0" if name.startswith(("token_embd", "output")) else quantize][0]
        writer.add_tensor(name, gguf.quants.quantize(tensor.float().numpy(), kind), raw_dtype=kind)
    elif tensor.dtype == torch.bfloat16:
        # numpy has no bfloat16: the bytes are given with their type beside them.
        data = tensor.contiguous().view(torch.uint8).numpy()
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.BF16)
    else:
        writer.add_tensor(name, tensor.numpy())


def interleave_pairs(weight: torch.Tensor, number_of_heads: int) -> torch.Tensor:
    """Reorder the rows of each head of `weight` `(heads * d, hidden_size)`: llama.cpp's `llama` rotates the pair
    (x_2i, x_2i+1), where we rotate (x_i, x_i+d/2)."""
    return weight.reshape(number_of_heads, 2, -1, weight.shape[-1]).transpose(1, 2).reshape(weight.shape)


# ------------------------------------------------------------------------------------------------------- tokenizer

# A GGUF file names the way in which text is split before BPE; llama.cpp holds the rules by these names.
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
PRE_TOKENIZERS = {
    "gpt-2": [BYTE_LEVEL],
    "smollm": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL],
}


def load_tokenizer(tokenizer: PreTrainedTokenizerBase | str | Path | None) -> PreTrainedTokenizerBase | None:
    if not isinstance(tokenizer, (str, Path)):
        return tokenizer
    if not any((Path(tokenizer) / name).is_file() for name in TOKENIZER_FILES):
        return None
    return AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)


def name_pre_tokenizer(description: dict[str, Any]) -> str:
    """llama.cpp's name for the rule of a `tokenizer.json`.

    Raises:
        ValueError: it has none that is known here.
    """
    if description["model"]["type"] != "BPE":
        raise ValueError(
            f"GGUF: the tokenizer is a {description['model']['type']}, and only a byte-level BPE can be written: leave "
            "tokenizer out, and run the model on token ids."
        )
    if description.get("normalizer"):
        raise ValueError(
            f"GGUF: the tokenizer normalises text ({description['normalizer']['type']}), which llama.cpp does not: leave "
            "tokenizer out, and run the model on token ids."
        )
    rule = description["pre_tokenizer"]
    steps = rule["pretokenizers"] if rule and rule["type"] == "Sequence" else [rule]
    # Where a token's characters lie in the text is of no meaning for its id.
    steps = [{key: value for key, value in (step or {}).items() if key != "trim_offsets"} for step in steps]
    for name, known in PRE_TOKENIZERS.items():
        if steps == known:
            return name
    raise ValueError(
        f"GGUF: llama.cpp has no rule that splits text as this tokenizer's pre_tokenizer={json.dumps(rule)} does: known are "
        f"{', '.join(PRE_TOKENIZERS)}. Leave tokenizer out, and run the model on token ids."
    )


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase | None, config: GPTConfig) -> None:
    if tokenizer is None:
        writer.add_tokenizer_model("no_vocab")
        return
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    pre_tokenizer = name_pre_tokenizer(description)
    ids = tokenizer.get_vocab()
    if max(ids.values()) >= config.vocab_size:
        raise ValueError(
            f"GGUF: the tokenizer has the id {max(ids.values())}, but the model's vocab_size={config.vocab_size}: it belongs "
            "to another model."
        )
    # Rows of the embedding beyond the tokenizer still need a name.
    tokens = [f"[PAD{i}]" for i in range(config.vocab_size)]
    types = [gguf.TokenType.UNUSED] * config.vocab_size
    for token, i in ids.items():
        tokens[i], types[i] = token, gguf.TokenType.NORMAL
    for added in description["added_tokens"]:
        types[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in description["model"]["merges"]]

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    for given, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if given is not None:
            add(given)
    sample = tokenizer("a").input_ids
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and sample[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(tokenizer.eos_token_id is not None and sample[-1] == tokenizer.eos_token_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
