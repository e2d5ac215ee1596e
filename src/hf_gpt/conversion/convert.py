"""From a foreign checkpoint to ours and back."""

import re
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from ..errors import counted, listed
from ..modeling.configuration_hf_gpt import GPTConfig
from ..modeling.modeling_hf_gpt import GPTForCausalLM
from ..planning.capacity import check_sizes
from .checkpoints import (
    NANOGPT_FILE,
    copy_tokenizer_files,
    find_folder,
    new_folder,
    read_json,
    read_pickle,
    read_tensors,
)
from .layouts import (
    LAYOUTS,
    NANOGPT_MODULES,
    CannotExpressError,
    Layout,
    Module,
    Tensors,
)
from .translation import (
    config_to_ours,
    config_to_theirs,
    tensors_of,
    tensors_on_meta,
    tensors_to_ours,
    tensors_to_theirs,
    zero_biases,
)


EXPORT_LAYOUTS = (*LAYOUTS, "gguf")


# ---------------------------------------------------------------------------------------------------------- import


def import_checkpoint(path_or_repo: str | Path, **hub_kwargs: Any) -> GPTForCausalLM:
    """Read a checkpoint of another architecture as a model of this family with the same logits.

    Reads `openai-gpt`, `gpt2`, `llama`, `qwen3`, `gpt_neo` and `gpt_oss`, with or without a head, in safetensors or in
    `pytorch_model.bin`, in one file or in shards; and nanoGPT's `ckpt.pt`. Weights keep their dtype; where a file mixes
    several, all take the one that holds each of them exactly.

    Args:
        path_or_repo (`str` or `Path`): A folder, a nanoGPT file, or a Hub repository.
        hub_kwargs: Of `huggingface_hub.snapshot_download`: `revision`, `token`, `cache_dir`, `local_files_only`.

    Returns:
        `GPTForCausalLM`: On the CPU, in evaluation mode.

    Raises:
        ValueError: there is no such checkpoint, it is damaged, incomplete or contradicts its config.json, or it asks for
            something that this family does not have. The message names the file or field, its value and a hint.
    """
    if Path(path_or_repo).is_file():
        return import_nanogpt(Path(path_or_repo))
    folder = find_folder(path_or_repo, **hub_kwargs)
    if (folder / NANOGPT_FILE).is_file() and not (folder / "config.json").is_file():
        return import_nanogpt(folder / NANOGPT_FILE)

    layout, foreign = read_foreign_config(folder)
    model = to_ours(layout, foreign, name_in_full(layout, read_tensors(folder)))
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_dict(read_json(folder / "generation_config.json"))
    return model


def import_model(foreign: PreTrainedModel) -> GPTForCausalLM:
    """Return the model of this family that computes what a `transformers` model in memory does.

    Raises:
        ValueError: as `import_checkpoint`.
    """
    model = to_ours(LAYOUTS[foreign.config.model_type], foreign.config, foreign.state_dict())
    model.generation_config = foreign.generation_config
    return model


def to_ours(layout: Layout, foreign: PreTrainedConfig, tensors: Tensors) -> GPTForCausalLM:
    config = config_to_ours(layout, foreign)
    tensors = {name: tensor for name, tensor in tensors.items() if not re.fullmatch(layout.ignored, name)}
    layout.read_tensors(config, tensors)
    return build(config, layout.modules, tensors)


def read_foreign_config(folder: Path) -> tuple[Layout, PreTrainedConfig]:
    values = read_json(folder / "config.json")
    model_type = values.get("model_type")
    if model_type == GPTConfig.model_type:
        raise ValueError(f"{folder} has model_type='hf_gpt' already: load it with GPTForCausalLM.from_pretrained.")
    if model_type not in LAYOUTS:
        raise ValueError(
            f"{folder / 'config.json'} has model_type={model_type!r}, which cannot be imported: it is one of "
            f"{', '.join(LAYOUTS)}, or nanoGPT's {NANOGPT_FILE}."
        )
    quantization = values.get("quantization_config") or {}
    if quantization and quantization.get("quant_method") != LAYOUTS[model_type].quantization:
        raise ValueError(
            f"{folder / 'config.json'} has a quantization_config: import the checkpoint that was quantized, or save it "
            "dequantized first."
        )
    values.pop("quantization_config", None)
    check_sizes(values, str(folder / "config.json"))
    try:
        return LAYOUTS[model_type], CONFIG_MAPPING[model_type].from_dict(values)
    except StrictDataclassError as error:
        raise ValueError(f"{folder / 'config.json'} is not a {model_type} config: {error}") from error


