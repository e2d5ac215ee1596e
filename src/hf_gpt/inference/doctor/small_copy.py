"""A small copy of a causal language model, to be examined in a minute: few layers and tokens, and weights in which every part shows."""

import copy
import inspect
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from ...errors import InputError, reason_of
from ...planning.capacity import check_memory
from ..loading import load_config
from .verdicts import RAISED, NotLoadedError


# Sizes above which a copy is smaller; no part of a model behaves otherwise by them. Widths of heads and of the residual stream, which
# depend on each other, stay.
SMALL = {
    **dict.fromkeys(("intermediate_size", "moe_intermediate_size", "n_inner"), 256),
    "vocab_size": 256,
    "sliding_window": 4,
}
FEWEST_LAYERS, MOST_LAYERS = 2, 8


class SmallCopy:
    """What the checks of `doctor` look at.

    Args:
        name: A folder or a repository on the Hub.
        trust_remote_code: Whether code beside the weights may run.

    Attributes:
        config: That of the model as it was given.
        model: The copy, in evaluation mode, on the CPU and in float32.
        changes: What the copy's config has in place of the model's: `{field: (before, after)}`.

    Raises:
        InputError: the model cannot be built, or is no causal language model.
    """

    def __init__(self, name: str, trust_remote_code: bool = False):
        self.name, self.trust_remote_code = name, trust_remote_code
        self.config = load_config(name, "checkpoint", trust_remote_code)
        if getattr(self.config, "is_causal", True) is False:
            raise InputError(f"checkpoint={name!r} is a masked language model: only causal ones are examined.")
        self.model, self.changes = self._build()
        randomize(self.model)
        self._temporary = tempfile.TemporaryDirectory(prefix="hf-gpt-doctor-")
        self.folder = Path(self._temporary.name)

    def _build(self) -> tuple[Any, dict[str, tuple[Any, Any]]]:
        changes = small_values(self.config)
        small = copy.deepcopy(self.config)
        for field, (_, value) in changes.items():
            setattr(small, field, value)
        try:
            return self._from_config(small), changes
        except RAISED:
            # A config whose fields depend on each other: then the model as it is, if it fits.
            what = f"checkpoint={self.name!r}"
            check_memory(self.config, AutoModelForCausalLM, what, trust_remote_code=self.trust_remote_code)
            try:
                return self._from_config(copy.deepcopy(self.config)), {}
            except RAISED as error:
                raise InputError(
                    f"{what} is no causal language model that can be built and computes logits: {reason_of(error)}"
                ) from error

    def _from_config(self, config: Any) -> Any:
        """Return a model that computes something, so that what fails is a check and not every one of them."""
        # Of a quantized checkpoint the code is looked at, in float32.
        vars(config).pop("quantization_config", None)
        if hasattr(config, "output_router_logits"):
            # On request a mixture of experts adds its router's loss, which no label is in.
            config.output_router_logits = False
        model: Any = AutoModelForCausalLM.from_config(
            config, trust_remote_code=self.trust_remote_code, dtype=torch.float32
        ).eval()
        with torch.no_grad():
            model(input_ids=torch.ones(1, 2, dtype=torch.long, device=model.device))
        return model

    @property
    def is_native(self) -> bool:
        """Whether the model's code is part of transformers."""
        return type(self.model).__module__.startswith("transformers.models.")

    @cached_property
    def saved(self) -> Path:
        """The folder that the copy was saved in."""
        try:
            self.model.save_pretrained(self.folder / "saved")
        except RAISED as error:
            raise NotLoadedError(reason_of(error)) from error
        return self.folder / "saved"

    def load(self, dtype: torch.dtype = torch.float32) -> Any:
        """Return the copy as `from_pretrained` gives it back."""
        folder = self.saved
        with poisoned_memory():
            return type(self.model).from_pretrained(folder, dtype=dtype, trust_remote_code=False).eval()

    @cached_property
    def reloaded(self) -> Any:
        """The copy after saving and loading, in float32."""
        try:
            return self.load()
        except RAISED as error:
            raise NotLoadedError(reason_of(error)) from error

    def ids(self, rows: int, length: int) -> torch.LongTensor:
        """Random token ids, none of them a special one that the copy knows."""
        lowest = min(4, self.model.config.vocab_size - 2)
        generator = torch.Generator().manual_seed(0)
        return torch.randint(lowest, self.model.config.vocab_size, (rows, length), generator=generator)  # type: ignore[return-value]

    def takes(self, name: str) -> bool:
        """Return whether `forward` can be given an argument of that name."""
        parameters = inspect.signature(self.model.forward).parameters
        return name in parameters or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())

    def logits(self, ids: torch.Tensor, model: Any = None, use_cache: bool = False, **given: Any) -> torch.Tensor:
        """Logits of a pass over whole rows."""
        if self.takes("use_cache"):
            given["use_cache"] = use_cache
        with torch.no_grad():
            return (self.model if model is None else model)(input_ids=ids, **given).logits

    def close(self) -> None:
        self._temporary.cleanup()


def small_values(config: Any) -> dict[str, tuple[Any, Any]]:
    """`{field: (before, after)}` of what a small copy's config has in place of the model's."""
    values = config.to_dict()
    changes: dict[str, tuple[Any, Any]] = {}
    layers = getattr(config, "num_hidden_layers", None)
    if isinstance(layers, int):
        lists = {name: value for name, value in values.items() if isinstance(value, list) and len(value) == layers}
        few = min(layers, MOST_LAYERS, max([FEWEST_LAYERS, *(first_of_each(value) for value in lists.values())]))
        if few < layers:
            changes |= {name: (value, value[:few]) for name, value in lists.items()}
            changes["num_hidden_layers"] = (layers, few)
    for field, most in SMALL.items():
        value = getattr(config, field, None)
        if isinstance(value, int) and value > most:
            changes[field] = (value, most)
    if "vocab_size" in changes:
        changes |= small_token_ids(values)
    return changes


def first_of_each(values: list[Any]) -> int:
    """Return how long the beginning of a list is that holds each of its values."""
    return 1 + max(values.index(value) for value in values)


def small_token_ids(values: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the fields of a config that name tokens, numbered from 0; the same token stays the same one."""
    fields = {
        name: value for name, value in values.items() if name.endswith(("_token_id", "_token_index")) and value is not None
    }
    numbers: dict[Any, int] = {}
    changes = {}
    for name, value in fields.items():
        found = [numbers.setdefault(one, len(numbers)) for one in (value if isinstance(value, list) else [value])]
        changes[name] = (value, found if isinstance(value, list) else found[0])
    return changes


def randomize(model: Any) -> None:
    """Give all weights values in which every part of the model shows, those that start at zero included."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter.shape[-1] ** -0.5, generator=generator)
            elif parameter.is_floating_point():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Within it memory that nothing was written to holds NaN, where it might hold what was right in another tensor."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
