"""Precision, compiling and attention follow from the machine and the length of a run, and what a machine does not do gets a line."""

import pytest
import torch
from tests.conftest import tiny_config
from transformers import AutoModelForCausalLM

import hf_gpt
from hf_gpt import planning
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.inference import inspect as inspection
from hf_gpt.inference import loading as inference
from hf_gpt.modeling.loss_hf_gpt import slice_tokens
from hf_gpt.planning import hardware
from hf_gpt.recipe import machine
from hf_gpt.recipe.arguments import RECIPE_FILE
from hf_gpt.recipe.parser import load_recipe, parse_recipe, recipe_text
from hf_gpt.run_folder.settled import settle


MINIMAL = {"preset": "modern-5m", "dataset": "movie-reviews", "output_dir": "runs/x"}


@pytest.fixture(params=["bfloat16", "no bfloat16", "no compiler"])
def processor(request, monkeypatch):
    on_processor(monkeypatch, request.param != "no bfloat16", request.param != "no compiler")
    return request.param


def on_processor(monkeypatch, has_bfloat16, has_compiler=True):
    natives = {torch.float32} | ({torch.bfloat16} if has_bfloat16 else set())
    monkeypatch.setattr(hardware, "device_type", lambda use_cpu=False: "cpu")
    monkeypatch.setattr(hardware, "multiplies_natively", lambda dtype=torch.bfloat16, device="cpu": dtype in natives)
    monkeypatch.setattr(machine, "has_compiler", lambda device: has_compiler)
    monkeypatch.setattr(machine, "cpu_flops", lambda: 5e11)


def settled(**changes):
    recipe = parse_recipe({**MINIMAL, "bf16": True, **changes})
    return recipe.training.bf16, recipe.training.torch_compile, recipe.model.attn_implementation


@pytest.mark.parametrize("length", [{"max_minutes": 8.0}, {"max_steps": 5000}])
def test_a_long_run_is_compiled_where_that_pays(processor, length):
    expected = {"bfloat16": (True, True, "eager"), "no bfloat16": (False, True, None), "no compiler": (True, False, None)}
    assert settled(**length) == expected[processor]


def test_what_compiling_saves_less_of_has_to_be_longer(monkeypatch):
    for has_bfloat16 in (True, False):
        on_processor(monkeypatch, has_bfloat16)
        assert settled(max_minutes=3.0)[1] == has_bfloat16


@pytest.mark.parametrize(
    "length", [{"max_minutes": 1.0}, {"max_steps": 10}, {}, {"max_minutes": 60.0, "max_steps": 10}, {"num_train_epochs": 3}]
)
def test_a_short_run_is_not_compiled(monkeypatch, length):
    on_processor(monkeypatch, has_bfloat16=True)
    monkeypatch.setattr(machine, "cpu_flops", lambda: pytest.fail("measured for a run that is short anywhere") or 1.0)
    assert settled(**length) == (True, False, None)


def test_a_recipe_that_says_it_is_obeyed(monkeypatch):
    on_processor(monkeypatch, has_bfloat16=False)
    assert settled(max_steps=2, torch_compile=True, attn_implementation="eager") == (False, True, "eager")
    on_processor(monkeypatch, has_bfloat16=True)
    assert settled(max_minutes=60.0, torch_compile=False) == (True, False, None)
    assert settled(max_minutes=60.0, attn_implementation="sdpa") == (True, True, "sdpa")


@pytest.mark.parametrize("more", [{}, {"torch_compile_mode": "default"}, {"torch_compile_backend": "inductor"}])
def test_whoever_asks_for_compiling_is_told_that_there_is_no_compiler(monkeypatch, more):
    on_processor(monkeypatch, has_bfloat16=True, has_compiler=False)
    recipe = parse_recipe({**MINIMAL, "torch_compile": True, **more})
    assert not recipe.training.torch_compile
    assert [line for line in recipe.notices if line.startswith("torch_compile: no C++ compiler")]


def test_what_excludes_compiling_is_not_compiled(monkeypatch):
    on_processor(monkeypatch, has_bfloat16=True)
    assert settled(max_minutes=60.0, label_smoothing_factor=0.1) == (True, False, None)


def test_packaged_recipes_leave_the_machine_to_the_machine(packaged):
    for name, recipe in packaged.items():
        assert not {"torch_compile", "attn_implementation"} & set(recipe.values), name


def test_a_task_is_not_compiled(monkeypatch):
    on_processor(monkeypatch, has_bfloat16=True)
    recipe = load_recipe("finetune/imdb", ["max_steps=1000000"])
    assert not recipe.training.torch_compile


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"bf16": True}, "bf16: this processor has no bfloat16 instructions, continuing in float32."),
        ({"fp16": True}, "fp16: this processor has no float16 instructions, continuing in float32."),
        ({"tf32": True}, "tf32: TensorFloat-32 is a type of NVIDIA GPUs"),
        ({"dataloader_pin_memory": True}, "dataloader_pin_memory: pinned memory"),
        ({"torch_empty_cache_steps": 5}, "torch_empty_cache_steps: only accelerators"),
    ],
)
def test_what_a_processor_does_not_do_gets_one_line(monkeypatch, values, told):
    on_processor(monkeypatch, has_bfloat16=False)
    recipe = parse_recipe({**MINIMAL, **values})
    assert len(recipe.notices) == 1
    assert recipe.notices[0].startswith(told)
    assert not any(recipe.training_values.get(key) for key in values)


