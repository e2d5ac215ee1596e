"""A base that torchao holds in eight bits is trained by an adapter, on a CPU too."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.conftest import randomize, tiny_config
from tests.helpers.adapters import losses_of_training
from transformers import AutoModelForCausalLM


pytest.importorskip("torchao", reason="`make engines` installs it")


def test_an_adapter_learns_on_a_base_of_eight_bits(tmp_path):
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    whole = randomize(AutoModelForCausalLM.from_config(tiny_config("modern", hidden_size=64, tie_word_embeddings=False)))
    whole.save_pretrained(tmp_path)
    quantized = TorchAoConfig(Int8WeightOnlyConfig())
    model = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=quantized, dtype=torch.float32).eval()
    ids = torch.randint(2, 96, (2, 12))
    difference = (model(ids).logits - whole(ids).logits).abs().max()
    assert 0 < difference < 0.1 * whole(ids).logits.abs().max()

    adapted = get_peft_model(model, LoraConfig(r=4, task_type="CAUSAL_LM"))
    losses = losses_of_training(adapted, ids)
    assert losses[-1] < losses[0]
