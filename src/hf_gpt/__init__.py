"""The GPT line, GPT-1 to a modern GPT, as one Hugging Face model family; importing it registers the family."""

from .conversion import export_checkpoint, import_checkpoint
from .modeling.configuration_hf_gpt import GPTConfig
from .modeling.modeling_hf_gpt import (
    GPTForCausalLM,
    GPTForMaskedLM,
    GPTForMultipleChoice,
    GPTForQuestionAnswering,
    GPTForSequenceClassification,
    GPTForTokenClassification,
    GPTModel,
)
from .presets import list_presets, preset
from .registration import register


__version__ = "0.1.0"

register()

__all__ = [
    "GPTConfig",
    "GPTForCausalLM",
    "GPTForMaskedLM",
    "GPTForMultipleChoice",
    "GPTForQuestionAnswering",
    "GPTForSequenceClassification",
    "GPTForTokenClassification",
    "GPTModel",
    "export_checkpoint",
    "import_checkpoint",
    "list_presets",
    "preset",
]
