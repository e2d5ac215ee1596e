"""Makes `transformers` know `model_type: "hf_gpt"`; importing `hf_gpt` runs it once."""

from typing import Any

import transformers
from transformers import AutoConfig
from transformers.models.auto import modeling_auto
from transformers.utils import is_peft_available

from .modeling import modeling_hf_gpt
from .modeling.configuration_hf_gpt import AUTO_MAP, GPTConfig
from .modeling.configuration_nnlm_hf_gpt import NNLMConfig
from .modeling.modeling_nnlm_hf_gpt import NNLMForCausalLM


# transformers looks the task of a class up by its name in these dictionaries, among others to shift the labels of label
# smoothing; registering a class with its auto class does not enter the name.
NAMES_BY_AUTO_CLASS: dict[str, Any] = {
    "AutoModel": modeling_auto.MODEL_MAPPING_NAMES,
    "AutoModelForCausalLM": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "AutoModelForMaskedLM": modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    "AutoModelForSequenceClassification": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "AutoModelForTokenClassification": modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    "AutoModelForQuestionAnswering": modeling_auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
    "AutoModelForMultipleChoice": modeling_auto.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES,
}


LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def register() -> None:
    """Registers the config and every model class with `transformers`' auto classes, and their code with checkpoints."""
    AutoConfig.register(GPTConfig.model_type, GPTConfig, exist_ok=True)
    GPTConfig.register_for_auto_class()
    for auto_name, names in NAMES_BY_AUTO_CLASS.items():
        model_class = getattr(modeling_hf_gpt, AUTO_MAP[auto_name].split(".")[1])
        getattr(transformers, auto_name).register(GPTConfig, model_class, exist_ok=True)
        model_class.register_for_auto_class(auto_name)
        names[GPTConfig.model_type] = model_class.__name__
        # `transformers serve` and `transformers chat` read the class off the transformers module.
        setattr(transformers, model_class.__name__, model_class)
    register_neural_ngrams()
    if is_peft_available():
        register_lora_targets()


def register_neural_ngrams() -> None:
    """The neural n-gram model, with the one head that it has."""
    AutoConfig.register(NNLMConfig.model_type, NNLMConfig, exist_ok=True)
    NNLMConfig.register_for_auto_class()
    transformers.AutoModelForCausalLM.register(NNLMConfig, NNLMForCausalLM, exist_ok=True)
    NNLMForCausalLM.register_for_auto_class("AutoModelForCausalLM")
    modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[NNLMConfig.model_type] = NNLMForCausalLM.__name__
    setattr(transformers, NNLMForCausalLM.__name__, NNLMForCausalLM)


def register_lora_targets() -> None:
    """Lets `peft` know which modules an adapter goes to when `target_modules` is not given: all matrices of the blocks.

    peft has no other way to be told than its own table.
    """
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING[GPTConfig.model_type] = list(LORA_TARGETS)


__all__ = ["register"]
