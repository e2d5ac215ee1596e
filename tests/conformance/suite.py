"""transformers' own model tests over every architecture and head of the family, and over its GPT-2 and Llama beside them.

Run by `python -m tests.conformance`; the name of this file keeps it out of a plain `pytest`.
"""

import copy
import unittest

import torch
from transformers import (
    GPT2Config,
    GPT2ForQuestionAnswering,
    GPT2ForSequenceClassification,
    GPT2ForTokenClassification,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaModel,
)
from transformers_tests.generation.test_utils import GenerationTesterMixin
from transformers_tests.test_configuration_common import ConfigTester
from transformers_tests.test_modeling_common import ModelTesterMixin, ids_tensor
from transformers_tests.test_training_mixin import TrainingTesterMixin

import hf_gpt


OUR_HEADS = (
    hf_gpt.GPTModel,
    hf_gpt.GPTForCausalLM,
    hf_gpt.GPTForMaskedLM,
    hf_gpt.GPTForSequenceClassification,
    hf_gpt.GPTForTokenClassification,
    hf_gpt.GPTForQuestionAnswering,
    hf_gpt.GPTForMultipleChoice,
)
GPT2_HEADS = (GPT2Model, GPT2LMHeadModel, GPT2ForQuestionAnswering, GPT2ForSequenceClassification, GPT2ForTokenClassification)
LLAMA_HEADS = (
    LlamaModel,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
)

SIZE = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def tiny(preset_name, **more):
    return hf_gpt.preset(preset_name, **SIZE, **{"intermediate_size": 37, **more})


CONFIGS = {
    "gpt1": tiny("gpt1"),
    "gpt2": tiny("gpt2"),
    "gpt3": tiny("gpt3-125m", sliding_window=4),
    # Blocks that start as the identity, as the preset has them, would let any two attention kernels agree.
    "modern": tiny("modern-5m", residual_init="none"),
    "gpt2_gqa": tiny("gpt2", num_key_value_heads=2),
    "modern_untied": tiny("modern-5m", residual_init="none", tie_word_embeddings=False),
    "oss": tiny("oss-8m", residual_init="none", intermediate_size=40, num_experts=4, num_experts_per_tok=2, sliding_window=4),
    "encoder": tiny("gpt2", is_causal=False),
}


class ModelTester:
    """What transformers' tests ask of a model: its config, a batch, and the sizes of both."""

    is_training = True
    batch_size, seq_length, num_choices = 8, 7, 4

    def __init__(self, config, model_classes):
        self.config = config
        self.hidden_size, self.num_hidden_layers = config.hidden_size, config.num_hidden_layers
        self.num_attention_heads = config.num_attention_heads
        self.causal_lm_class = next(model_class for model_class in model_classes if model_class.can_generate())

    def get_config(self):
        return copy.deepcopy(self.config)

    def prepare_config_and_inputs_for_common(self):
        input_ids = ids_tensor([self.batch_size, self.seq_length], self.config.vocab_size)
        return self.get_config(), {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids).tril()}


class Conformance(ModelTesterMixin, GenerationTesterMixin, TrainingTesterMixin):
    """The base of the test classes below, one an architecture."""

    # Without this the test is left out for every model whose file carries no date of 2023 or later.
    test_can_init_all_missing_weights_before_2023 = True
    config = all_model_classes = model_tester = None

    def setUp(self):
        self.model_tester = ModelTester(self.config, self.all_model_classes)

    def test_config(self):
        fields = {self.config.attribute_map.get(name, name): value for name, value in SIZE.items()}
        ConfigTester(self, config_class=type(self.config), **fields).run_common_tests()


def conformance_test(name, config, model_classes, **members):
    bases = (Conformance, unittest.TestCase)
    return type(name, bases, {"config": config, "all_model_classes": model_classes, **members})


def no_rotary(self, *arguments):
    self.skipTest("Learned positions: there are no rotary angles to scale")


def no_reentrant(self, *arguments):
    self.skipTest("Reentrant checkpointing records scores of experts without gradients, which is refused")


def no_experts(self, *arguments):
    self.skipTest("No mixture of experts, of which the class says that it can be one")


def those_named(start):
    return [name for name, test in vars(ModelTesterMixin).items() if name.startswith(start) and callable(test)]


ROPE_TESTS = those_named("test_model_rope")
EXPERT_TESTS = [*those_named("test_eager_matches_batched_and_grouped"), *those_named("test_output_router_logits")]

for name, config in CONFIGS.items():
    left_out = {} if config.position_embedding_type == "rope" else dict.fromkeys(ROPE_TESTS, no_rotary)
    if config.mlp_type != "moe":
        left_out |= dict.fromkeys(EXPERT_TESTS, no_experts)
    if config.router_aux_loss_coef:
        left_out["test_training_gradient_checkpointing_use_reentrant_true"] = no_reentrant
    globals()[name] = conformance_test(name, config, OUR_HEADS, **left_out)

transformers_gpt2 = conformance_test("transformers_gpt2", GPT2Config(**SIZE), GPT2_HEADS)
transformers_llama = conformance_test("transformers_llama", LlamaConfig(**SIZE, intermediate_size=37), LLAMA_HEADS)
