"""On the device every generation computes what it computes on a processor, and a run is resumed, compiled and quick there, too.

make test-gpu
"""

import copy

import pytest
import torch
from benchmarks.tiny import tiny_overrides
from safetensors.torch import load_file
from tests.conftest import randomize, tiny_config
from tests.helpers.runs import killed_after, short_values
from transformers import AutoModel, AutoModelForCausalLM

import hf_gpt
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.evaluation.evaluate import evaluate_folder
from hf_gpt.inference import guesses
from hf_gpt.inference import inspect as inspection
from hf_gpt.inference.writing import stream_text
from hf_gpt.planning import hardware
from hf_gpt.recipe.parser import load_recipe, parse_recipe
from hf_gpt.training.optimizers import OPTIMIZERS
from hf_gpt.training.run import run


LENGTHS = (5, 3, 7)
# The least that flex takes on a GPU.
HEAD_DIM = 16
NEW_TOKENS = 12


def token_ids(rows=3, length=15):
    return torch.randint(2, 96, (rows, length), generator=torch.Generator().manual_seed(0))


def both(architecture, device, auto=AutoModelForCausalLM, attention="sdpa", **overrides):
    """The same weights on the processor, with the formula for attention, and on the device."""
    plain = randomize(auto.from_config(tiny_config(architecture, eos_token_id=None, head_dim=HEAD_DIM, **overrides)))
    moved = copy.deepcopy(plain).to(device)
    plain.set_attn_implementation("eager")
    moved.set_attn_implementation(attention)
    return plain, moved


def kernels(device):
    """On a processor, flex has no backward pass."""
    return ["eager", "sdpa", *(["flex_attention"] if device == "cuda" else [])]


def test_logits_and_gradients_are_those_of_the_processor(architecture, device):
    ids = token_ids()
    for attention in kernels(device):
        plain, moved = both(architecture, device, attention=attention)
        for model in (plain, moved):
            loss = model.train()(ids.to(model.device), labels=ids.to(model.device)).loss
            loss.backward()
        logits = [model.eval()(ids.to(model.device)).logits.detach().cpu() for model in (plain, moved)]
        torch.testing.assert_close(*logits, rtol=0, atol=2e-4)
        for (name, mine), other in zip(plain.named_parameters(), moved.parameters()):
            torch.testing.assert_close(other.grad.cpu(), mine.grad, rtol=1e-3, atol=2e-4, msg=f"{attention}: {name}")


@torch.no_grad()
def test_padding_and_packing_hide_what_they_hide_on_the_processor(architecture, device):
    ids, mask = token_ids(), torch.ones(3, 15, dtype=torch.long)
    mask[1, :4], mask[2, :9] = 0, 0
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None].expand(3, -1)
    for attention in kernels(device):
        plain, moved = both(architecture, device, AutoModel, attention)
        for named in ({"attention_mask": mask}, {"position_ids": positions}):
            expected = plain(ids, **named).last_hidden_state
            found = moved(ids.to(device), **{name: value.to(device) for name, value in named.items()}).last_hidden_state.cpu()
            # What stands in the place of padding is nobody's.
            is_token = named.get("attention_mask", torch.ones_like(ids)).bool()
            torch.testing.assert_close(found[is_token], expected[is_token], rtol=0, atol=2e-4)


@torch.no_grad()
def test_every_cache_writes_the_tokens_of_the_processor(architecture, device):
    plain, moved = both(architecture, device)
    ids, mask = token_ids(length=9), torch.ones(3, 9, dtype=torch.long)
    mask[1, :3] = 0
    lengths = {"max_new_tokens": NEW_TOKENS, "do_sample": False}
    expected = plain.generate(ids, attention_mask=mask, use_cache=False, **lengths)
    for cache in ("dynamic", "static"):
        options = {"cache_implementation": cache, **({"disable_compile": True} if cache == "static" else {})}
        found = moved.generate(ids.to(device), attention_mask=mask.to(device), **lengths, **options)
        assert torch.equal(found.cpu(), expected), cache


