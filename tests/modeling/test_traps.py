"""What transformers does to a model from outside its tree, each test by the trap that it closes or the promise it keeps."""

import json
import os
import subprocess
import sys

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tests.conftest import ARCHITECTURES, randomize, tiny_config
from transformers import AutoModel, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel
from transformers.cli.serving.model_manager import ModelManager

import hf_gpt
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.modeling.configuration_hf_gpt import AUTO_MAP


@pytest.fixture
def ids():
    return torch.randint(2, 96, (2, 12), generator=torch.Generator().manual_seed(0))


def language_model(architecture, **overrides):
    torch.manual_seed(0)
    return randomize(AutoModelForCausalLM.from_config(tiny_config(architecture, **overrides)), std=0.1)


# --------------------------------------------------------------------------------------------- loading and saving


def test_the_saved_code_alone_makes_every_head_on_the_same_trunk(tmp_path):
    """In a process where the package cannot be imported, for it would win over the code beside the weights."""
    wanted = {}
    tokens = torch.arange(2, 14)[None]
    for name in ARCHITECTURES:
        model = language_model(name)
        model.save_pretrained(tmp_path / name)
        wanted[name] = model.model(tokens).last_hidden_state.detach()
    script = f"""
import sys
sys.modules["hf_gpt"] = None
import torch, transformers
wanted = torch.load({str(tmp_path / "wanted.pt")!r})
for name, state in wanted.items():
    for auto in {sorted(set(AUTO_MAP) - {"AutoConfig"})}:
        model = getattr(transformers, auto).from_pretrained({str(tmp_path)!r} + "/" + name, trust_remote_code=True)
        assert type(model).__module__.startswith("transformers_modules."), type(model)
        trunk = model if auto == "AutoModel" else model.model
        assert torch.equal(trunk.eval()(torch.arange(2, 14)[None]).last_hidden_state, state), (name, auto)
"""
    torch.save(wanted, tmp_path / "wanted.pt")
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")}
    environment.pop("PYTHONPATH", None)
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


def exact_frequencies() -> torch.Tensor:
    return 1.0 / 10_000.0 ** (torch.arange(0, 8, 2).float() / 8)


@pytest.mark.parametrize("options", [{}, {"dtype": torch.bfloat16}, {"device_map": {"": "cpu"}}], ids=str)
def test_rotary_frequencies_are_no_weights_and_yet_right_after_loading(options, tmp_path, ids):
    model = language_model("modern")
    model.save_pretrained(tmp_path)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "inv_freq" in name]
    again = AutoModelForCausalLM.from_pretrained(tmp_path, **options)
    for buffer in (again.model.embed_positions.inv_freq, again.model.embed_positions.original_inv_freq):
        torch.testing.assert_close(buffer, exact_frequencies(), rtol=0, atol=0)
    if again.dtype == torch.float32:
        assert torch.equal(again(ids).logits, model(ids).logits)


def test_a_model_born_without_memory_gets_its_frequencies_with_its_weights():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(tiny_config("modern"))
    model.to_empty(device="cpu").init_weights()
    torch.testing.assert_close(model.model.embed_positions.inv_freq, exact_frequencies(), rtol=0, atol=0)
    assert model.model.layers[0].self_attn.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_change_of_dtype_leaves_rotary_frequencies_exact(dtype):
    """Rounded to bfloat16, they are off by up to one part in 512: more than a radian at position 1,000."""
    model = language_model("modern").to(dtype)
    assert model.lm_head.weight.dtype == dtype
    torch.testing.assert_close(model.model.embed_positions.inv_freq, exact_frequencies(), rtol=0, atol=0)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_the_output_matrix_is_the_embedding_exactly_when_the_config_says_so(architecture, tied, tmp_path, ids):
    model = language_model(architecture, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    assert ("lm_head.weight" in load_file(tmp_path / "model.safetensors")) is not tied
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again(ids).logits, model(ids).logits)
    for changed in (again, again.to(torch.float64), again.float()):
        assert (changed.lm_head.weight is changed.model.embed_tokens.weight) is tied
    again.resize_token_embeddings(101)
    assert again.config.vocab_size == again.lm_head.out_features == again.model.embed_tokens.num_embeddings == 101
    assert (again.lm_head.weight is again.model.embed_tokens.weight) is tied
    torch.testing.assert_close(again(ids).logits[..., :96], model(ids).logits, rtol=0, atol=1e-5)
    assert again.train()(torch.full((1, 4), 100), labels=torch.full((1, 4), 100)).loss.isfinite()


