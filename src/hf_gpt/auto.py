"""Register the family with transformers' auto classes, and its targets with peft; importing `hf_gpt` runs it once."""

import sys
from typing import Any

import transformers
from transformers import AutoConfig
from transformers.utils import is_peft_available

from .modeling import modeling_hf_gpt as gpt
from .modeling import modeling_nnlm_hf_gpt as nnlm


MODELS: dict[str, list[Any]] = {
    "AutoModel": [gpt.GPTModel],
    "AutoModelForCausalLM": [gpt.GPTForCausalLM, nnlm.NNLMForCausalLM],
    "AutoModelForMaskedLM": [gpt.GPTForMaskedLM],
    "AutoModelForSequenceClassification": [gpt.GPTForSequenceClassification],
    "AutoModelForTokenClassification": [gpt.GPTForTokenClassification],
    "AutoModelForQuestionAnswering": [gpt.GPTForQuestionAnswering],
    "AutoModelForMultipleChoice": [gpt.GPTForMultipleChoice],
}
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def register() -> None:
    """Make the auto classes know `model_type: "hf_gpt"` and `"hf_gpt_nnlm"`, and each class save its code with its weights."""
    for config in (gpt.GPTConfig, nnlm.NNLMConfig):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        config.register_for_auto_class()
    for auto_name, models in MODELS.items():
        auto_class = getattr(transformers, auto_name)
        for model in models:
            auto_class.register(model.config_class, model, exist_ok=True)
            model.register_for_auto_class(auto_name)
            # Pipelines look a class up by its name in this table, and `transformers serve` on the module, of which transformers makes
            # a second one when its processors are imported.
            auto_class._model_mapping._model_mapping[model.config_class.model_type] = model.__name__
            for module in (transformers, sys.modules["transformers"]):
                setattr(module, model.__name__, model)
    if is_peft_available():
        fill_peft_tables()


def fill_peft_tables() -> None:
    """Let every method of `peft` know where it goes when `target_modules` is not given; peft has no other way to be told.

    LoRA gets all matrices of the blocks; each other method what Qwen3 has there, of which every generation has what is named
    `q_proj`, `v_proj` or `down_proj`.
    """
    from peft.utils import constants

    for name, table in vars(constants).items():
        if name.endswith("_MODULES_MAPPING") and "qwen3" in table:
            table.setdefault("hf_gpt", list(table["qwen3"]))
    constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING["hf_gpt"] = list(LORA_TARGETS)
