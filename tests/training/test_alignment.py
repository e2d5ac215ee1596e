"""What InstructGPT adds: rewards, what is refused of them, and one stage after the other."""

import json
import logging
import re
import shutil
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file
from tests.helpers.recipes import asking, ranking, sentence, talking, task_values, write_rows
from tests.helpers.runs import killed_after, trainer_of
from transformers import AutoTokenizer, EvalPrediction

from hf_gpt.data.rows import task_splits
from hf_gpt.errors import InputError
from hf_gpt.inference.chat import Conversation, write_answer
from hf_gpt.inference.loading import load_model
from hf_gpt.recipe.parser import load_recipe, parse_recipe
from hf_gpt.reports.terminal import is_worth_telling
from hf_gpt.tasks import TASKS
from hf_gpt.tasks.task import RewardName
from hf_gpt.training import rewards
from hf_gpt.training.distributed import read_launch
from hf_gpt.training.finetuning import Finetuning, build_model, build_task
from hf_gpt.training.planned_run import planned_tokens
from hf_gpt.training.reward_model import load_reward_model, scores
from hf_gpt.training.rewards import REWARDS
from hf_gpt.training.run import run
from hf_gpt.training.task_trainers import ALGORITHMS
from hf_gpt.training.trainer import batch_hash


pytest.importorskip("trl", reason="trl needs Python 3.11")
LORA = {"lora": {"r": 4}}
GROUP = 8


# --------------------------------------------------------------------------------------------------------- rewards


def test_each_name_of_a_recipe_has_its_reward_and_its_trainer():
    assert list(get_args(RewardName)) == list(REWARDS)
    assert set(ALGORITHMS) == {"grpo", "rloo"}


def rewarded_task(base, **settings):
    recipe = load_recipe("align/grpo", [f"{key}={value}" for key, value in settings.items()])
    return TASKS["reinforcement"](AutoTokenizer.from_pretrained(base), recipe.task)


def rewarded(base, name, **settings):
    return REWARDS[name](rewarded_task(base, reward=name, **settings), torch.device("cpu"))


def test_rewards_by_hand(base):
    found = rewarded(base, "arithmetic")(completions=["81", "23 + 58 = 81.", "81 or 82", "", "-81"], answer=["81"] * 5)
    assert found == [1, 1, 0, 0, 0]
    assert rewarded(base, "length", max_new_tokens=4)(completion_ids=[[1], [1, 2, 3, 4]]) == [0.75, 0]
    found = rewarded(base, "format", reward_pattern="'[0-9]+'")(completions=["81", " 81\n", "81.", "x"])
    assert found == [1, 1, 0, 0]