def test_an_imported_checkpoint_is_saved_as_ours_and_a_native_one_as_it_was(tmp_path):
    """Conversions that are registered with transformers fire while saving, too; ours are not registered."""
    native = randomize(GPT2LMHeadModel(GPT2Config(vocab_size=96, n_positions=32, n_embd=32, n_layer=2, n_head=4)))
    native.save_pretrained(tmp_path / "native")
    before = load_file(tmp_path / "native" / "model.safetensors")
    assert "transformer.h.0.attn.c_attn.weight" in before

    imported = hf_gpt.import_checkpoint(tmp_path / "native")
    imported.save_pretrained(tmp_path / "ours")
    ours = load_file(tmp_path / "ours" / "model.safetensors")
    assert set(ours) == set(imported.state_dict()) - {"lm_head.weight"}
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"] == "hf_gpt"

    again = AutoModelForCausalLM.from_pretrained(tmp_path / "native")
    assert type(again) is GPT2LMHeadModel
    again.save_pretrained(tmp_path / "again")
    after = load_file(tmp_path / "again" / "model.safetensors")
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_transformers_serve_loads_a_folder_with_its_own_loader(tmp_path):
    for name in set(AUTO_MAP.values()) - {AUTO_MAP["AutoConfig"]}:
        class_name = name.split(".")[1]
        assert getattr(hf_gpt, class_name) is getattr(transformers, class_name)
    language_model("modern", vocab_size=300).save_pretrained(tmp_path)
    train_tokenizer(iter([["a small text of a few words"]]), 280, 64).save_pretrained(tmp_path)
    manager = ModelManager(device="cpu", model_timeout=-1)
    model, tokenizer = manager.load_model_and_processor(manager.process_model_name(str(tmp_path)))
    assert type(model) is hf_gpt.GPTForCausalLM
    assert tokenizer.decode(tokenizer("a small text")["input_ids"], skip_special_tokens=True) == "a small text"


def test_a_misspelt_field_is_refused_by_presets_and_kept_without_effect_by_the_bare_config():
    with pytest.raises(ValueError, match=r"'hidden_sise' is not a field of GPTConfig\. Did you mean 'hidden_size'"):
        hf_gpt.preset("gpt2", hidden_sise=32)
    # As in every config of transformers: people keep fields of their own in it.
    config = hf_gpt.GPTConfig(hidden_sise=32)
    assert config.hidden_size == 768
    assert config.to_dict()["hidden_sise"] == 32


# -------------------------------------------------------------------------------------------------- forward passes


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_masks_may_be_given_by_layer_type(architecture, attention, ids):
    model = language_model(architecture)
    model.set_attn_implementation(attention)
    late = torch.ones(12, 12, dtype=torch.bool).triu(1)
    hidden = {"full_attention": late, "sliding_attention": late | torch.ones(12, 12, dtype=torch.bool).tril(-4)}
    masks = {name: torch.zeros(2, 1, 12, 12).masked_fill(mask, torch.finfo(torch.float).min) for name, mask in hidden.items()}
    torch.testing.assert_close(model(ids, attention_mask=masks).logits, model(ids).logits, rtol=0, atol=1e-5)


def test_attention_weights_are_probabilities_of_what_came_before(architecture, ids):
    model = language_model(architecture)
    model.set_attn_implementation("eager")
    attentions = model(ids, output_attentions=True).attentions
    assert len(attentions) == 2
    for weights, layer_type in zip(attentions, model.config.layer_types):
        assert weights.shape == (2, 4, 12, 12)
        # What a sink takes is missing in the sum.
        total = weights.sum(-1) if not model.config.attention_sinks else weights.sum(-1).ceil()
        torch.testing.assert_close(total, torch.ones(2, 4, 12), rtol=0, atol=1e-5)
        assert not weights.triu(1).any()
        assert bool(weights.tril(-4).any()) is (layer_type == "full_attention")


