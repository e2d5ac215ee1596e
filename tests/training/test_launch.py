"""Configs of accelerate say nothing but hardware, and what a launch cannot do is refused by name."""

from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import DistributedType
from tests.conftest import ROOT, tiny_config
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from transformers import AutoModelForCausalLM

from hf_gpt.errors import InputError
from hf_gpt.recipe.arguments import PARTS
from hf_gpt.recipe.packaged import copy_recipes, list_recipes
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training import preparation
from hf_gpt.training.distributed import Launch, check_model, check_optimizer, read_launch, share_processors


CONFIGS = sorted((ROOT / "recipes" / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_read_by_accelerate_and_holds_hardware_only(path):
    loaded = load_config_from_file(str(path))
    values = yaml.safe_load(path.read_text())
    assert loaded.num_processes == values["num_processes"]
    nested = {key: value for part in values.values() if isinstance(part, dict) for key, value in part.items()}
    # What accelerate's own loader leaves alone, inside the nested parts: each is an option of its command line.
    options = {action.dest for action in launch_command_parser()._actions}
    assert set(nested) <= options
    # Of the keys of a recipe, only those by which `TrainingArguments`, too, speaks of devices.
    recipe_keys = {name for part in PARTS.values() for name in part.__dataclass_fields__}
    assert {*values, *nested} & recipe_keys <= {"use_cpu", "fsdp_config", "parallelism_config"}
    # These two would override, without a word, what a recipe says.
    assert not {"mixed_precision", "dynamo_config", "gradient_accumulation_steps", "gradient_clipping"} & {*values, *nested}


def test_configs_are_no_recipes_and_are_copied_with_them(tmp_path):
    assert len(CONFIGS) == 8
    assert not [name for name in list_recipes() if name.startswith("accelerate")]
    assert {tmp_path / "accelerate" / path.name for path in CONFIGS} <= set(copy_recipes(tmp_path))


@pytest.mark.parametrize(
    ("environment", "processes", "expected"),
    [
        ({}, 1, Launch("one process", 1)),
        ({}, 8, Launch("ddp", 8)),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, 8, Launch("fsdp2", 8)),
        (
            {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "PARALLELISM_CONFIG_DP_REPLICATE_SIZE": "2"},
            16,
            Launch("hsdp", 16),
        ),
        ({"PARALLELISM_CONFIG_TP_SIZE": "2"}, 2, Launch("tensor parallel", 2, 2)),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, 8, Launch("deepspeed", 8)),
    ],
)
def test_a_launch_is_what_the_launcher_says(environment, processes, expected, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert read_launch(processes) == expected
    assert expected.batches == processes // expected.tensor_parallel


@pytest.mark.parametrize(
    ("environment", "processes", "told"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, 2, "fsdp_version: 2"),
        ({"PARALLELISM_CONFIG_TP_SIZE": "2"}, 8, "tp_size=2 over 8 processes"),
        (
            {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "PARALLELISM_CONFIG_TP_SIZE": "2"},
            8,
            "tp_size=2 together with FSDP",
        ),
    ],
)
def test_what_is_not_run_is_named(environment, processes, told, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=told):
        read_launch(processes)


def test_muon_is_refused_where_there_are_no_matrices():
    with pytest.raises(InputError, match=r"use adamw, or launch with ddp\.yaml, fsdp2\.yaml"):
        check_optimizer(Launch("deepspeed", 2), "muon")
    for strategy in ("one process", "ddp", "fsdp2", "hsdp", "tensor parallel"):
        check_optimizer(Launch(strategy, 2), "muon")
    check_optimizer(Launch("deepspeed", 2), "adamw")


def test_dropout_under_checkpointing_of_fsdp_is_refused_and_would_be_wrong():
    launch = Launch("fsdp2", 2, recomputes=True)
    model = AutoModelForCausalLM.from_config(tiny_config("gpt2", resid_dropout=0.5))
    with pytest.raises(InputError, match=r"a dropout of 0\.5 gives wrong gradients"):
        check_model(launch, model)
    check_model(Launch("fsdp2", 2), model)
    check_model(launch, AutoModelForCausalLM.from_config(tiny_config("gpt2")))

    # The reason: this is how accelerate wraps a layer, and its second forward pass draws another mask.
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Dropout(0.5))
    inputs = torch.randn(8, 64)
    gradients = []
    for wrapped in (layer, checkpoint_wrapper(layer, preserve_rng_state=False)):
        torch.manual_seed(1)
        layer.zero_grad()
        wrapped(inputs).square().sum().backward()
        gradients.append(layer[0].weight.grad.clone())
    assert not torch.allclose(*gradients, atol=1.0)


def test_processors_are_shared_as_accelerators_are_but_have_nothing_to_move_weights_from(monkeypatch):
    state = SimpleNamespace(distributed_type=DistributedType.MULTI_CPU)
    share_processors(Launch("ddp", 2), state)
    assert state.distributed_type == DistributedType.MULTI_CPU
    share_processors(Launch("fsdp2", 2), state)
    assert state.distributed_type == DistributedType.MULTI_GPU
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", "true")
    with pytest.raises(InputError, match="there is no accelerator"):
        share_processors(Launch("fsdp2", 2), SimpleNamespace(distributed_type=DistributedType.MULTI_CPU))


@pytest.mark.parametrize("changes", [{"lora": {"r": 4}}, {"task": "text-classification"}, {"torch_compile": True}])
def test_what_tensor_parallelism_does_not_train_is_refused(changes, monkeypatch):
    values = {"model_name_or_path": "runs/x", "dataset": "movie-reviews", "output_dir": "runs/y", "use_cpu": True}
    monkeypatch.setattr(preparation, "read_launch", lambda processes: Launch("tensor parallel", 2, 2))
    # Whether a compiler is here is not asked.
    recipe = parse_recipe({**values, **{key: value for key, value in changes.items() if key != "torch_compile"}})
    recipe.training.torch_compile = changes.get("torch_compile", False)
    with pytest.raises(InputError, match="tensor parallelism trains whole models"):
        preparation.prepare_launch(recipe)


def test_tensor_parallelism_writes_no_checkpoint_that_cannot_be_gone_on_from(monkeypatch, capsys):
    monkeypatch.setattr(preparation, "read_launch", lambda processes: Launch("tensor parallel", 2, 2))
    recipe = parse_recipe({"preset": "modern-5m", "dataset": "movie-reviews", "output_dir": "runs/y", "use_cpu": True})
    assert recipe.training.save_strategy == "steps"
    preparation.prepare_launch(recipe)
    assert recipe.training.save_strategy == "no"
    assert "an interrupted run starts again" in capsys.readouterr().out
