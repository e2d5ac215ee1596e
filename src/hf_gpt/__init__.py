"""The GPT line, GPT-1 to gpt-oss, as one Hugging Face model family; importing it registers the family."""

from . import _environment  # noqa: F401
from .auto import register
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

register()