def test_attention_weights_that_sdpa_cannot_give_are_told(monkeypatch, ids):
    told = []
    logger = transformers.utils.logging.get_logger("transformers.integrations.sdpa_attention")
    monkeypatch.setattr(logger, "warning_once", told.append)
    model = language_model("modern")
    assert model.config._attn_implementation == "sdpa"
    assert not model(ids, output_attentions=True).attentions
    assert "`sdpa` attention does not support `output_attentions=True`" in told[0]
    assert "`eager`" in told[0]


def relative_error(ours, theirs) -> float:
    return ((ours.float() - theirs).norm() / theirs.norm()).item()


# Of the whole tensor, against float32: a few times the rounding of one number, 2^-8 and 2^-11.
TOLERANCES = {torch.bfloat16: 0.03, torch.float16: 0.004}


@pytest.fixture
def torch_warns_each_time():
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


@pytest.mark.filterwarnings("error:Mismatch dtype")
@pytest.mark.usefixtures("torch_warns_each_time")
@pytest.mark.parametrize("fused", [False, True], ids=["loss of logits", "fused loss"])
@pytest.mark.parametrize("how", ["weights", "autocast"])
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_half_precision_stays_near_full_precision(architecture, dtype, how, fused, ids):
    full, low = (language_model(architecture, fused_loss=fused) for _ in range(2))
    if how == "weights":
        low = low.to(dtype)
    with torch.autocast("cpu", dtype=dtype, enabled=how == "autocast"):
        assert relative_error(low(ids).logits, full(ids).logits) < TOLERANCES[dtype]
        loss = low.train()(ids, labels=ids).loss
    wanted = full.train()(ids, labels=ids).loss
    assert loss.item() == pytest.approx(wanted.item(), rel=TOLERANCES[dtype])
    loss.backward()
    wanted.backward()
    for (name, parameter), reference in zip(low.named_parameters(), full.parameters()):
        # A bias of the keys moves all scores of a query alike, so its gradient is nothing but rounding.
        if not name.endswith("k_proj.bias"):
            assert relative_error(parameter.grad, reference.grad) < 3 * TOLERANCES[dtype], name
    with torch.autocast("cpu", dtype=dtype, enabled=how == "autocast"):
        options = {"max_new_tokens": 4, "min_new_tokens": 4, "output_logits": True, "return_dict_in_generate": True}
        output = low.eval().generate(ids, do_sample=False, **options)
    assert len(output.logits) == 4
    assert all(logits.isfinite().all() for logits in output.logits)


@pytest.mark.parametrize("reentrant", [True, False], ids=["reentrant", "not reentrant"])
def test_recomputed_activations_give_the_same_gradients(architecture, reentrant, ids):
    # Scores that are recorded where no gradient is kept balance nothing, which is refused.
    balanced = {"router_aux_loss_coef": 0.0} if reentrant else {}
    model = language_model(architecture, resid_dropout=0.1, attention_dropout=0.1, **balanced).train()
    passes, gradients = [], []
    for block in model.model.layers:
        block.self_attn.register_forward_hook(lambda module, *_: passes.append(module))
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
        passes.clear()
        torch.manual_seed(1)
        model(ids, labels=ids).loss.backward()
        assert len(passes) == 2 * (1 + checkpointing)
        gradients.append([parameter.grad for parameter in model.parameters()])
        model.zero_grad()
    for stored, recomputed in zip(*gradients):
        torch.testing.assert_close(recomputed, stored, rtol=0, atol=1e-6)


def test_every_head_is_reachable_under_its_auto_class():
    for auto_name, target in AUTO_MAP.items():
        if auto_name != "AutoConfig":
            model = getattr(transformers, auto_name).from_config(tiny_config("gpt2"))
            assert type(model) is getattr(hf_gpt, target.split(".")[1])
    assert type(AutoModel.from_config(tiny_config("gpt1")).layers[0]).__name__ == "GPTPostNormBlock"
