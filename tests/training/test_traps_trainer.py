"""What `Trainer` and TRL do to a model from outside the transformers tree, each test by the trap that it closes."""

import json
import os
import subprocess
import sys
from copy import deepcopy

import peft
import pytest
import torch
from tests.conftest import randomize, tiny_config
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainingArguments,
)

from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training.pretraining import build_model
from hf_gpt.training.saving import save_model
from hf_gpt.training.trainer import GuardedTrainer


ONE_STEP = {
    "max_steps": 1,
    "optim": "sgd",
    "learning_rate": 0.1,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0.0,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "use_cpu": True,
    "disable_tqdm": True,
}


def one_step(model, rows, folder, trainer_class=Trainer, **options) -> float:
    """The loss that `Trainer` logs for one step; the step itself is in the weights, moved by the gradient times 0.1."""
    trainer = trainer_class(model=model, args=TrainingArguments(str(folder), **{**ONE_STEP, **options}), train_dataset=rows)
    trainer.train()
    return trainer.state.log_history[0]["loss"]


def token_rows(*, counted=(10, 10, 10, 10)) -> list[dict]:
    """Four rows of ten tokens, of which the labels of the first so many count."""
    ids = torch.randint(2, 96, (4, 10), generator=torch.Generator().manual_seed(0)).tolist()
    return [
        {"input_ids": row, "attention_mask": [1] * 10, "labels": row[:count] + [-100] * (10 - count)}
        for row, count in zip(ids, counted)
    ]


def smoothed_loss(model, rows) -> float:
    """With labels shifted, and a share of 0.3 for all other tokens."""
    ids, labels = (torch.tensor([row[key] for row in rows]) for key in ("input_ids", "labels"))
    with torch.no_grad():
        logits = model(ids).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), label_smoothing=0.3).item()


SMOOTH = {"label_smoothing_factor": 0.3, "per_device_train_batch_size": 4}
COMPILED = {"torch_compile": True, "torch_compile_backend": "eager"}


@pytest.mark.parametrize("trainer_class", [Trainer, GuardedTrainer])
@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "adapter"])
@pytest.mark.parametrize("compiled", [{}, COMPILED], ids=["", "compiled"])
def test_label_smoothing_compares_each_position_with_the_next_token(compiled, adapter, trainer_class, tmp_path):
    model = randomize(AutoModelForCausalLM.from_config(tiny_config("gpt2")))
    rows = token_rows(counted=(10, 7, 4, 10))
    wanted = smoothed_loss(model, rows)
    if adapter:
        model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM"))
    torch.compiler.reset()
    logged = one_step(model, rows, tmp_path, trainer_class, **SMOOTH, **compiled)
    assert logged == pytest.approx(wanted, abs=1e-4)


def test_our_trainer_shifts_the_labels_of_any_language_model_that_is_compiled(tmp_path):
    sizes = {"vocab_size": 96, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 16}
    model = randomize(GPT2LMHeadModel(GPT2Config(**sizes, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0)))
    wanted = one_step(deepcopy(model), token_rows(), tmp_path, **SMOOTH)
    torch.compiler.reset()
    assert one_step(model, token_rows(), tmp_path, GuardedTrainer, **SMOOTH, **COMPILED) == pytest.approx(wanted, abs=1e-4)


def test_a_class_that_fsdp_derives_keeps_the_name_that_trainer_looks_up(tmp_path):
    model = randomize(AutoModelForCausalLM.from_config(tiny_config("gpt2")))
    rows = token_rows()
    wanted = smoothed_loss(model, rows)
    # What `fully_shard` does to the class of a model.
    model.__class__ = type(f"FSDP{type(model).__name__}", (type(model),), {})
    assert one_step(model, rows, tmp_path, **SMOOTH) == pytest.approx(wanted, abs=1e-4)


def test_labels_are_shifted_for_a_checkpoint_that_is_loaded_by_its_own_code(tmp_path):
    model = randomize(AutoModelForCausalLM.from_config(tiny_config("gpt2")))
    model.save_pretrained(tmp_path / "model")
    rows = token_rows()
    script = f"""
import sys
sys.modules["hf_gpt"] = None
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
for options in ({{}}, {COMPILED}):
    model = AutoModelForCausalLM.from_pretrained({str(tmp_path / "model")!r}, trust_remote_code=True)
    arguments = TrainingArguments({str(tmp_path / "run")!r}, **{ONE_STEP}, **{SMOOTH}, **options)
    trainer = Trainer(model, arguments, train_dataset={rows})
    trainer.train()
    assert abs(trainer.state.log_history[0]["loss"] - {smoothed_loss(model, rows)}) < 1e-4, trainer.state.log_history
"""
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")}
    environment.pop("PYTHONPATH", None)
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


def test_label_smoothing_leaves_a_classifier_its_language_model_loss(tmp_path):
    """L_2, smoothed, + lambda * L_1 (Radford et al. 2018, equation 5)."""
    rows = head_rows(AutoModelForSequenceClassification)
    model = randomize(AutoModelForSequenceClassification.from_config(tiny_config("modern", num_labels=3)), std=0.1)
    alone = one_step(deepcopy(model), rows, tmp_path, GuardedTrainer, **SMOOTH)
    language_model = AutoModelForCausalLM.from_config(tiny_config("modern")).eval()
    language_model.model.load_state_dict(model.model.state_dict())
    ids = torch.tensor([row["input_ids"] for row in rows])
    other = language_model(ids, labels=ids).loss.item()
    model.config.auxiliary_lm_weight = 0.5
    both = one_step(model, rows, tmp_path, GuardedTrainer, **SMOOTH)
    assert both == pytest.approx(alone + 0.5 * other, abs=1e-4)


