"""The auto classes know the family whatever was imported before it or is imported after it."""

import subprocess
import sys

import pytest
from transformers.models.auto import modeling_auto

import hf_gpt
from hf_gpt.auto import MODELS
from hf_gpt.modeling.configuration_hf_gpt import AUTO_MAP


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


# What a program may do before it needs a model. The last but one goes through the auto classes in the middle of an import.
BEFORE = [
    "import hf_gpt; from transformers import AutoModelForCausalLM, AutoConfig",
    "from transformers import AutoModelForCausalLM; import hf_gpt; from transformers import AutoConfig",
    *(
        pytest.param(before, marks=pytest.mark.slow)
        for before in (
            "from transformers import AutoConfig; import hf_gpt; from transformers import AutoModelForCausalLM",
            "import hf_gpt; from transformers.models.auto import modeling_auto; "
            "from transformers import AutoModelForCausalLM, AutoConfig",
            "import hf_gpt; from transformers import LlamaForCausalLM, AutoModelForCausalLM, AutoConfig",
            "import hf_gpt; import transformers.modeling_layers; from transformers import AutoModelForCausalLM, AutoConfig",
            "import hf_gpt; from transformers import pipeline, Trainer, AutoModelForCausalLM, AutoConfig",
        )
    ),
]
SIZES = {
    "hf_gpt": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 30},
    "hf_gpt_nnlm": {"hidden_size": 8, "vocab_size": 30},
}


@pytest.mark.parametrize("before", BEFORE)
def test_a_model_is_made_by_its_type_alone(before):
    code = f"""
{before}
import os
for model_type, sizes in {SIZES!r}.items():
    # In a copy of the process, in which no other model has been made.
    if not os.fork():
        config = AutoConfig.for_model(model_type, **sizes)
        print(type(AutoModelForCausalLM.from_config(config)).__module__, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""
    made = run(code).split()
    assert len(made) == len(SIZES)
    assert all(module.startswith("hf_gpt.modeling.") for module in made)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["hf_gpt", "hf_gpt.modeling.modeling_hf_gpt"])
def test_what_is_saved_carries_its_code_however_the_class_was_reached(module, tmp_path):
    code = (
        f"from {module} import GPTForCausalLM, GPTConfig; config = GPTConfig(**{SIZES['hf_gpt']}); "
        f"GPTForCausalLM(config).save_pretrained({str(tmp_path)!r})"
    )
    run(code)
    assert {"modeling_hf_gpt.py", "configuration_hf_gpt.py"} <= {path.name for path in tmp_path.iterdir()}


CODE = {
    "configuration_hf_gpt.GPTConfig": {
        f"{name}_hf_gpt.py" for name in ("configuration", "experts", "layers", "loss", "modeling")
    },
    "configuration_nnlm_hf_gpt.NNLMConfig": {"configuration_nnlm_hf_gpt.py", "modeling_nnlm_hf_gpt.py"},
}


def test_a_config_reached_directly_leads_to_its_model_and_carries_all_the_code_that_it_names(tmp_path):
    code = "from transformers import AutoModel"
    for config in CODE:
        module, name = config.split(".")
        code += f"; from hf_gpt.modeling.{module} import {name}; {name}().save_pretrained({str(tmp_path / name)!r})"
    code += (
        f"; model = AutoModel.from_config(GPTConfig(**{SIZES['hf_gpt']})); model.save_pretrained({str(tmp_path / 'model')!r})"
    )
    assert run(f"{code}; print(type(model).__name__)") == "GPTModel"
    assert {path.name for path in (tmp_path / "model").iterdir()} >= {
        "model.safetensors",
        *CODE["configuration_hf_gpt.GPTConfig"],
    }
    for config, files in CODE.items():
        assert {path.name for path in (tmp_path / config.split(".")[1]).iterdir()} == {"config.json", *files}


@pytest.mark.slow
def test_a_config_saved_alone_makes_a_model_where_the_package_is_missing(tmp_path):
    run(f"import hf_gpt; hf_gpt.GPTConfig(**{SIZES['hf_gpt']}).save_pretrained({str(tmp_path / 'first')!r})")
    # What is loaded by its own code is saved with it, too.
    for source, target in (("first", "second"), ("second", "third")):
        code = f"""
import os, sys
os.environ["HF_MODULES_CACHE"] = {str(tmp_path / ("modules-" + target))!r}
sys.modules["hf_gpt"] = None
from transformers import AutoConfig, AutoModelForCausalLM
config = AutoConfig.from_pretrained({str(tmp_path / source)!r}, trust_remote_code=True)
config.save_pretrained({str(tmp_path / target)!r})
print(type(AutoModelForCausalLM.from_config(config, trust_remote_code=True)).__name__)
"""
        assert run(code) == "GPTForCausalLM"


@pytest.mark.parametrize("before", ["import peft, hf_gpt", pytest.param("import hf_gpt, peft", marks=pytest.mark.slow)])
def test_peft_knows_the_family_whichever_is_imported_first(before):
    table = "peft.utils.constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING"
    assert run(f"{before}; print({table}['hf_gpt'])") == "['down_proj']"


def test_the_names_are_those_of_the_config():
    named = {auto_name: f"modeling_hf_gpt.{models[0].__name__}" for auto_name, models in MODELS.items()}
    assert {"AutoConfig": "configuration_hf_gpt.GPTConfig", **named} == AUTO_MAP


def test_pipelines_know_every_head():
    tables = {
        name: getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES") for name in ("TOKEN_CLASSIFICATION", "CAUSAL_LM")
    }
    assert tables["TOKEN_CLASSIFICATION"]["hf_gpt"] == "GPTForTokenClassification"
    assert (tables["CAUSAL_LM"]["hf_gpt"], tables["CAUSAL_LM"]["hf_gpt_nnlm"]) == ("GPTForCausalLM", "NNLMForCausalLM")


def test_every_public_name_is_there_and_no_other():
    assert all(getattr(hf_gpt, name) for name in hf_gpt.__all__)
    assert "preset" in dir(hf_gpt)
    assert not hasattr(hf_gpt, "GPTLMHeadModel")
