"""Reading the tables of `layouts.py`: configs and tensors from a foreign layout to ours, and back."""

import reprlib
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from ..errors import counted, listed
from ..modeling.configuration_hf_gpt import GPTConfig
from ..modeling.modeling_hf_gpt import GPTForCausalLM
from .layouts import CannotExpressError, Layout, Module, Tensors


def config_to_ours(layout: Layout, config: PreTrainedConfig) -> GPTConfig:
    """Return the `GPTConfig` of a foreign config.

    Raises:
        ValueError: the foreign config asks for something that this family does not have.
    """
    for name, needed in layout.required.items():
        # A field that an older transformers does not know has the value that there was before it.
        value = getattr(config, name, needed)
        if value != needed:
            raise ValueError(
                f"config.json has {name}={value!r}, which hf_gpt does not have: only a {layout.name} checkpoint with "
                f"{name}={needed!r} can be imported."
            )
    values = {ours: getattr(config, theirs) for ours, theirs in layout.fields.items()}
    values |= layout.fixed | layout.initial
    layout.read_config(config, values)
    return GPTConfig(**values)


def config_to_theirs(layout: Layout, config: GPTConfig) -> dict[str, Any]:
    """Return the fields of the foreign config.

    Fields that only training reads and that the layout lacks are left out: dropout, `residual_init`, `fused_loss`.

    Raises:
        CannotExpressError: a field that changes what the model computes has a value that the layout cannot express.
    """
    for name, needed in {**layout.fixed, **layout.bound(config)}.items():
        value = getattr(config, name)
        if value != needed:
            raise CannotExpressError(layout.name, name, value, f"it is {reprlib.repr(needed)}")
    if ACT2FN[config.hidden_act].state_dict():
        raise CannotExpressError(layout.name, "hidden_act", config.hidden_act, "it has no weights of its own")
    values = {theirs: getattr(config, ours) for ours, theirs in layout.fields.items()} | layout.required
    for ours in ("norm_eps", "initializer_range"):
        # The strict configs of transformers take no whole number where they say float.
        values[layout.fields[ours]] = float(getattr(config, ours))
    layout.write_config(config, values)
    return values


def tensors_on_meta(config: GPTConfig) -> Tensors:
    """Return the names and shapes of the tensors of a `GPTForCausalLM`, without memory."""
    with torch.device("meta"):
        return GPTForCausalLM(config).state_dict()


def tensors_of(model: GPTForCausalLM) -> Tensors:
    """Return the tensors of a model on the CPU.

    Raises:
        ValueError: they are not those of its config: an adapter, a parametrization or a quantizer has put others in their place,
            or the output matrix is not the token embedding that it is tied to.
    """
    tensors = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    found, named = ({(name, tensor.shape) for name, tensor in of.items()} for of in (tensors, tensors_on_meta(model.config)))
    if strange := sorted({name for name, _ in found ^ named}):
        raise ValueError(
            f"the model's tensors are not those of its config: they differ in {listed(strange, 3)}. Merge an adapter "
            "(merge_and_unload), take parametrizations off, and load a quantized model dequantized first."
        )
    if model.config.tie_word_embeddings and not torch.equal(tensors["lm_head.weight"], tensors["model.embed_tokens.weight"]):
        raise ValueError(
            "the model has tie_word_embeddings=True, but lm_head.weight differs from the token embedding: set "
            "config.tie_word_embeddings=False."
        )
    return tensors


def tensors_to_ours(modules: tuple[Module, ...], number_of_layers: int, tensors: Tensors, expected: Tensors) -> Tensors:
    """Rename, splits and transpose foreign tensors.

    Args:
        modules (`tuple[Module, ...]`): The table.
        number_of_layers (`int`)
        tensors (`dict[str, torch.Tensor]`): The foreign tensors. Each one that finds a place is taken out.
        expected (`dict[str, torch.Tensor]`): Our names and shapes; the tensors may be on the meta device.

    Returns:
        `dict[str, torch.Tensor]`: Every name of `expected`, in memory of its own.

    Raises:
        ValueError: a tensor is missing, or has another shape than the config says.
    """
    ours: Tensors = {}
    missing = []
    for module in (part for row in modules for part in row.for_layers(number_of_layers)):
        for kind in module.kinds:
            names = [f"{name}{kind}" for name in module.ours]
            if names[0] not in expected:
                continue
            theirs = f"{module.theirs}{kind}"
            if theirs not in tensors:
                missing.append(theirs)
                continue
            tensor = tensors.pop(theirs)
            sizes = [expected[name].shape[0] for name in names]
            shape = (sum(sizes), *expected[names[0]].shape[1:])
            stored = shape[::-1] if module.transposed else shape
            if tensor.shape != stored:
                raise ValueError(
                    f"{theirs} has the shape {tuple(tensor.shape)}, but by config.json it has {tuple(stored)}: the two do not "
                    "belong together."
                )
            for name, part in zip(names, (tensor.t() if module.transposed else tensor).split(sizes)):
                ours[name] = part.clone(memory_format=torch.contiguous_format)
    if missing:
        raise ValueError(
            f"{counted(len(missing), 'tensors are missing')}, among them {', '.join(missing[:3])}: the file is incomplete, or "
            "config.json belongs to another checkpoint."
        )
    return ours


def tensors_to_theirs(modules: tuple[Module, ...], number_of_layers: int, ours: Tensors) -> Tensors:
    """Return the way back of `tensors_to_ours`.

    Raises:
        ValueError: the table does not name a tensor.
    """
    tensors: Tensors = {}
    left = dict(ours)
    for module in (part for row in modules for part in row.for_layers(number_of_layers)):
        for kind in module.kinds:
            names = [f"{name}{kind}" for name in module.ours]
            if names[0] not in left:
                continue
            parts = [left.pop(name) for name in names]
            tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
            tensors[f"{module.theirs}{kind}"] = (tensor.t() if module.transposed else tensor).contiguous()
    if left:
        raise ValueError(f"the layout has no place for {listed(left, 3)}: keep the model in its own with save_pretrained.")
    return tensors


def zero_biases(ours: Tensors) -> Tensors:
    """Return a bias of zero for each matrix of a block and each norm that has none, which computes the same to the last bit."""
    modules = {name.removesuffix(".weight"): tensor for name, tensor in ours.items() if name.endswith(".weight")}
    return {
        f"{name}.bias": torch.zeros_like(tensor[:, 0] if tensor.ndim > 1 else tensor)
        for name, tensor in modules.items()
        if name.startswith(("model.layers.", "model.norm")) and f"{name}.bias" not in ours
    }