def name_in_full(layout: Layout, tensors: Tensors) -> Tensors:
    """Give the names of a checkpoint of the base model the prefix that they have below a head."""
    if any(name.startswith(layout.prefix) for name in tensors):
        return tensors
    return {name if name.startswith("lm_head.") else layout.prefix + name: tensor for name, tensor in tensors.items()}


def import_nanogpt(path: Path) -> GPTForCausalLM:
    """Read the dictionary that nanoGPT's `train.py` saves: `model_args`, and `model` with GPT-2's names on `nn.Linear`."""
    checkpoint = read_pickle(path)
    for name in ("model_args", "model"):
        if not isinstance(checkpoint.get(name), dict):
            raise ValueError(f"{path} has no dictionary {name!r}: it is not a checkpoint of nanoGPT.")
    arguments = checkpoint["model_args"]
    absent = [name for name in ("n_layer", "n_head", "n_embd", "block_size", "vocab_size") if name not in arguments]
    if absent:
        raise ValueError(f"{path} lacks {', '.join(absent)} in model_args: add what the model was trained with.")
    dropout = arguments.get("dropout", 0.0)
    config = GPTConfig(
        vocab_size=arguments["vocab_size"],
        hidden_size=arguments["n_embd"],
        num_hidden_layers=arguments["n_layer"],
        num_attention_heads=arguments["n_head"],
        max_position_embeddings=arguments["block_size"],
        use_bias=arguments.get("bias", True),
        hidden_act="gelu",
        attention_dropout=dropout,
        embd_dropout=dropout,
        resid_dropout=dropout,
    )
    # torch.compile puts this before every name of the module that it wraps.
    tensors = {name.removeprefix("_orig_mod."): tensor for name, tensor in checkpoint["model"].items()}
    return build(config, NANOGPT_MODULES, {n: tensor for n, tensor in tensors.items() if not re.search(r"\.attn\.bias$", n)})


