"""What is on the Hub loads elsewhere: in processes of their own, with caches of their own."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, snapshot_download
from tests.hub.store import Fault
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM

from hf_gpt.hub.push import push


REPO = "alice/small"
HEADS = ["", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice"]


def alone(code: str, environment: dict, tmp_path) -> str:
    """Runs Python where `hf_gpt` cannot be imported, and gives what it printed."""
    without = {key: value for key, value in environment.items() if key != "PYTHONPATH"}
    blocked = f"import sys; sys.modules['hf_gpt'] = None\n{code}"
    result = subprocess.run(
        [sys.executable, "-c", blocked],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=without,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout + result.stderr


def with_package(code: str, environment: dict, tmp_path) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout + result.stderr


def test_it_loads_by_name_where_the_package_is_not_installed(hub, folder, environment, tmp_path):
    push(folder)
    code = f"""
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
import transformers
try:
    AutoModelForCausalLM.from_pretrained({REPO!r})
except ValueError as error:
    assert "trust_remote_code" in str(error)
else:
    raise AssertionError("remote code ran without being allowed")
model = AutoModelForCausalLM.from_pretrained({REPO!r}, trust_remote_code=True).eval()
inputs = AutoTokenizer.from_pretrained({REPO!r})("The value of an object", return_tensors="pt")
torch.save(model(**inputs).logits, "logits.pt")
for head in {HEADS!r}:
    other = getattr(transformers, "AutoModel" + head).from_pretrained({REPO!r}, trust_remote_code=True)
    assert type(other).__name__ == "GPT" + (head or "Model"), type(other)
    assert torch.equal(other.get_input_embeddings().weight, model.get_input_embeddings().weight), head
"""
    alone(code, environment, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    inputs = AutoTokenizer.from_pretrained(folder)("The value of an object", return_tensors="pt")
    assert torch.equal(model(**inputs).logits, torch.load(tmp_path / "logits.pt", weights_only=True))


def test_the_installed_code_wins_and_says_so_if_versions_differ(hub, folder, environment, tmp_path):
    push(folder)
    files = hub.files(REPO)
    older = json.loads(files["config.json"]) | {"hf_gpt_version": "0.0.9"}
    hub.put(
        "alice/older", {**files, "config.json": json.dumps(older).encode(), "modeling_hf_gpt.py": b"raise SystemExit('ran')"}
    )
    code = """
import hf_gpt
from transformers import AutoModelForCausalLM
for name in ("alice/small", "alice/older"):
    print(name, flush=True)
    for trust in (False, True):
        model = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=trust)
        assert type(model) is hf_gpt.GPTForCausalLM
model.save_pretrained("again")
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        text=True,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert result.returncode == 0, result.stdout
    same, other = result.stdout.split("alice/older")
    assert "was saved by hf-gpt" not in same
    assert other.count("This checkpoint was saved by hf-gpt 0.0.9; the installed hf-gpt") == 1
    assert json.loads((tmp_path / "again" / "config.json").read_text())["hf_gpt_version"] != "0.0.9"


