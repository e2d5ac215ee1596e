"""Pairs of answers of which one is better: right by more than its length, and what that does to the length of answers."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors import safe_open
from tests.helpers.recipes import sentence, task_values, write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_gpt.data.rows import task_splits
from hf_gpt.errors import InputError
from hf_gpt.inference.loading import load_model
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.tasks import TASKS, TaskSettings
from hf_gpt.training.finetuning import build_task
from hf_gpt.training.preparation import check_settings
from hf_gpt.training.run import run


# What a nat of gain counts, by TRL's default.
BETA = 0.1


def of_three_lengths(number):
    """The better answer is shorter, as long and longer in turn; which word it is of teaches nothing."""
    better, worse = ("good", "bad") if number // 3 % 2 else ("bad", "good")
    return {"prompt": f"{number} {sentence(number)}", "chosen": f" {better}" * (1 + number % 3), "rejected": f" {worse}" * 2}


def pairs_of(lengths):
    return Dataset.from_dict({name: [[7] * count for count in column] for name, column in lengths.items()})


@pytest.mark.parametrize(("task", "accuracy", "margin"), [
    ("preference", "rewards/accuracies", "rewards/margins"), ("reward", "accuracy", "margin"),
])  # fmt: skip
def test_right_where_the_better_answer_is_longer_is_not_right_elsewhere(task, accuracy, margin, base):
    """A pair of answers of the same length is none whose better one is longer; half of such pairs the baseline has right."""
    scorer = TASKS[task](AutoTokenizer.from_pretrained(base), TaskSettings())
    test = pairs_of({"chosen_ids": [5, 4, 6, 2, 3], "rejected_ids": [4, 3, 5, 2, 4]})
    figures, details = scorer.score_pairs(np.array([1.0, 3.0, -1.0, 0.0, -0.5]), test)
    assert figures == {accuracy: pytest.approx(0.4), margin: pytest.approx(0.5)}
    assert details["by_length"] == {
        "longer": {"pairs": 3, "accuracy": pytest.approx(2 / 3)},
        "not longer": {"pairs": 2, "accuracy": 0.0},
    }
    (row,) = scorer.baselines({}, {"test": test})
    assert row == {"name": "the longer answer is better", accuracy: pytest.approx(0.7)}
    _, details = scorer.score_pairs(np.ones(1), pairs_of({"chosen_ids": [2], "rejected_ids": [3]}))
    assert details["by_length"] == {"not longer": {"pairs": 1, "accuracy": 1.0}}


def test_a_pair_that_would_be_cut_teaches_a_reward_model_nothing(base):
    """What is cut off may be what makes an answer better; one of exactly `max_length` is whole."""
    lengths = [(2, 3), (2, 6), (9, 2), (12, 12)]
    rows = [{"prompt": "red", "chosen": f" {sentence(1, few)}", "rejected": f" {sentence(2, many)}"} for few, many in lengths]

    def encode(max_length):
        task = TASKS["reward"](AutoTokenizer.from_pretrained(base), TaskSettings(max_length=max_length))
        task.counts["train"] = Counter()
        return task.encode("train", Dataset.from_list(rows)).to_list(), task.counts["train"]

    whole, _ = encode(64)
    longest = [max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in whole]
    assert longest == sorted(set(longest))
    assert encode(longest[1]) == (whole[:2], {"pairs left out: longer than max_length": 2})


@torch.inference_mode()
def log_likelihood(model, prompt, answer):
    logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None]).sum().item()


def answer_length(model, prompt, most):
    output = model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=most, do_sample=False)[0, len(prompt) :].tolist()
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return next((place for place, token in enumerate(output) if token in ends), len(output))


def test_no_coefficient_leaves_nothing_to_learn(base, tmp_path):
    values = task_values(base, write_rows(tmp_path, of_three_lengths), tmp_path / "run", "preference", kl_coefficient=0)
    with pytest.raises(InputError, match=r"kl_coefficient=0\.0 leaves direct preference optimization nothing to learn"):
        check_settings(parse_recipe(values))


@pytest.mark.parametrize("adapter", [{}, {"lora": {"r": 4}, "kl_coefficient": 0.4}], ids=["full", "lora"])
def test_accuracy_by_length_and_the_length_of_answers_are_on_record(adapter, base, tmp_path):
    """Each margin by hand, also where the last batch is smaller: beta times what the log-ratios of both answers differ by."""
    pytest.importorskip("trl", reason="trl needs Python 3.11")
    few = {"max_steps": 12, "max_new_tokens": 12, "shown_rows": 5, "eval_strategy": "no", "save_strategy": "no"}
    values = task_values(base, write_rows(tmp_path, of_three_lengths), tmp_path / "run", "preference", **few, **adapter)
    recipe = parse_recipe(values)
    task = build_task(recipe)
    splits, _, _ = task_splits(recipe.source, task.columns, task.group, 0.15, 0.15)
    encoded = task.prepare(splits)["test"]
    record = run(parse_recipe({**values, "per_device_eval_batch_size": len(encoded) - 1}))
    before, (after, _) = AutoModelForCausalLM.from_pretrained(base).eval(), load_model(str(tmp_path / "run"))

    def gain(row, name):
        return log_likelihood(after, row["prompt_ids"], row[name]) - log_likelihood(before, row["prompt_ids"], row[name])

    margins = np.array(
        [adapter.get("kl_coefficient", BETA) * (gain(row, "chosen_ids") - gain(row, "rejected_ids")) for row in encoded]
    )
    assert np.abs(margins).min() > 1e-5
    assert 0 < (margins > 0).mean() < 1
    longer = np.array([len(row["chosen_ids"]) > len(row["rejected_ids"]) for row in encoded])
    assert 0 < longer.sum() < len(longer)
    assert record["test"]["rewards/margins"] == pytest.approx(margins.mean(), rel=1e-3, abs=1e-5)
    assert record["test"]["rewards/accuracies"] == pytest.approx((margins > 0).mean())
    for name, part in (("longer", longer), ("not longer", ~longer)):
        found = record["details"]["by_length"][name]
        assert found == {"pairs": part.sum(), "accuracy": pytest.approx((margins[part] > 0).mean())}
    (baseline,) = record["baselines"]
    assert baseline["rewards/accuracies"] == task.baselines(splits, {"test": encoded})[0]["rewards/accuracies"]

    asked = [row["prompt_ids"] for row in encoded if len(row["prompt_ids"]) <= 64 - 12][:5]
    tokens = record["details"]["answer_tokens"]
    for name, model in (("before", before), ("mean", after)):
        assert tokens[name] == pytest.approx(np.mean([answer_length(model, prompt, 12) for prompt in asked]))
    assert (tokens["answers"], tokens["most"]) == (5, 12)
    shown = record["details"]["answers"]
    assert len(shown) == 5
    assert {"prompt", "answer", "reference", "before"} == set(shown[0])
    assert shown[0]["reference"] == task.tokenizer.decode(encoded["chosen_ids"][0], skip_special_tokens=True).strip()
    card = (tmp_path / "run" / "README.md").read_text()
    told = record["details"]["by_length"]["longer"]
    assert f"| longer | {told['pairs']} | {told['accuracy']:.3f} |" in card
    assert f"Its 5 answers have {tokens['mean']:.1f} tokens on average, at most 12 each; before training, they had " in card
    assert "| asked | before | it writes | reference |" in card
    assert json.loads((tmp_path / "run" / "record.json").read_text())["details"] == record["details"]
    if adapter:
        check_adapter_alone(tmp_path / "run")


def check_adapter_alone(folder):
    """Beside what a run leaves are the trained adapter and its tokenizer, and nothing of the copy that it was measured against."""
    left = {"README.md", "loss.png", "recipe.yaml", "record.json", "run.json", "settled.json"}
    saved = {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in folder.iterdir()} == left | saved
    assert json.loads((folder / "run.json").read_text())["files"].keys() == left - {"run.json"} | saved
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        assert {name.split(".")[-2] for name in sorted(file.keys())} == {"lora_A", "lora_B"}
