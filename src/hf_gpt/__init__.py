"""The GPT line, GPT-1 to a modern GPT, as one Hugging Face model family; importing it registers the family.

Nothing heavy is imported before it is used: neither torch nor the parts of transformers that need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .auto import register


if TYPE_CHECKING:
    from .conversion import export_checkpoint, import_checkpoint
    from .modeling.configuration_hf_gpt import GPTConfig, __version__
    from .modeling.configuration_nnlm_hf_gpt import NNLMConfig
    from .modeling.modeling_hf_gpt import (
        GPTForCausalLM,
        GPTForMaskedLM,
        GPTForMultipleChoice,
        GPTForQuestionAnswering,
        GPTForSequenceClassification,
        GPTForTokenClassification,
        GPTModel,
    )
    from .modeling.modeling_nnlm_hf_gpt import NNLMForCausalLM
    from .presets import list_presets, preset
    from .training.optimizers import Muon


__all__ = [
    "GPTConfig",
    "GPTForCausalLM",
    "GPTForMaskedLM",
    "GPTForMultipleChoice",
    "GPTForQuestionAnswering",
    "GPTForSequenceClassification",
    "GPTForTokenClassification",
    "GPTModel",
    "Muon",
    "NNLMConfig",
    "NNLMForCausalLM",
    "__version__",
    "export_checkpoint",
    "import_checkpoint",
    "list_presets",
    "preset",
]

_MODULES = {
    "GPTConfig": "modeling.configuration_hf_gpt",
    "__version__": "modeling.configuration_hf_gpt",
    "Muon": "training.optimizers",
    "NNLMConfig": "modeling.configuration_nnlm_hf_gpt",
    "NNLMForCausalLM": "modeling.modeling_nnlm_hf_gpt",
    "export_checkpoint": "conversion",
    "import_checkpoint": "conversion",
    "list_presets": "presets",
    "preset": "presets",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Who asks for a config will ask for its model, and some look a model's class up on the transformers module by name.
    import_module(".modeling.modeling_hf_gpt", __name__)
    found = getattr(import_module(f".{_MODULES.get(name, 'modeling.modeling_hf_gpt')}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register()
