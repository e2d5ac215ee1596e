"""`hf-gpt doctor`: each planted fault is found by its own check and by no other; what is sound is called so."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import ROOT, tiny_config
from transformers import GPT2Config, GPT2LMHeadModel, GptOssConfig, GptOssForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from typer.testing import CliRunner

import hf_gpt
from hf_gpt import cli
from hf_gpt.errors import InputError
from hf_gpt.inference import doctor
from hf_gpt.inference.doctor import CHECKS, FAILED, PASSED, check_saving, examine, files
from hf_gpt.inference.doctor.small_copy import SmallCopy


SOURCE = (ROOT / "tests" / "helpers" / "custom_model.py").read_text(encoding="utf-8")
# A fault by the check that finds it: what of the sound model's text is replaced by what.
FAULTS = {
    "a cache gives what a pass over the whole text gives": ("key, value = cache.update(", "cache.update("),
    "padding on the left changes nothing": ("states, attention_mask, cache", "states, None, cache"),
    "packed documents do not see each other": ("cache, position_ids)", "cache, None)"),
    "labels are shifted by the loss": ("logits=logits, labels=labels", "logits=logits, shift_labels=labels, labels=None"),
    "labels are shifted by label smoothing": ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.setdefault", "# "),
    "gradient checkpointing gives the same gradients": ("torch.tanh(states)", "torch.tanh(states * self.count())"),
    "the padding token is frozen in no text": (
        "config.hidden_size)\n        self.rotary",
        "config.hidden_size, 1)\n        self.rotary",
    ),
    "matrices are tied as the config says": ('_tied_weights_keys = {"lm_head.weight": "embed_tokens.weight"}', ""),
    "buffers are right after loading": ("module.inv_freq.data.copy_(module.frequencies())", "pass"),
    "bfloat16 keeps the rotary frequencies": (
        "dtype=torch.float32) / self.size)",
        "dtype=torch.get_default_dtype()) / self.size)",
    ),
    "attention takes the shapes of engines": ("output.reshape(*states.shape[:-1], -1)", "output.flatten(-2)"),
}
# Of what a block does in training, no pass is like the one before.
COUNTED = """    def count(self):
        self.passes = getattr(self, "passes", 0) + self.training
        return self.passes if self.training else 1