@pytest.mark.parametrize("learned", [None, "turn", "text"], ids=str)
def test_a_reward_model_reads_answers_that_end_as_those_it_has_learned_of(learned, base, tmp_path, monkeypatch):
    """Whether an answer ends itself, with the one token or the other, or is cut off."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    text, turn = tokenizer.convert_tokens_to_ids([tokenizer.eos_token, "<turn>"])
    folder = tmp_path / "reward"
    folder.mkdir()
    if learned:
        name = {"turn": "<turn>", "text": tokenizer.eos_token}[learned]
        (folder / "record.json").write_text(json.dumps({"details": {"answer_end": name}}))
    read = []
    monkeypatch.setattr(rewards, "load_reward_model", lambda folder, tokenizer: torch.nn.Identity())
    monkeypatch.setattr(rewards, "scores", lambda model, tokenizer, rows: read.extend(rows) or torch.zeros(len(rows)))
    task = TASKS["reinforcement"](tokenizer, load_recipe("align/grpo", ["reward=model", f"reward_model={folder}"]).task)
    task.stop_ids = [text, turn]
    asked = REWARDS["model"](task, torch.device("cpu"))
    end = text if learned == "text" else turn
    assert asked(prompts=[[7]] * 4, completion_ids=[[8, text], [8, turn], [8], []]) == [0] * 4
    assert read == [[7, 8, end], [7, 8, end], [7, 8, end], [7, end]]


@pytest.fixture(scope="module")
def reward_run(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward")
    values = task_values(base, write_rows(folder, ranking), folder / "reward", "reward", **LORA, learning_rate=0.01)
    return values, run(parse_recipe(values))


def test_a_reward_model_learns_what_is_better_and_is_asked_for_it(base, reward_run):
    values, record = reward_run
    tokenizer = AutoTokenizer.from_pretrained(base)
    assert record["test"]["accuracy"] > 0.9
    assert record["test"]["margin"] > 0
    assert {row["name"] for row in record["baselines"]} == {"the longer answer is better"}
    assert record["details"]["answer_end"] == tokenizer.eos_token
    model = load_reward_model(values["output_dir"], tokenizer)
    end = tokenizer.eos_token_id
    rows = [[*tokenizer(f"{sentence(3)} {word} {sentence(3, 2)}")["input_ids"], end] for word in ("good", "bad", "good")]
    rows[2] = [*rows[2], *rows[2]]
    found = scores(model, tokenizer, rows)
    assert found[0] > found[1]
    alone = torch.stack([model(input_ids=torch.tensor([row])).logits[0, 0] for row in rows])
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)


def test_the_figures_of_a_reward_model_are_those_of_its_pairs(base, reward_run):
    """Also where the last batch is smaller."""
    values, record = reward_run
    recipe = parse_recipe(values)
    task = build_task(recipe)
    splits, _, _ = task_splits(recipe.source, task.columns, task.group, 0.15, 0.15)
    encoded = task.prepare(splits)["test"]
    model = load_reward_model(values["output_dir"], task.tokenizer)
    margins = [
        float(
            model(input_ids=torch.tensor([row["chosen_ids"]])).logits
            - model(input_ids=torch.tensor([row["rejected_ids"]])).logits
        )
        for row in encoded
    ]
    assert record["test"]["margin"] == pytest.approx(sum(margins) / len(margins), rel=1e-3)
    assert record["test"]["accuracy"] == pytest.approx(sum(margin > 0 for margin in margins) / len(margins))


@pytest.mark.parametrize(("pattern", "is_flat"), [("(?!)", True), ("(?s)[a-h].*", False)], ids=["flat", "not flat"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rewards_that_tell_no_answers_apart_are_told(algorithm, pattern, is_flat, base, tmp_path, capsys):
    """Also by RLOO, in whose rewards each answer pays for its distance from the model as it was."""
    few = {"max_steps": 8, "logging_steps": 2, "eval_strategy": "no", "save_strategy": "no", "algorithm": algorithm}
    values = task_values(base, write_rows(tmp_path, asking), tmp_path / "run", "reinforcement", **few, **LORA)
    record = run(parse_recipe({**values, "reward_pattern": pattern}))
    told = capsys.readouterr().out
    line = "In 6 steps so far, all answers to a prompt got the same reward, 0 on average, and nothing is learned of that: take"
    assert told.count(line) == told.count("all answers to a prompt") == is_flat
    card = (tmp_path / "run" / "README.md").read_text()
    assert ("Of the prompts in training, 100 % had answers that all got the same reward" in card) == is_flat
    # What such an objective is depends on what was drawn: the figures are of the answers.
    assert set(record["test"]) == {"reward", "kl", "accuracy"}
    assert "loss" not in record["baselines"][0]
    assert "Test loss" not in card
    assert "![Figures by step](loss.png)" in card


# ---------------------------------------------------------------------------------------------------------- faults


def refusal(values):
    with pytest.raises(InputError) as refused:
        run(parse_recipe(values))
    message = str(refused.value)
    assert "\n" not in message
    return message


FAULTS = [
    ({"reward": None}, "needs reward: one of arithmetic, length, format, model"),
    ({"reward_pattern": "("}, "is no regular expression"),
    ({"reward_pattern": None}, "needs reward_pattern"),
    ({"reward": "model"}, "needs reward_model"),
    ({"reward": "model", "reward_model": "runs/nowhere"}, "reward_model='runs/nowhere' is no folder here: give"),
    ({"reward": "model", "reward_model": "runs/reward"}, "`hf-gpt train align/reward` makes it"),
    ({"adapter": "runs/sft"}, "adapter='runs/sft' is no folder here (`hf-gpt train align/sft` makes it)"),
    ({"num_generations": 3}, "num_generations=3 does not divide the 32 answers of a step"),
    ({"reward": "model", "reward_model": "empty"}, "reward_model='empty' cannot be loaded"),
    ({"adapter": "empty"}, "adapter='empty' has no adapter_config.json"),
    ({"max_length": 8, "max_new_tokens": 8}, "max_new_tokens=8 leaves no room for a prompt within max_length=8"),
]


@pytest.mark.parametrize(("changes", "told"), FAULTS, ids=lambda value: value if isinstance(value, str) else None)
def test_what_reinforcement_cannot_use_is_named_before_rows_and_models_are_read(changes, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    values = task_values("no-base-here/yet", tmp_path / "rows.jsonl", tmp_path / "run", "reinforcement", **changes)
    assert told in refusal(values)
    assert not (tmp_path / "run").exists()


def test_prompts_that_leave_no_room_for_any_answer_are_refused(base, tmp_path):
    values = task_values(base, write_rows(tmp_path, asking), tmp_path / "run", "reinforcement", max_length=8)
    assert "can be used at max_length=8" in refusal(values)


def test_a_base_that_a_packaged_recipe_makes_is_named_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"'runs/reviews' is no folder here \(`hf-gpt train pretrain/reviews` makes it\)"):
        run(load_recipe("finetune/rotten-tomatoes-small"))


def test_prompts_without_the_answer_that_a_reward_needs_are_refused_or_left_out(base, tmp_path):
    rows = write_rows(tmp_path, lambda number: {"prompt": sentence(number)})
    values = task_values(base, rows, tmp_path / "run", "reinforcement", reward="arithmetic")
    assert "compares with the column answer" in refusal(values)
    rows = write_rows(tmp_path, lambda number: {**asking(number), "answer": number if number % 2 else None})
    job = Finetuning(parse_recipe(values))
    job.prepare_data(read_launch(1))
    for name, part in job.splits.items():
        assert job.task.counts[name]["prompts left out: no answer to compare with"] == part["answer"].count(None) > 0
    assert all(row["answer"] for part in job.encoded.values() for row in part)


def test_an_answer_without_the_number_that_a_reward_compares_is_named_with_its_row(base, tmp_path):
    rows = write_rows(tmp_path, lambda number: {**asking(number), "answer": "twelve" if number == 7 else f"#### {number}"})
    values = task_values(base, rows, tmp_path / "run", "reinforcement", reward="arithmetic")
    told = refusal(values)
    assert re.search(
        r"^row \d+ of the (train|validation|test) split has the answer 'twelve', which ends in no number: fix", told
    )
    assert not list(tmp_path.glob("run/checkpoint-*"))
    # Where nothing is compared with it, an answer may be any text.
    Finetuning(parse_recipe({**values, "reward": "format"})).prepare_data(read_launch(1))


@pytest.mark.parametrize(("reward", "accuracy"), [("arithmetic", 3 / 4), ("format", 2 / 4)])
def test_accuracy_is_of_numbers_and_of_texts_where_an_answer_is_no_number(reward, accuracy, base):
    task = rewarded_task(base, reward=reward)
    said, answers = ["It is 3.", "2.50", "Gemini 11", "2,5"], ["3.0", "2.5", "Apollo 11", "5"]
    assert task.metrics(EvalPrediction(said, answers), None) == {"accuracy": accuracy}


def test_prompts_that_leave_no_room_for_an_answer_are_counted(base, tmp_path):
    rows = write_rows(tmp_path, lambda number: {"prompt": f"{number} {sentence(number, 90 if number % 4 else 3)}"})
    values = task_values(base, rows, tmp_path / "run", "reinforcement")
    job = Finetuning(parse_recipe(values))
    job.prepare_data(read_launch(1))
    counted = sum(counts["prompts left out: longer than max_length - max_new_tokens"] for counts in job.task.counts.values())
    assert counted == 120
    assert max(len(row["prompt"]) for row in job.encoded["train"]) <= values["max_length"] - values["max_new_tokens"]


def test_a_packaged_recipe_takes_rows_of_ones_own(tmp_path):
    own = write_rows(tmp_path, asking)
    for name in ("align/reward", "align/grpo", "align/rloo"):
        assert load_recipe(name, [f"dataset.files={own}"]).source.path == "json"


def test_a_folder_that_is_no_reward_model_of_this_tokenizer_is_refused(base, reward_run, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(base)
    for folder in (base, shutil.copytree(base, tmp_path / "language-model")):
        with pytest.raises(InputError, match="gives no number for an answer"):
            load_reward_model(str(folder), tokenizer)
    good = reward_run[0]["output_dir"]
    other = shutil.copytree(good, tmp_path / "other")
    tokenizer.add_tokens(["more"])
    tokenizer.save_pretrained(other)
    with pytest.raises(InputError, match="has another tokenizer than the model"):
        load_reward_model(str(other), AutoTokenizer.from_pretrained(base))
    language = shutil.copytree(good, tmp_path / "adapter")
    config = json.loads((language / "adapter_config.json").read_text())
    (language / "adapter_config.json").write_text(json.dumps({**config, "task_type": "CAUSAL_LM"}))
    with pytest.raises(InputError, match="gives no number for an answer"):
        load_reward_model(str(language), AutoTokenizer.from_pretrained(base))


@pytest.mark.parametrize("adapter", [{}, LORA], ids=["full", "lora"])
def test_a_classifier_of_two_labels_is_no_reward_model(adapter, base, tmp_path):
    from tests.helpers.recipes import classification

    few = {"max_steps": 1, "eval_strategy": "no", "save_strategy": "no", "task_baselines": False}
    rows = write_rows(tmp_path, classification)
    run(parse_recipe(task_values(base, rows, tmp_path / "run", "text-classification", **few, **adapter)))
    with pytest.raises(InputError, match="has 2 labels, and a reward is one number"):
        load_reward_model(str(tmp_path / "run"), AutoTokenizer.from_pretrained(base))


def test_prompts_whose_answers_fill_no_step_are_refused(base, tmp_path):
    """TRL would train on none of them, and say nothing."""
    rows = write_rows(tmp_path, asking, 6)
    values = task_values(base, rows, tmp_path / "run", "reinforcement", per_device_train_batch_size=64)
    assert re.search(
        "train split has [1-6] prompts?, and num_generations=8 answers to each do not fill the 64", refusal(values)
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("length", [{"max_steps": -1, "num_train_epochs": 2}, {"max_steps": 5}], ids=["epochs", "steps"])
def test_a_plan_counts_the_answers_that_a_run_draws(length, algorithm, base, tmp_path):
    rows = write_rows(tmp_path, lambda number: {"prompt": f"{number}: {sentence(number, 1 + number % 9)}"})
    values = task_values(base, rows, tmp_path / "run", "reinforcement", algorithm=algorithm, **length)
    values |= {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 5}
    job, _, trainer = trainer_of(values)
    steps = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())[-1]
    prompts = job.encoded["train"]["prompt"]
    assert len(prompts) % 10, "with prompts for whole steps alone, those that are left out would not show"
    # In an epoch, of the 10 prompts of a step.
    assert steps == (2 * (len(prompts) // 10) if length["max_steps"] < 0 else 5)
    assert job.train_rows() == len(prompts) // 10 * 80
    mean = sum(map(len, prompts)) / len(prompts)
    assert planned_tokens(parse_recipe(values), 1) == pytest.approx(steps * 80 * (mean + values["max_new_tokens"]))


# ---------------------------------------------------------------------------------------------------------- stages


def messages_of(number):
    asked = [{"role": "user", "content": sentence(number)}]
    good, bad = ([{"role": "assistant", "content": f"{word} {sentence(number, 2)}"}] for word in ("good", "bad"))
    return {"messages": [*asked, *good], "prompt": asked, "chosen": good, "rejected": bad, "answer": "7"}


def test_one_stage_follows_the_other_from_adapters(base, tmp_path, caplog):
    """Their base has no chat template: its tokenizer grows in the first, and the others take over its tokens."""
    rows = write_rows(tmp_path, messages_of)
    first = task_values(base, rows, tmp_path / "sft", "chat", **LORA, learning_rate=0.01)
    assert "before" in run(parse_recipe(first))["details"]["answers"][0]
    after = {"adapter": str(tmp_path / "sft")}
    run(parse_recipe(task_values(base, rows, tmp_path / "reward", "reward", **after, learning_rate=0.01)))
    learned = {"reward": "model", "reward_model": str(tmp_path / "reward")}
    values = task_values(base, rows, tmp_path / "grpo", "reinforcement", **after, **learned, learning_rate=0.01)
    record = run(parse_recipe(values))
    (before,) = record["baselines"]
    assert before["kl"] == 0
    assert record["test"]["kl"] > 1e-4
    assert record["test"]["reward"] > before["reward"]
    assert record["recipe"]["reward_model"] == "reward"
    assert str(tmp_path) not in (tmp_path / "grpo" / "record.json").read_text()
    assert {"reward", "kl"} <= set(record["history"][0])
    card = (tmp_path / "grpo" / "README.md").read_text()
    assert "| asked | before | it writes | reference |" in card
    # What TRL measures against is no part of what is left, nor counted.
    assert not (tmp_path / "grpo" / "ref").exists()
    assert record["parameters"] == json.loads((tmp_path / "sft" / "record.json").read_text())["parameters"]
    logged = logging.getLogger("transformers")
    logged.addHandler(caplog.handler)
    caplog.set_level(logging.WARNING, logger="transformers")
    caplog.clear()
    for stage in ("sft", "grpo"):
        model, tokenizer = load_model(str(tmp_path / stage))
        assert isinstance(write_answer(model, Conversation(tokenizer, turns=[sentence(3)]), 8, {"do_sample": False}), str)
        saved = load_file(tmp_path / stage / "adapter_model.safetensors")["base_model.model.model.embed_tokens.weight"]
        torch.testing.assert_close(model.get_input_embeddings().weight, saved, rtol=0, atol=0)
    logged.removeHandler(caplog.handler)
    # What is read of it is all that there is: nothing is drawn, and nothing left out but second copies.
    assert not any(is_worth_telling(record) for record in caplog.records)


def test_the_adapter_of_a_language_model_goes_on_under_a_new_head(base, tmp_path):
    few = {"max_steps": 5, "eval_strategy": "no", "save_strategy": "no", "learning_rate": 0.01}
    run(parse_recipe(task_values(base, write_rows(tmp_path, talking), tmp_path / "sft", "chat", **LORA, **few)))
    (tmp_path / "rows.jsonl").unlink()
    values = task_values(base, write_rows(tmp_path, ranking), tmp_path / "reward", "reward", adapter=str(tmp_path / "sft"))
    recipe = parse_recipe(values)
    model = build_model(recipe, build_task(recipe)).eval()
    language, _ = load_model(str(tmp_path / "sft"))
    ids = torch.randint(5, 300, (1, 9))
    states = [part.get_base_model() if hasattr(part, "get_base_model") else part for part in (model, language)]
    found, wanted = (part.base_model(input_ids=ids).last_hidden_state for part in states)
    torch.testing.assert_close(found, wanted)
    plain = build_model(parse_recipe({**values, "adapter": None, **LORA}), build_task(recipe)).get_base_model()
    assert (plain.base_model(input_ids=ids).last_hidden_state - wanted).abs().max() > 1e-3
    assert any("score" in name for name, parameter in model.named_parameters() if parameter.requires_grad)
    run(recipe)
    further = {"adapter": str(tmp_path / "reward"), "model_name_or_path": "no-base-here/yet"}
    assert "has a head of its own" in refusal(task_values(base, "rows.jsonl", tmp_path / "more", "chat", **further))


# ----------------------------------------------------------------------------------------------------- interruptions


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_killed_run_resumes_to_the_same_bits(algorithm, base, tmp_path):
    """What it draws comes from the generator whose state a checkpoint holds."""
    rows = write_rows(tmp_path, asking)
    few = {"max_steps": 6, "save_steps": 2, "eval_steps": 3, "logging_steps": 1, "algorithm": algorithm, **LORA}
    values = task_values(base, rows, tmp_path / "run", "reinforcement", **few, gradient_accumulation_steps=2)
    killed_after(values, 3)
    resumed = run(parse_recipe(values))
    whole = run(parse_recipe({**values, "output_dir": str(tmp_path / "whole")}))
    found, wanted = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("run", "whole"))
    assert found == wanted
    assert resumed["test"] == whole["test"]


def test_the_best_checkpoint_is_chosen_by_the_reward(base, tmp_path):
    """What is loaded at the end is the trained adapter, and not the copy that it is measured against."""
    best = {
        "metric_for_best_model": "reward",
        "early_stopping_patience": 1,
        "learning_rate": 1e-6,
        "eval_steps": 2,
        "save_steps": 2,
    }
    values = task_values(base, write_rows(tmp_path, asking), tmp_path / "run", "reinforcement", **best, **LORA)
    record = run(parse_recipe(values))
    # A rate of nothing finds nothing better than what is drawn at first.
    assert record["steps"] < 30
    names = json.loads((tmp_path / "run" / "adapter_config.json").read_text())
    assert names["peft_type"] == "LORA"


def test_a_batch_that_is_not_yet_tensors_has_a_hash():
    assert batch_hash([{"prompt": [1, 2]}]) != batch_hash([{"prompt": [1, 3]}])


def test_a_loss_that_is_not_a_number_is_left_out_of_reinforcement(base, tmp_path, monkeypatch):
    from trl import GRPOTrainer

    loss = GRPOTrainer._compute_loss

    def broken(self, model, inputs):
        found = loss(self, model, inputs)
        return found * float("nan") if self.state.global_step == 1 and model.training else found

    monkeypatch.setattr(GRPOTrainer, "_compute_loss", broken)
    few = {"max_steps": 3, "eval_strategy": "no", "save_strategy": "no", **LORA}
    values = task_values(base, write_rows(tmp_path, asking), tmp_path / "run", "reinforcement", **few)
    assert run(parse_recipe({**values, "on_nan": "skip"}))["skipped_steps"] == 1
    assert "the loss is nan" in refusal({**values, "output_dir": str(tmp_path / "stopped")})
