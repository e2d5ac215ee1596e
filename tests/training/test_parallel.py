"""Plans for tensor, pipeline and sharded parallelism name what the model has, and two processes give the logits of one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from packaging import version
from tests.conftest import ARCHITECTURES, randomize, tiny_config
from transformers import AutoModelForCausalLM

import hf_gpt
from hf_gpt.modeling.configuration_hf_gpt import AUTO_MAP


# Heads with sinks and experts are split by the plan of expert parallelism alone.
SPLIT = [name for name in ARCHITECTURES if "embed_tokens" not in tiny_config(name).base_model_tp_plan]
HEADS = sorted(set(AUTO_MAP) - {"AutoConfig"})


def matches(pattern: str, names) -> list[str]:
    return [name for name in names if re.fullmatch(re.escape(pattern).replace(r"\*", r"\d+"), name)]


@pytest.mark.parametrize("auto_name", HEADS)
def test_every_entry_of_a_plan_is_a_module_and_every_matrix_of_a_block_has_an_entry(architecture, auto_name):
    model = getattr(transformers, auto_name).from_config(tiny_config(architecture))
    modules = dict(model.named_modules())
    covered = set()
    for pattern in model.tp_plan:
        found = matches(pattern, modules)
        assert found, f"{pattern} is no module of {type(model).__name__}"
        covered |= set(found)
    inside = {name for name, module in modules.items() if ".self_attn." in name or ".mlp." in name}
    wanted = {name for name in inside if isinstance(modules[name], (torch.nn.Linear, torch.nn.RMSNorm))}
    assert wanted
    if architecture in SPLIT:
        assert wanted <= covered
    parameters = dict(model.base_model.named_parameters())
    for pattern in model.config.base_model_ep_plan or {}:
        assert matches(pattern, [*parameters, *dict(model.base_model.named_modules())]), pattern

    base = dict(model.base_model.named_children())
    assert set(model.config.base_model_pp_plan or {}) <= set(base)
    assert set(type(model)._pp_plan or {}) <= {*dict(model.named_children()), *(model.config.base_model_pp_plan or {})}
    classes = {type(module).__name__ for module in modules.values()}
    assert model._no_split_modules
    assert set(model._no_split_modules) <= classes


def test_the_plans_of_the_output_matrix_name_it():
    model = hf_gpt.GPTForCausalLM(tiny_config("gpt2"))
    for plan in (model._tp_plan, model._pp_plan, model._fsdp_plan):
        assert "lm_head" in plan
        assert all(matches(name, dict(model.named_modules())) for name in plan)


SCRIPT = """
import sys, torch, hf_gpt
from transformers import AutoModelForCausalLM
folder, has_experts, names = sys.argv[1], sys.argv[2] == "True", sys.argv[3:]
logits = {}
def shape(weight):
    return tuple(getattr(weight, "to_local", lambda: weight)().shape)
for name in names:
    model = AutoModelForCausalLM.from_pretrained(f"{folder}/{name}", tp_plan="auto").eval()
    assert shape(model.model.layers[0].self_attn.q_proj.weight) == (16, 32)
    with torch.no_grad():
        logits[name] = model(torch.arange(2, 14)[None]).logits
if has_experts:
    from transformers.distributed import DistributedConfig
    parallel = DistributedConfig(tp_size=2, tp_plan="auto", ep_size=2)
    model = AutoModelForCausalLM.from_pretrained(f"{folder}/oss", distributed_config=parallel).eval()
    experts = model.model.layers[0].mlp.experts
    assert [shape(one) for one in (experts.gate_up_proj, experts.down_proj_bias)] == [(2, 128, 32), (2, 32)]
    with torch.no_grad():
        found = model(torch.arange(2, 14)[None]).logits
    logits["oss"] = getattr(found, "full_tensor", lambda: found)()
if torch.distributed.get_rank() == 0:
    torch.save(logits, f"{folder}/logits.pt")
torch.distributed.destroy_process_group()
"""


def launch(script, folder, *arguments):
    """Run a script in two processes on the CPU."""
    (folder / "script.py").write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(Path(hf_gpt.__file__).parents[1]),
    }
    run = [*command, str(folder / "script.py"), *arguments]
    result = subprocess.run(run, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]


def test_two_processes_with_half_of_each_matrix_give_the_logits_of_one(tmp_path):
    """And with half of the experts; one launch, since each takes seconds."""
    # The plan of experts has the names of transformers 5.24.
    has_experts = version.parse(transformers.__version__) >= version.parse("5.24")
    wanted = {}
    for name in [*SPLIT, *(["oss"] if has_experts else [])]:
        torch.manual_seed(0)
        model = randomize(AutoModelForCausalLM.from_config(tiny_config(name)), std=0.1)
        model.save_pretrained(tmp_path / name)
        wanted[name] = model(torch.arange(2, 14)[None]).logits
    launch(SCRIPT, tmp_path, str(tmp_path), str(has_experts), *SPLIT)
    logits = torch.load(tmp_path / "logits.pt", weights_only=True)
    assert set(logits) == set(wanted)
    for name in wanted:
        torch.testing.assert_close(logits[name], wanted[name], rtol=0, atol=1e-5)