def test_float16_on_a_processor_that_has_it_is_not_trained_in(monkeypatch):
    on_processor(monkeypatch, has_bfloat16=True)
    monkeypatch.setattr(hardware, "multiplies_natively", lambda dtype=torch.bfloat16, device="cpu": True)
    recipe = parse_recipe({**MINIMAL, "fp16": True})
    assert not recipe.training.fp16
    assert "fp16: training in float16 needs a GPU" in recipe.notices[0]


# --------------------------------------------------------------------------------------------------- a run resumed


def begun(folder, monkeypatch, has_bfloat16, **changes):
    """A folder with what a run leaves that began on a processor."""
    on_processor(monkeypatch, has_bfloat16)
    recipe = parse_recipe({**MINIMAL, "output_dir": str(folder), "bf16": True, "max_minutes": 8.0, **changes})
    folder.mkdir()
    (folder / RECIPE_FILE).write_text(recipe_text(recipe))
    settle(folder, **recipe.machine)
    return recipe


def test_a_resumed_run_computes_as_it_began(tmp_path, monkeypatch):
    before = begun(tmp_path / "run", monkeypatch, has_bfloat16=False)
    assert before.machine["bf16"] is False
    on_processor(monkeypatch, has_bfloat16=True)
    recipe = parse_recipe(before.values)
    assert (recipe.training.bf16, recipe.training.torch_compile, recipe.model.attn_implementation) == (False, True, None)
    assert recipe.notices == ["bf16: this run began in float32, and stays so."]
    # A new run, in place of a finished one, has what is best here.
    (tmp_path / "run" / "record.json").write_text("{}")
    assert parse_recipe({**before.values, "overwrite": True}).training.bf16


def test_a_resumed_run_says_that_the_machine_is_another(tmp_path, monkeypatch):
    before = begun(tmp_path / "run", monkeypatch, has_bfloat16=True)
    on_processor(monkeypatch, has_bfloat16=False)
    recipe = parse_recipe(before.values)
    assert not recipe.training.bf16
    assert len(recipe.notices) == 2
    assert "This machine differs from the one that the run began on (bf16 True → False" in recipe.notices[1]


# ------------------------------------------------------------------------------------- the loss, scoring, planning


@pytest.mark.parametrize("vocab_size", [97, 8192, 50304, 151936])
@pytest.mark.parametrize("element_size", [2, 4])
def test_slices_of_the_loss_are_measured_in_bytes(vocab_size, element_size):
    on_cpu = slice_tokens(vocab_size, 16384, element_size, "cpu")
    on_gpu = slice_tokens(vocab_size, 16384, element_size, "cuda")
    assert on_cpu <= on_gpu <= 16384
    assert on_cpu == 128 or on_cpu * vocab_size * (4 + element_size) <= 2**26
    assert slice_tokens(vocab_size, 5, element_size, "cpu") == 5
    assert slice_tokens(vocab_size, 1, element_size, "cuda") == 1


def test_slices_of_the_loss_are_those_that_were_fastest():
    assert 512 <= slice_tokens(8192, 4096, 4, "cpu") <= 1024
    assert 512 <= slice_tokens(8192, 4096, 2, "cpu") <= 1024
    assert slice_tokens(50304, 4096, 4, "cpu") < 512
    assert slice_tokens(50304, 16384, 2, "cuda") == 8192


def test_a_plan_counts_the_slices_that_the_loss_makes():
    config = hf_gpt.preset("modern-5m", vocab_size=8192)
    for on_cpu, device in ((True, "cpu"), (False, "cuda")):
        load = planning.Workload(256, 64, bfloat16=True, on_cpu=on_cpu)
        tokens = slice_tokens(8192, 64 * 256, 2, device)
        assert planning.loss_bytes(config, load)["logits"] == 12 * tokens * 8192


def test_weights_in_a_type_that_is_emulated_run_in_float32(tmp_path, monkeypatch, saved_bfloat16_model):
    on_processor(monkeypatch, has_bfloat16=False)
    assert inference.load_model(saved_bfloat16_model)[0].dtype == torch.float32
    assert inspection.load(saved_bfloat16_model)[0].dtype == torch.float32
    assert inference.load_model(saved_bfloat16_model, as_saved=True)[0].dtype == torch.bfloat16
    on_processor(monkeypatch, has_bfloat16=True)
    assert inference.load_model(saved_bfloat16_model)[0].dtype == torch.bfloat16


@pytest.fixture(scope="module")
def saved_bfloat16_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bfloat16")
    tokenizer = train_tokenizer([["a text of few words"] * 20], 300, 64)
    config = tiny_config("modern", vocab_size=len(tokenizer))
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_a_processor_is_measured_in_the_type_that_it_multiplies(monkeypatch, has_bfloat16):
    on_processor(monkeypatch, has_bfloat16)
    measured = []
    monkeypatch.setattr(hardware, "product_seconds", lambda dtype, size, repeats: measured.append(dtype) or 1.0)
    device = planning.devices.measured_cpu(seconds=0.0)
    assert set(measured) == {torch.bfloat16 if has_bfloat16 else torch.float32}
    assert device.source.endswith("in bfloat16" if has_bfloat16 else "in float32")