def test_what_reads_and_writes_with_a_model_does_so_on_the_device(device, tmp_path, monkeypatch):
    tokenizer = train_tokenizer(iter([["This movie is a good film that I watched twice"]]), 300, 64)
    randomize(hf_gpt.GPTForCausalLM(tiny_config("modern", vocab_size=len(tokenizer)))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "text.txt").write_text("This movie is a good film.\n" * 40)
    monkeypatch.setattr(hardware, "device_type", lambda: device)
    model, tokenizer = inspection.load(str(tmp_path))
    assert model.device.type == device
    assert inspection.attention_maps(model, tokenizer, "This movie")[1].device.type == "cpu"
    assert inspection.read_text(model, tokenizer, "This movie is good").perplexity > 1
    assert guesses.expected_at(model, tokenizer, "This movie", 1)
    assert list(stream_text(model, tokenizer, "This movie", 4, 1.0, 0.9, 5, 0))
    score, _ = evaluate_folder(str(tmp_path), str(tmp_path / "text.txt"), 16, None, 4)
    assert score.loss > 0


def test_the_chunked_loss_under_autocast_is_that_of_the_logits(device):
    model = randomize(hf_gpt.GPTForCausalLM(tiny_config("modern")), std=0.1).to(device).train()
    ids = token_ids().to(device)
    losses = []
    for fused in (False, True):
        model.config.fused_loss = fused
        with torch.autocast(device, torch.bfloat16):
            losses.append(model(ids, labels=ids).loss)
    torch.testing.assert_close(*losses, rtol=5e-3, atol=0)


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_a_step_of_the_optimizer_is_that_of_the_processor(optimizer, device):
    rates = dict.fromkeys(("embedding_lr", "head_lr", "rest_lr"), 0.01)
    weights = []
    for model in both("modern", device):
        made = OPTIMIZERS[optimizer](model, 0.01, **rates, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8)
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(model.device)
        made.step()
        assert all(bool(group.get("fused")) == model.device.type.startswith("cuda") for group in made.param_groups[1:])
        weights.append([parameter.detach().cpu() for parameter in model.parameters()])
    # Muon's rounds in bfloat16 end within a hundredth of each other, times the rate.
    for mine, other in zip(*weights):
        torch.testing.assert_close(other, mine, rtol=0, atol=5e-4)


def test_a_run_that_was_killed_resumes_to_the_same_weights(corpus, tmp_path, device):
    changes = {"use_cpu": device == "cpu", "full_determinism": True}
    run(parse_recipe(short_values(corpus, tmp_path / "whole", **changes)))
    values = short_values(corpus, tmp_path / "killed", **changes)
    killed_after(values, 3)
    run(parse_recipe(values))
    whole, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_the_quickstart_runs_and_learns(corpus, tmp_path, device):
    small = tiny_overrides(corpus) if device == "cpu" else [f"dataset={{path: json, files: {corpus}, text_column: body}}"]
    small += ["max_steps=20", "logging_steps=5", "torch_compile=false", "report_to=none"]
    record = run(load_recipe("pretrain/quickstart", [*small, f"output_dir={tmp_path / 'run'}"]))
    losses = [row["loss"] for row in record["history"] if "loss" in row]
    assert losses[-1] < losses[0]
    assert record["precision"] == ("bfloat16" if device == "cuda" else "float32")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only a GPU can be waited for")
def test_nothing_of_a_step_waits_for_the_device(tmp_path):
    from datasets import Dataset
    from transformers import TrainerCallback, TrainingArguments

    from hf_gpt.training.objectives import collate
    from hf_gpt.training.trainer import GuardedTrainer

    class Strict(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            torch.cuda.set_sync_debug_mode("error" if state.global_step >= 2 else "default")

        def on_step_end(self, args, state, control, **kwargs):
            torch.cuda.set_sync_debug_mode("default")

    model = hf_gpt.GPTForCausalLM(tiny_config("modern", fused_loss=True))
    rows = Dataset.from_dict({"input_ids": torch.randint(2, 96, (12, 16)).tolist()}).with_format("numpy")
    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=6,
        per_device_train_batch_size=2,
        bf16=True,
        logging_steps=100,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
    )
    optimizer = hf_gpt.Muon(model, lr=0.01)
    trainer = GuardedTrainer(
        model, arguments, train_dataset=rows, data_collator=collate, callbacks=[Strict()], optimizers=(optimizer, None)
    )
    trainer.train()