class CustomForCausalLM"""
WITHOUT_A_PROCESS = {name: check for name, check in CHECKS.items() if check is not check_saving}


def custom(folder, *replaced, **config):
    """A checkpoint of the custom model with code of its own, with texts of it replaced."""
    text = SOURCE
    for before, after in replaced:
        assert before in text
        text = text.replace(before, after)
    folder.mkdir()
    (folder / "modeling_custom.py").write_text(text)
    auto_map = {"AutoConfig": "modeling_custom.CustomConfig", "AutoModelForCausalLM": "modeling_custom.CustomForCausalLM"}
    values = {"model_type": "custom", "auto_map": auto_map, "architectures": ["CustomForCausalLM"], **config}
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def failures(findings):
    return {finding.check: finding.advice for finding in findings if finding.result == FAILED}


@pytest.mark.parametrize("check", FAULTS)
def test_a_planted_fault_is_found_by_its_check_alone(check, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", WITHOUT_A_PROCESS)
    # A model that enters its class into the table does it for the whole process.
    monkeypatch.delitem(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "custom", raising=False)
    replaced = [FAULTS[check]]
    if "self.count()" in replaced[0][1]:
        replaced.append(("\nclass CustomForCausalLM", COUNTED))
    _, findings = examine(str(custom(tmp_path / "model", *replaced)), trust_remote_code=True)
    assert list(failures(findings)) == [check], failures(findings)


def test_a_sound_custom_model_and_code_that_needs_a_package_of_its_own(tmp_path, monkeypatch):
    _, findings = examine(str(custom(tmp_path / "sound")), trust_remote_code=True)
    assert {finding.result for finding in findings} == {PASSED}
    # What is importable here and nowhere else.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "only_mine.py").write_text("from torch import nn\n")
    monkeypatch.syspath_prepend(tmp_path / "mine")
    folder = custom(tmp_path / "model", ("from torch import nn\n", "from only_mine import nn\n"))
    _, findings = examine(str(folder), trust_remote_code=True)
    (check, advice), *others = failures(findings).items()
    assert check == "a saved copy loads by its own code"
    assert "only_mine" in advice
    assert not others


def stock_and_ours(folder):
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 300, "num_attention_heads": 4, "num_hidden_layers": 4}
    GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=32, n_layer=4, n_head=4)).save_pretrained(folder / "stock gpt2")
    qwen3 = Qwen3Config(**sizes, num_key_value_heads=2, head_dim=8, pad_token_id=0)
    Qwen3ForCausalLM(qwen3).save_pretrained(folder / "stock qwen3")


@pytest.mark.parametrize("name", ["stock gpt2", "stock qwen3"])
def test_stock_models_are_sound(name, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", WITHOUT_A_PROCESS)
    stock_and_ours(tmp_path)
    title, findings = examine(str(tmp_path / name))
    assert not failures(findings)
    assert "num_hidden_layers 2 of 4" in title
    assert "vocab_size 256 of 300" in title


def test_the_loss_of_a_router_is_no_fault_and_what_stock_gpt_oss_has_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", WITHOUT_A_PROCESS)
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
    few = {"num_key_value_heads": 2, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "pad_token_id": 0}
    config = GptOssConfig(**sizes, **few, output_router_logits=True, router_aux_loss_coef=0.5)
    GptOssForCausalLM(config).save_pretrained(tmp_path)
    _, findings = examine(str(tmp_path))
    # Its masks are made without positions (transformers 5.24).
    assert set(failures(findings)) <= {"packed documents do not see each other"}


def test_our_generations_are_sound_compiled_too(architecture, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", WITHOUT_A_PROCESS)
    hf_gpt.GPTForCausalLM(tiny_config(architecture)).save_pretrained(tmp_path)
    _, findings = examine(str(tmp_path))
    assert not failures(findings)
    assert not [finding for finding in findings if "torch_compile" in finding.advice]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stock gpt2", "stock qwen3", "gpt1", "gpt2", "gpt3", "modern", "oss"])
def test_a_saved_copy_loads_in_a_process_of_its_own(name, tmp_path):
    if name.startswith("stock"):
        stock_and_ours(tmp_path)
    else:
        hf_gpt.GPTForCausalLM(tiny_config(name)).save_pretrained(tmp_path / name)
    small = SmallCopy(str(tmp_path / name))
    assert check_saving(small) is None
    small.close()


def test_files_that_hold_other_matrices_than_the_config_says(tmp_path):
    hf_gpt.GPTForCausalLM(tiny_config("modern", tie_word_embeddings=False)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    check = "matrices are tied as the config says"
    (tmp_path / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    assert "differ in the files" in doctor.run_check(check, SmallCopy(str(tmp_path))).advice
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert doctor.run_check(check, SmallCopy(str(tmp_path))).result == PASSED
    weights = load_file(tmp_path / "model.safetensors")
    save_file({name: weight for name, weight in weights.items() if name != "lm_head.weight"}, tmp_path / "model.safetensors")
    assert "would be random" in doctor.run_check(check, SmallCopy(str(tmp_path))).advice


def test_the_command_ends_with_0_1_or_2(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", WITHOUT_A_PROCESS)
    hf_gpt.GPTForCausalLM(tiny_config("gpt2")).save_pretrained(tmp_path / "ours")
    broken = custom(tmp_path / "broken", FAULTS["padding on the left changes nothing"])
    ended = CliRunner().invoke(cli.app, ["doctor", str(tmp_path / "ours")])
    assert ended.exit_code == 0, ended.output
    assert "sound: no check failed" in ended.output
    ended = CliRunner().invoke(cli.app, ["doctor", str(broken), "--trust-remote-code"])
    assert ended.exit_code == 1
    assert f"1 of {len(WITHOUT_A_PROCESS)} checks failed" in ended.output
    # Code of others runs only when it is asked for.
    with pytest.raises(InputError, match="read it, then let it run by --trust-remote-code"):
        examine(str(broken))
    with pytest.raises(InputError, match="does not exist"):
        examine("runs/nowhere")


def test_a_config_that_cannot_be_cut_is_taken_as_it_is_and_a_model_that_computes_nothing_is_refused(tmp_path):
    begin = "        super().__init__(config)\n        self.embed_tokens"
    whole = custom(tmp_path / "whole", (begin, f"        1 / (config.num_hidden_layers == 3)\n{begin}"))
    small = SmallCopy(str(whole), trust_remote_code=True)
    assert small.changes == {}
    assert len(small.model.layers) == 3
    broken = custom(tmp_path / "broken", ("        states = self.embed_tokens(input_ids)\n", ""))
    with pytest.raises(InputError, match="no causal language model that can be built and computes logits"):
        SmallCopy(str(broken), trust_remote_code=True)


def test_the_n_gram_model_of_ours_keeps_no_cache(tmp_path):
    hf_gpt.NNLMConfig(vocab_size=64).save_pretrained(tmp_path)
    found = doctor.run_check("a cache gives what a pass over the whole text gives", SmallCopy(str(tmp_path)))
    assert (found.result, "keeps no cache" in found.advice) == (doctor.NOT_APPLICABLE, True)


TIED_BY_HAND = (
    ('_tied_weights_keys = {"lm_head.weight": "embed_tokens.weight"}', ""),
    ("        self.gradient_checkpointing = False\n", "        self.lm_head.weight = self.embed_tokens.weight\n"),
    ("    supports_gradient_checkpointing = True\n", ""),
)
IN_AN_ATTRIBUTE = (
    ('self.register_buffer("inv_freq", self.frequencies(), persistent=False)', "self.inv_freq = self.frequencies()"),
    ("module.inv_freq.data.copy_(module.frequencies())", "pass"),
)


@pytest.mark.parametrize(
    ("replaced", "config", "check", "advice"),
    [
        (TIED_BY_HAND, {}, "matrices are tied as the config says", "cannot be saved, since weights are shared otherwise"),
        (TIED_BY_HAND, {"tie_word_embeddings": False}, "matrices are tied as the config says", "built it has one weight"),
        (IN_AN_ATTRIBUTE, {}, "buffers are right after loading", "a tensor in an attribute is garbage"),
    ],
)
def test_a_fault_that_keeps_a_copy_from_loading_is_told_once(replaced, config, check, advice, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "load_alone", lambda small, folder, computes: None)
    _, findings = examine(str(custom(tmp_path / "model", *replaced, **config)), trust_remote_code=True)
    (found, told), *others = failures(findings).items()
    assert found == check
    assert advice in told
    assert not others


def test_nothing_of_the_real_size_is_made(tmp_path):
    """A config of 70 billion parameters is examined on this machine."""
    hf_gpt.preset("gpt3-175b", num_hidden_layers=40).save_pretrained(tmp_path)
    small = SmallCopy.__new__(SmallCopy)
    small.config, small.trust_remote_code = hf_gpt.GPTConfig.from_pretrained(tmp_path), False
    with torch.device("meta"):
        model, changes = small._build()
    assert changes["num_hidden_layers"] == (40, 2)
    assert model.num_parameters() < 2e9