def head_rows(auto_class) -> list[dict]:
    rows = token_rows()
    for i, row in enumerate(rows):
        labels = row.pop("labels")
        if auto_class is AutoModelForQuestionAnswering:
            row |= {"start_positions": i, "end_positions": i + 2}
        elif auto_class is AutoModelForTokenClassification:
            row["labels"] = [label % 3 for label in labels]
        elif auto_class is AutoModelForMaskedLM:
            # Masked positions are as many as chance made them.
            row["labels"] = [label if j % (i + 2) == 0 else -100 for j, label in enumerate(labels)]
        elif auto_class is AutoModelForMultipleChoice:
            row["input_ids"], row["attention_mask"] = [row["input_ids"], row["input_ids"][::-1]], [[1] * 10] * 2
            row["labels"] = i % 2
        else:
            row["labels"] = i % 3
    return rows


def assert_accumulation_changes_nothing(start, rows, folder):
    models, losses = [deepcopy(start), deepcopy(start)], []
    for model, (size, steps) in zip(models, ((4, 1), (1, 4))):
        options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
        losses.append(one_step(model, rows, folder, **options))
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    moved = 0.0
    for whole, parts, before in zip(*(model.parameters() for model in (*models, start))):
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)
        moved = max(moved, (whole - before).abs().max().item())
    # With nothing learned, everything would be equal.
    assert moved > 1e-3


@pytest.mark.parametrize(
    "auto_class",
    [
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoModelForQuestionAnswering,
        AutoModelForMultipleChoice,
        AutoModelForMaskedLM,
    ],
    ids=lambda auto_class: auto_class.__name__,
)
def test_a_head_learns_the_same_from_one_batch_as_from_its_rows_one_by_one(auto_class, tmp_path):
    config = tiny_config("modern", num_labels=3, is_causal=auto_class is not AutoModelForMaskedLM)
    model = randomize(auto_class.from_config(config), std=0.1)
    assert_accumulation_changes_nothing(model, head_rows(auto_class), tmp_path)


@pytest.mark.parametrize("fused", [True, False], ids=["fused loss", "loss of logits"])
def test_rows_with_few_labels_count_as_little_one_by_one_as_in_one_batch(fused, tmp_path):
    config = tiny_config("modern", fused_loss=fused)
    model = randomize(AutoModelForCausalLM.from_config(config), std=0.1)
    assert_accumulation_changes_nothing(model, token_rows(counted=(10, 3, 6, 2)), tmp_path)


@pytest.mark.parametrize(("config", "fused"), [({}, True), ({"fused_loss": False}, False)])
def test_a_recipe_trains_without_the_logits_unless_it_says_otherwise(config, fused):
    tokenizer = train_tokenizer(iter([["a small text of a few words"]]), 280, 64)
    recipe = parse_recipe({"preset": "modern-5m", "config": config, "dataset": "movie-reviews", "output_dir": "runs/x"})
    assert build_model(recipe, tokenizer).config.fused_loss is fused


def test_what_a_recipe_saves_decodes_with_a_cache_although_trainer_turned_it_off(tmp_path):
    tokenizer = train_tokenizer(iter([["a small text of a few words"]]), 280, 64)
    config = tiny_config("modern", vocab_size=300, fused_loss=True)
    model = AutoModelForCausalLM.from_config(config)
    # The config is not copied: what Trainer sets in it is set in the caller's own.
    assert model.config is config
    trainer = GuardedTrainer(
        model=model, args=TrainingArguments(str(tmp_path), **ONE_STEP), train_dataset=token_rows(), processing_class=tokenizer
    )
    trainer.train()
    assert config.use_cache is False
    save_model(trainer)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["use_cache"] is True
    assert not saved["fused_loss"]
    assert config.use_cache is True
    assert not (tmp_path / "training_args.bin").exists()


@pytest.fixture
def saved_with_tokenizer(tmp_path):
    folder = tmp_path / "model"
    AutoModelForCausalLM.from_config(tiny_config("modern", vocab_size=300)).save_pretrained(folder)
    train_tokenizer(iter([["a small text of a few words"]]), 280, 64).save_pretrained(folder)
    return folder


def test_trl_fine_tunes_a_folder_by_its_path(saved_with_tokenizer, tmp_path):
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    rows = Dataset.from_dict({"text": ["a small text of a few words"] * 8})
    arguments = trl.SFTConfig(
        str(tmp_path / "sft"), **{**ONE_STEP, "max_steps": 6, "optim": "adamw_torch", "learning_rate": 1e-2}, bf16=False
    )
    trainer = trl.SFTTrainer(model=str(saved_with_tokenizer), args=arguments, train_dataset=rows)
    assert trainer.model.config.fused_loss is False
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert losses[-1] < losses[0] - 0.5


def test_trl_prefers_one_answer_over_another(saved_with_tokenizer, tmp_path):
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    rows = Dataset.from_dict({"prompt": ["a small"] * 4, "chosen": [" text"] * 4, "rejected": [" few words"] * 4})
    arguments = trl.DPOConfig(
        str(tmp_path / "dpo"), **{**ONE_STEP, "max_steps": 4, "optim": "adamw_torch", "learning_rate": 1e-2}, bf16=False
    )
    trainer = trl.DPOTrainer(model=str(saved_with_tokenizer), args=arguments, train_dataset=rows)
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    # Before the first step both models are one: -log sigmoid(0).
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses[-1] < losses[0] - 0.1
