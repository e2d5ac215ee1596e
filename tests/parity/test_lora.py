"""A LoRA adapter that was trained on this family is worth as much after a merge and an export."""

import peft
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from tests.conftest import randomize, tiny_config
from tests.helpers.adapters import losses_of_training
from transformers import AutoModelForCausalLM

from hf_gpt import export_checkpoint


LAYOUTS = {"gpt1": "openai-gpt", "gpt2": "gpt2", "modern": "qwen3", "oss": "gpt_oss"}


@pytest.mark.parametrize(("architecture", "layout"), list(LAYOUTS.items()))
def test_an_adapter_survives_merge_and_export(architecture, layout, tmp_path):
    model = randomize(AutoModelForCausalLM.from_config(tiny_config(architecture, intermediate_size=128)), std=0.1)
    # The matrices of experts are parameters, and no modules.
    experts = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"] if model.config.num_experts else None
    lora = LoraConfig(r=4, target_modules="all-linear", target_parameters=experts, task_type="CAUSAL_LM")
    adapted = get_peft_model(model, lora)
    ids = torch.randint(2, 96, (2, 12))
    losses = losses_of_training(adapted, ids)
    assert losses[-1] < losses[0]
    adapted.eval()
    wanted = adapted(input_ids=ids).logits
    with adapted.disable_adapter():
        assert (adapted(input_ids=ids).logits - wanted).abs().max() > 1e-2
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(merged(ids).logits, wanted, rtol=0, atol=1e-4)
    assert export_checkpoint(merged, tmp_path / "native", layout) == layout
    native = AutoModelForCausalLM.from_pretrained(tmp_path / "native").eval()
    torch.testing.assert_close(native(ids).logits, wanted, rtol=0, atol=1e-4)


def test_an_adapter_on_the_output_matrix_is_part_of_the_training_loss():
    model = randomize(AutoModelForCausalLM.from_config(tiny_config("modern", tie_word_embeddings=False)), std=0.1)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["lm_head"], task_type="CAUSAL_LM"))
    randomize(adapted, std=0.1)
    ids = torch.randint(2, 96, (2, 12))
    scored = adapted.eval()(input_ids=ids, labels=ids).loss.item()
    assert adapted.train()(input_ids=ids, labels=ids).loss.item() == pytest.approx(scored, abs=1e-5)


# What a method needs to be told of a model this small; none is told its `target_modules`.
SETTINGS = {
    "AdaLoraConfig": {"total_step": 10},
    "BOFTConfig": {"boft_block_size": 4},
    "C3AConfig": {"block_size": 4},
    "FourierFTConfig": {"n_frequency": 16},
    "MissConfig": {"r": 4},
    "OFTConfig": {"oft_block_size": 4},
    "PsoftConfig": {"r": 4},
    "RoadConfig": {"group_size": 4},
    "ShiraConfig": {"r": 4},
    "TrainableTokensConfig": {"token_indices": [2, 3]},
    "VBLoRAConfig": {"vector_length": 16, "num_vectors": 8},
    "WaveFTConfig": {"n_frequency": 16},
}
# One knows Llama, Mistral and GPT-2 alone, one asks for a task with every row, one has weights after the last layer that nothing reads.
LEFT_OUT = {"AdaptionPromptConfig", "PolyConfig", "ShadowConfig"}
# Every method of the installed peft that changes modules by their names.
METHODS = sorted(
    config.__name__
    for config in set(PEFT_TYPE_TO_CONFIG_MAPPING.values())
    if "target_modules" in config.__dataclass_fields__ and config.__name__ not in LEFT_OUT
)
KNOWN = {"LoraConfig", "IA3Config", "AdaLoraConfig", "VeraConfig", "LoHaConfig", "LoKrConfig", "OFTConfig", "BOFTConfig"}
KNOWN |= {"LNTuningConfig", "HRAConfig", "RandLoraConfig", "VBLoRAConfig"}


def test_the_methods_are_found():
    assert set(METHODS) >= KNOWN


@pytest.mark.parametrize("method", METHODS)
def test_every_method_knows_where_it_goes(architecture, method):
    model = randomize(AutoModelForCausalLM.from_config(tiny_config(architecture)), std=0.1)
    adapted = peft.get_peft_model(model, getattr(peft, method)(task_type="CAUSAL_LM", **SETTINGS.get(method, {})))
    ids = torch.randint(2, 96, (2, 12))
    adapted.train()(input_ids=ids, labels=ids).loss.backward()
    learned = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert learned
    assert all(adapted.get_parameter(name).grad is not None for name in learned)


def test_the_tables_of_peft_name_modules_that_every_generation_has(architecture):
    names = {
        name.rsplit(".", 1)[-1] for name, _ in AutoModelForCausalLM.from_config(tiny_config(architecture)).named_modules()
    }
    tables = {name: table for name, table in vars(peft.utils.constants).items() if name.endswith("_MODULES_MAPPING")}
    assert {name for name, table in tables.items() if "qwen3" in table} == {
        name for name, table in tables.items() if "hf_gpt" in table
    }
    # Experts are no modules; what a method does of its own in feed-forward layers, it does not do there.
    tables = {name: table for name, table in tables.items() if "FEEDFORWARD" not in name or architecture != "oss"}
    assert all(names & set(table["hf_gpt"]) for table in tables.values() if "hf_gpt" in table)