def test_a_download_that_is_cut_goes_on(hub, folder, tmp_path):
    push(folder)
    hub.faults = [Fault("GET", "/storage/", answer_bytes=5000)]
    place = snapshot_download(REPO, cache_dir=tmp_path / "cache", allow_patterns="*.safetensors")
    assert hub.faults[0].times == 0
    assert (Path(place) / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("cut", [0, 1, 5000])
def test_a_download_that_stays_cut_leaves_nothing_that_loads(hub, folder, tmp_path, cut):
    push(folder)
    hub.faults = [Fault("GET", "/storage/", answer_bytes=cut, times=math.inf)]
    if cut:
        # Each time another piece arrives, and the next request is cut after less than the rest.
        hub.faults.append(Fault("GET", "/storage/", answer_bytes=0, times=math.inf))
        hub.faults[0].times = 1
    with pytest.raises(OSError, match="load the model"):
        AutoModelForCausalLM.from_pretrained(REPO, cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    with pytest.raises(OSError, match=r"model\.safetensors"):
        AutoModelForCausalLM.from_pretrained(REPO, cache_dir=tmp_path / "cache", local_files_only=True)
    hub.faults = []
    again = AutoModelForCausalLM.from_pretrained(REPO, cache_dir=tmp_path / "cache")
    ours = AutoModelForCausalLM.from_pretrained(folder)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in ours.state_dict().items())


def test_an_export_needs_no_code_at_all(hub, folder, told, tmp_path):
    assert told("export", folder, tmp_path / "native", "--layout", "qwen3")[0] == 0
    assert told("push", tmp_path / "native", "--repo", "alice/native")[0] == 0
    files = hub.files("alice/native")
    assert not [name for name in files if name.endswith(".py")]
    card = ModelCard(files["README.md"].decode())
    assert card.data.tags == ["hf-gpt"]
    assert card.data.eval_results[0].metric_value == round(json.loads(files["record.json"])["test"]["loss"], 4)
    assert "import hf_gpt" not in card.text
    assert "`qwen3`" in card.text
    block = re.search(r"```python\n(.*?)```", card.text, flags=re.DOTALL)[1]
    loaded: dict = {}
    exec(block, loaded)
    assert type(loaded["model"]) is Qwen3ForCausalLM
    ids = loaded["tokenizer"]("The value of an object", return_tensors="pt")["input_ids"]
    ours = AutoModelForCausalLM.from_pretrained(folder).eval()
    torch.testing.assert_close(loaded["model"].eval()(ids).logits, ours(ids).logits, rtol=0, atol=1e-5)


STOCK = """
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments
import hf_gpt

class Arrived(TrainerCallback):
    # Pushed in the background, a checkpoint that the next one overtakes would be a commit less.
    def on_save(self, *given, **named):
        trainer.push_in_progress.wait_until_done()

model = AutoModelForCausalLM.from_pretrained("alice/small")
tokenizer = AutoTokenizer.from_pretrained("alice/small")
blocks = [{"input_ids": list(range(2 + i, 18 + i)), "labels": list(range(2 + i, 18 + i))} for i in range(8)]
arguments = TrainingArguments(
    "trained", max_steps=4, save_steps=2, push_to_hub=True, hub_model_id="alice/trained", hub_strategy="every_save",
    hub_always_push=True, report_to="none", use_cpu=True,
)
trainer = Trainer(model, arguments, train_dataset=blocks, processing_class=tokenizer, callbacks=[Arrived()])
trainer.train()
trainer.push_to_hub()
model.push_to_hub("alice/pushed")
tokenizer.push_to_hub("alice/pushed")
torch.save(model.eval()(torch.arange(2, 12)[None]).logits, "trained.pt")

base = AutoModelForCausalLM.from_pretrained("alice/small")
adapted = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
for name, parameter in adapted.named_parameters():
    if "lora_B" in name:
        parameter.data.normal_(std=0.1)
adapted.save_pretrained("adapter")
torch.save(adapted.eval()(torch.arange(2, 12)[None]).logits, "adapted.pt")
"""
LOADED = """
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
ids = torch.arange(2, 12)[None]
for name in ("alice/trained", "alice/pushed"):
    model = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=True).eval()
    assert torch.equal(model(ids).logits, torch.load("trained.pt", weights_only=True)), name
    AutoModelForSequenceClassification.from_pretrained(name, trust_remote_code=True)
    AutoTokenizer.from_pretrained(name)
base = AutoModelForCausalLM.from_pretrained("alice/small", trust_remote_code=True)
adapted = PeftModel.from_pretrained(base, "alice/adapter").eval()
torch.testing.assert_close(adapted(ids).logits, torch.load("adapted.pt", weights_only=True), rtol=0, atol=1e-6)
"""


@pytest.mark.slow
def test_trainer_models_and_adapters_push_themselves(hub, folder, told, environment, tmp_path):
    push(folder)
    with_package(STOCK, environment, tmp_path)
    # One commit for each checkpoint, then the end.
    summaries = [summary for _, summary in hub.repos["alice/trained"].log]
    assert sum("Training in progress, step" in summary for summary in summaries) == 2
    assert {"modeling_hf_gpt.py", "layers_hf_gpt.py", "experts_hf_gpt.py", "loss_hf_gpt.py", "configuration_hf_gpt.py"} <= set(
        hub.files("alice/trained")
    )
    assert "is the base model of this adapter" in told("push", tmp_path / "adapter", "--repo", REPO)[1]
    assert told("push", tmp_path / "adapter", "--repo", "alice/adapter")[0] == 0
    files = hub.files("alice/adapter")
    assert set(files) == {".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors"}
    card = ModelCard(files["README.md"].decode())
    assert card.data.base_model == REPO
    assert card.data.library_name == "peft"
    alone(LOADED, environment, tmp_path)
    # What they pushed is known as ours, and a run may take its place.
    push(folder, "alice/trained")
    assert "training_args.bin" not in hub.files("alice/trained")