def build(config: GPTConfig, modules: tuple[Module, ...], tensors: Tensors) -> GPTForCausalLM:
    """Return the model of `config` with foreign `tensors`, all of which must find a place."""
    if config.num_hidden_layers > len(tensors):
        raise ValueError(
            f"num_hidden_layers={config.num_hidden_layers}, but the checkpoint has {counted(len(tensors), 'tensors')}: its "
            "config is another's."
        )
    expected = tensors_on_meta(config)
    if config.tie_word_embeddings:
        del expected["lm_head.weight"]
        head = tensors.pop("lm_head.weight", None)
    ours = tensors_to_ours(modules, config.num_hidden_layers, tensors, expected)
    if config.tie_word_embeddings and head is not None and not torch.equal(head, ours["model.embed_tokens.weight"]):
        raise ValueError(
            "config.json has tie_word_embeddings=True, but lm_head.weight differs from the token embedding: set "
            "tie_word_embeddings to false there."
        )
    if tensors:
        raise ValueError(
            f"{counted(len(tensors), 'tensors have')} no place in the model, among them {', '.join(sorted(tensors)[:3])}: config.json "
            "belongs to another checkpoint, or the checkpoint has a head that is not a language model's."
        )
    broken = [name for name, tensor in ours.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise ValueError(f"the weight {broken[0]} is not finite: the checkpoint is damaged.")
    dtype = reduce(torch.promote_types, {tensor.dtype for tensor in ours.values()})
    return GPTForCausalLM.from_pretrained(None, config=config, state_dict=ours, dtype=dtype, trust_remote_code=False)


def convert_folder(path_or_repo: str | Path, out_dir: str | Path, **hub_kwargs: Any) -> GPTForCausalLM:
    """Import a checkpoint and save it, with its own modeling code and the tokenizer files that lie beside the source.

    Args:
        path_or_repo, hub_kwargs: As for `import_checkpoint`.
        out_dir (`str` or `Path`): A folder that does not exist yet, or is empty.

    Returns:
        `GPTForCausalLM`: The model that was saved.

    Raises:
        ValueError: as `import_checkpoint`, or `out_dir` is not empty.
    """
    with new_folder(out_dir) as folder:
        model = import_checkpoint(path_or_repo, **hub_kwargs)
        model.save_pretrained(folder)
        if not Path(path_or_repo).is_file():
            copy_tokenizer_files(find_folder(path_or_repo, **hub_kwargs), folder)
    return model


# ---------------------------------------------------------------------------------------------------------- export


def export_checkpoint(
    model: GPTForCausalLM,
    out_dir: str | Path,
    layout: str | None = None,
    tokenizer: PreTrainedTokenizerBase | str | Path | None = None,
    quantize: str | None = None,
) -> str:
    """Write a model as a checkpoint of an architecture that others know, with the same logits.

    What only training reads and the layout lacks is left out: some rates of dropout, `residual_init`, `fused_loss`.

    Args:
        model (`GPTForCausalLM`)
        out_dir (`str` or `Path`): A folder that does not exist yet, or is empty. It is written whole or not at all.
        layout (`str`, *optional*): `openai-gpt`, `gpt2`, `llama`, `qwen3`, `gpt_neo`, `gpt_oss`, or `gguf` for one file `model.gguf`
            (a `llama`, `qwen3`, `gpt2` or `gpt-oss`). `None` is the first of the others that can express the model.
        tokenizer (`PreTrainedTokenizerBase`, `str` or `Path`, *optional*): A tokenizer, or a folder whose tokenizer files,
            if there are any, are copied.
        quantize (`str`, *optional*): Of `gguf`: `q8_0`, `q5_1`, `q5_0`, `q4_1` or `q4_0` for the matrices. `None` keeps the
            model's dtype.

    Returns:
        `str`: The layout that was written.

    Raises:
        ValueError: the layout is unknown, or cannot express a config field, which the message names with its value; the model has
            other tensors than its config says, as with an adapter that is not merged; or `out_dir` is not empty.
    """
    with new_folder(out_dir) as folder:
        return write_foreign(model, folder, layout, tokenizer, quantize)


def write_foreign(
    model: GPTForCausalLM,
    folder: Path,
    layout: str | None = None,
    tokenizer: PreTrainedTokenizerBase | str | Path | None = None,
    quantize: str | None = None,
) -> str:
    """`export_checkpoint` into a folder that is there: for whoever puts more beside the checkpoint before the folder has its name."""
    if not isinstance(model, GPTForCausalLM):
        raise ValueError(
            f"model is a {type(model).__name__}, and only a GPTForCausalLM is exported: merge an adapter first, and load "
            "another head's checkpoint as GPTForCausalLM."
        )
    if layout is not None and layout not in EXPORT_LAYOUTS:
        raise ValueError(f"layout={layout!r} is unknown: it is one of {', '.join(EXPORT_LAYOUTS)}.")
    if isinstance(tokenizer, (str, Path)) and not Path(tokenizer).is_dir():
        raise ValueError(f"tokenizer={str(tokenizer)!r} is no folder: give one, or a tokenizer that is loaded already.")
    if layout == "gguf":
        import_gguf_writer()(model, folder / "model.gguf", tokenizer, quantize)
        return layout
    if quantize is not None:
        raise ValueError(f"quantize={quantize!r} is of layout='gguf', and layout={layout!r}: give both, or neither.")
    foreign = to_foreign(model, layout)
    foreign.save_pretrained(folder)
    if isinstance(tokenizer, (str, Path)):
        copy_tokenizer_files(Path(tokenizer), folder)
    elif tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return foreign.config.model_type


def import_gguf_writer() -> Callable:
    """`write_gguf`, whose package is an optional dependency."""
    try:
        from .gguf_file import write_gguf
    except ModuleNotFoundError as error:
        raise ValueError(f"layout='gguf' needs the package {error.name!r}: pip install 'hf-gpt[gguf]'.") from error
    return write_gguf


def to_foreign(model: GPTForCausalLM, layout: str | None = None) -> PreTrainedModel:
    """Return the `transformers` model that computes what `model` does, on shared memory where no tensor had to change.

    Raises:
        ValueError: as `export_checkpoint`.
    """
    if layout is None:
        return to_first_foreign(model)
    rules = LAYOUTS[layout]
    config = CONFIG_MAPPING[layout](**config_to_theirs(rules, model.config))
    ours = tensors_of(model)
    if model.config.tie_word_embeddings:
        del ours["lm_head.weight"]
    if rules.has_biases:
        ours |= zero_biases(ours)
    tensors = tensors_to_theirs(rules.modules, model.config.num_hidden_layers, ours)
    rules.write_tensors(model.config, tensors)
    model_class = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    foreign, info = model_class.from_pretrained(
        None, config=config, state_dict=tensors, dtype=model.dtype, trust_remote_code=False, output_loading_info=True
    )
    # What is missing would be filled with random numbers.
    if strays := [name for names in info.values() for name in names]:
        raise ValueError(
            f"the {layout} model has tensors that this one does not give, or the other way round: {listed(strays, 3)}."
        )
    foreign.generation_config = model.generation_config
    return foreign


def to_first_foreign(model: GPTForCausalLM) -> PreTrainedModel:
    reasons = []
    for name in LAYOUTS:
        try:
            return to_foreign(model, name)
        except CannotExpressError as error:
            reasons.append(error.reason)
    raise ValueError(f"No layout can express this model. {' '.join(reasons)} Keep it in its own layout with save_pretrained.")
