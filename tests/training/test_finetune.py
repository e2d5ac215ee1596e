"""Every task from recipe to folder: what it learns, that its figures are those of its rows, and that it resumes."""

import itertools
import json
import os
import shutil
import sys
from functools import partial

import pytest
import torch
from huggingface_hub import ModelCard
from reliability.faults import forked, one_thread
from tests.helpers.children import end_of, launched
from tests.helpers.recipes import (
    TASKS,
    classification,
    pair,
    sentence,
    several,
    talking,
    task_values,
    write_recipe,
    write_rows,
)
from tests.helpers.runs import killed_after, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_gpt import cli
from hf_gpt.errors import InputError
from hf_gpt.hub.contents import quotes_held_out
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training.distributed import read_launch
from hf_gpt.training.finetuning import Finetuning, build_model, build_task
from hf_gpt.training.run import run


OF_TRL = ("text-to-text", "chat", "preference", "reward", "reinforcement")


@pytest.mark.parametrize("adapter", [None, {"r": 4}], ids=["full", "lora"])
@pytest.mark.parametrize("task", TASKS)
def test_a_task_from_recipe_to_repository(task, adapter, base, tmp_path):
    if task in OF_TRL:
        pytest.importorskip("trl", reason="trl needs Python 3.11")
    maker, figures = TASKS[task]
    output = tmp_path / "run"
    changes = {"lora": adapter} if adapter else {}
    values = task_values(base, write_rows(tmp_path, maker), output, task, **changes)
    record = run(parse_recipe(values))
    losses = [row["loss"] for row in record["history"] if "loss" in row]
    if task == "reinforcement":
        # Of answers that it draws itself, a loss says nothing; and so few steps are not enough for a small adapter.
        assert adapter or record["test"]["reward"] > 0.5 + record["baselines"][0]["reward"]
    else:
        # Without learning they are within 2 % of each other.
        assert losses[-1] < 0.96 * losses[0]
    assert figures <= set(record["test"])
    assert (record["trainable_parameters"] < record["parameters"]) == (adapter is not None)
    names = {path.name for path in output.iterdir()}
    assert {"record.json", "README.md", "loss.png", "recipe.yaml", "tokenizer.json"} <= names
    assert ("adapter_model.safetensors" if adapter else "model.safetensors") in names
    card = (output / "README.md").read_text()
    assert str(tmp_path) not in (output / "record.json").read_text() + card
    # An empty line would end the table.
    assert "|\n\n|" not in card
    assert "| **this model** |" in card


def test_what_stands_behind_the_figures_and_an_end_in_time(base, tmp_path, capsys):
    rows = write_rows(tmp_path, lambda number: {**classification(number), "text": f"{number} /home/alice {sentence(number)}"})
    stop = {"early_stopping_patience": 2, "metric_for_best_model": "f1", "class_weights": "balanced", "max_steps": 200}
    often = {"eval_steps": 5, "save_steps": 5, "logging_steps": 5, "learning_rate": 1e-6}
    record = run(parse_recipe(task_values(base, rows, tmp_path / "run", "text-classification", **often, **stop)))
    told = capsys.readouterr().out
    assert "160 rows are read: train " in told
    assert "labels of the train split: " in told
    assert "tokens on average and " in told
    assert "minutes of training are left: " in told
    # A rate of nothing learns nothing: the first figure is the best.
    assert record["steps"] == 15
    matrix = record["details"]["confusion"]
    assert sum(map(sum, matrix["counts"])) == record["data"]["splits"]["test"]
    assert set(record["details"]["labels"]) == set(matrix["labels"]) == {"no", "yes"}
    # Somebody's folder is in each of its rows.
    assert record["details"]["mistakes"] == []
    with pytest.raises(InputError, match=r"label_smoothing_factor=0.1 is a part of the loss whose place class_weights takes"):
        parse_recipe(task_values(base, rows, tmp_path / "x", "text-classification", **stop, label_smoothing_factor=0.1))
    with pytest.raises(InputError, match="early_stopping_patience=2 counts evaluations"):
        parse_recipe(
            task_values(base, rows, tmp_path / "x", "text-classification", early_stopping_patience=2, eval_strategy="no")
        )


def test_the_surest_mistakes_are_on_the_card_as_they_are(base, tmp_path):
    rows = write_rows(
        tmp_path, lambda number: {**classification(number), "text": f"<b>{number}</b> | [a](b) {sentence(number)}"}
    )
    few = {"max_steps": 2, "eval_steps": 2, "save_steps": 2, "task_baselines": False, "shown_rows": 3}
    record = run(parse_recipe(task_values(base, rows, tmp_path / "run", "text-classification", **few)))
    wrong = record["details"]["mistakes"]
    assert 0 < len(wrong) <= 3
    assert [row["probability"] for row in wrong] == sorted((row["probability"] for row in wrong), reverse=True)
    card = (tmp_path / "run" / "README.md").read_text()
    assert "| text | is | says | probability |" in card
    assert "&lt;b&gt;" in card
    assert "<b>" not in card
    assert f"quote {len(wrong)} rows of the test split" in quotes_held_out(tmp_path / "run")


def test_licence_and_base_come_from_what_it_was_trained_from(base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "base")
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\nbase_model: alice/first\n---\n# Base\n")
    (folder / "record.json").write_text(json.dumps({"data": {"path": "alpaca-en"}}))
    rows = write_rows(tmp_path, classification)
    few = {"max_steps": 2, "eval_steps": 2, "save_steps": 2, "task_baselines": False}
    values = task_values(folder, rows, tmp_path / "tuned", "text-classification", lora={"r": 2}, **few)
    origin = {"license": "cc-by-4.0", "base_model": "alice/first", "unpublishable": ["alpaca-en"]}
    assert run(parse_recipe(values))["origin"] == origin
    card = ModelCard.load(tmp_path / "tuned" / "README.md").data
    assert (card.license, card.base_model) == ("cc-by-4.0", "alice/first")
    # An adapter's own folder is where it comes from.
    (tmp_path / "base" / "README.md").unlink()
    further = {**values, "output_dir": str(tmp_path / "more"), "adapter": str(tmp_path / "tuned"), "license": "mit"}
    further.pop("lora")
    assert run(parse_recipe(further))["origin"] == origin
    assert ModelCard.load(tmp_path / "more" / "README.md").data.license == "mit"
    new = {**values, "output_dir": str(tmp_path / "new"), "random_weights": True}
    new.pop("lora")
    assert "origin" not in run(parse_recipe(new))


@pytest.mark.parametrize("adapter", [None, {"r": 4}], ids=["full", "lora"])
@pytest.mark.parametrize("task", TASKS)
def test_a_padding_token_that_the_tokenizer_has_gained_is_in_the_model(task, adapter, base, tmp_path):
    """Set as our message asks: `tokenizer.add_special_tokens({"pad_token": ...})`."""
    folder = shutil.copytree(base, tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    size = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    values = task_values(folder, write_rows(tmp_path, TASKS[task][0]), tmp_path / "run", task)
    recipe = parse_recipe(values | ({"lora": adapter} if adapter else {}))
    made = build_task(recipe)
    model = build_model(recipe, made)
    assert made.tokenizer.pad_token_id == model.config.pad_token_id == size
    assert model.config.vocab_size == model.get_input_embeddings().weight.shape[0] == size + 1


@pytest.mark.parametrize("grouped", [True, False])
def test_the_figures_are_those_of_the_rows_one_by_one(grouped, base, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    rows = write_rows(tmp_path, classification)
    test = [{"text": f"{sentence(number, 2 + number % 7)} {['bad', 'good'][number % 3 == 0]}"} for number in range(50)]
    # Every seventh label is wrong, so that a model which has learned the rule is not always right.
    test = [{**row, "label": ["no", "yes"][(number % 3 == 0) != (number % 7 == 0)]} for number, row in enumerate(test)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in test))
    changes = {"dataset": {"path": "json", "files": str(rows), "test": {"files": str(tmp_path / "test.jsonl")}}}
    changes |= {"train_sampling_strategy": "group_by_length"} if grouped else {}
    values = task_values(base, rows, tmp_path / "run", "text-classification", **changes, max_steps=60)
    record = run(parse_recipe(values))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
    end, found = tokenizer.eos_token_id, []
    for row in test:
        ids = torch.tensor([[end, *tokenizer(row["text"], add_special_tokens=False)["input_ids"], end]])
        found.append(model.config.id2label[int(model(ids).logits.argmax())] == row["label"])
        answer, wanted = classify(row["text"])[0], model(ids).logits.softmax(-1).max().item()
        assert answer["score"] == pytest.approx(wanted, abs=1e-5), "a pipeline gives the model what training gave it"
    assert record["test"]["accuracy"] == pytest.approx(sum(found) / len(found))
    assert len(set(found)) == 2, "a figure of all or nothing would not show a wrong order"


@pytest.mark.parametrize("adapter", [None, {"r": 4}], ids=["full", "lora"])
def test_a_chat_model_answers_by_its_template_and_stops(adapter, base, tmp_path):
    pytest.importorskip("trl", reason="trl needs Python 3.11")
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer, pipeline

    changes = {"lora": adapter} if adapter else {}
    output = tmp_path / "run"
    record = run(parse_recipe(task_values(base, write_rows(tmp_path, talking), output, "chat", max_steps=60, **changes)))
    scored = [row["step"] for row in record["history"] if "eval_loss" in row]
    assert scored == sorted(set(scored))
    assert scored[-1] == record["steps"]
    said = record["details"]["answers"]
    assert 0 < len(said) <= 20
    assert said[0]["prompt"].endswith("<|im_start|>assistant\n")
    assert "| asked | before | it writes | reference |" in (output / "README.md").read_text()
    tokenizer = AutoTokenizer.from_pretrained(output)
    assert tokenizer.convert_ids_to_tokens(tokenizer.eos_token_id) == "<|im_end|>"
    assert "{% generation %}" in tokenizer.chat_template
    model = (AutoPeftModelForCausalLM if adapter else AutoModelForCausalLM).from_pretrained(output).eval()
    if adapter:
        model = model.merge_and_unload()
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert adapter or tokenizer.eos_token_id in model.generation_config.eos_token_id
    messages = [{"role": "user", "content": sentence(3)}]
    chat = pipeline("text-generation", model=model, tokenizer=tokenizer)
    answer = chat(messages, max_new_tokens=8, do_sample=False)[0]["generated_text"][-1]
    assert answer["role"] == "assistant"
    assert "<|im_end|>" not in answer["content"]


@pytest.mark.parametrize("adapter", [None, {"r": 4}], ids=["full", "lora"])
def test_preferences_between_messages_are_learned_by_a_model_without_a_template(adapter, base, tmp_path, monkeypatch):
    """Its tokenizer grows on the way, and the model that it is measured against with it."""
    pytest.importorskip("trl", reason="trl needs Python 3.11")
    from hf_gpt.training import run as runs

    trainers = []
    monkeypatch.setattr(runs, "save_model", lambda trainer, save=runs.save_model: trainers.append(trainer) or save(trainer))

    def maker(number):
        answers = {"chosen": "good answer", "rejected": sentence(number, 3)}
        row = {name: [{"role": "assistant", "content": text}] for name, text in answers.items()}
        return {"prompt": [{"role": "user", "content": sentence(number)}], **row}

    changes = {"lora": adapter} if adapter else {"optimizer": "muon", "embedding_learning_rate": 1e-4}
    values = task_values(base, write_rows(tmp_path, maker), tmp_path / "run", "preference", max_steps=20, **changes)
    record = run(parse_recipe(values))
    groups = trainers[0].optimizer.param_groups
    assert ("muon" in {group.get("half") for group in groups}) == (adapter is None)
    assert adapter or 1e-4 in {group["initial_lr"] for group in groups}
    assert record["test"]["rewards/accuracies"] > 0.8


NAMED = "a <|endoftext|> b <|im_end|> c <|pad|>"
NAMES_IN_ROWS = {
    "text-to-text": lambda number: {"source": f"{sentence(number)} {NAMED}", "target": NAMED},
    "chat": lambda number: {
        "messages": [{"role": "user", "content": f"{sentence(number)} {NAMED}"}, {"role": "assistant", "content": NAMED}]
    },
    "preference": lambda number: {"prompt": f"{sentence(number)} {NAMED}", "chosen": NAMED, "rejected": f"{NAMED} {NAMED}"},
}


@pytest.mark.parametrize("task", NAMES_IN_ROWS)
def test_names_of_special_tokens_reach_the_model_as_text(task, base, tmp_path):
    """Through TRL, as its loader gives them: one end of each answer, and no other token that is more than text."""
    pytest.importorskip("trl", reason="trl needs Python 3.11")
    values = task_values(base, write_rows(tmp_path, NAMES_IN_ROWS[task]), tmp_path / "run", task, max_length=128)
    job = Finetuning(parse_recipe(values))
    job.prepare_data(read_launch(1))
    tokenizer = job.tokenizer
    loader = job.build_trainer(job.build_model()).get_train_dataloader()
    batch = next(iter(loader))
    special = set(tokenizer.all_special_ids) | set(tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"]))
    if task == "chat":
        start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
        turns = 2 * int((batch["position_ids"] == 0).sum())
        assert [token for token in batch["input_ids"][0].tolist() if token in special] == [start, end] * turns
        return
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"]):
        *real, last = ids[mask == 1].tolist()
        assert last == tokenizer.eos_token_id
        assert not special & set(real)
        assert tokenizer.decode(real).endswith(NAMED)


@pytest.mark.slow
def test_two_processes_score_the_rows_that_one_would(base, tmp_path):
    rows = write_rows(tmp_path, classification)
    values = task_values(base, rows, tmp_path / "run", "text-classification", max_steps=4, save_strategy="no")
    recipe = write_recipe(tmp_path, {**values, "train_sampling_strategy": "group_by_length"})

    def train(environment):
        os.environ.update(environment)
        sys.argv = ["hf-gpt", "train", str(recipe)]
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code

    logs = [tmp_path / "rank-0", tmp_path / "rank-1"]
    with one_thread():
        ranks = [forked(partial(train, environment), log) for environment, log in zip(launched(2), logs)]
    told = [(end_of(rank), log.read_text()) for rank, log in zip(ranks, logs)]
    assert [status for status, _ in told] == [0, 0], told
    assert [log.count("this model") for _, log in told] == [1, 0]
    record = json.loads((tmp_path / "run" / "record.json").read_text())

    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from hf_gpt.data import sources
    from hf_gpt.data.rows import task_splits

    source = sources.text_source(values["dataset"])
    columns = {"text": True, "label": True}
    splits, _, _ = task_splits(source, columns, ("text",), values["validation_share"], values["test_share"])
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    end, right = tokenizer.eos_token_id, []
    for row in splits["test"]:
        ids = torch.tensor([[end, *tokenizer(row["text"], add_special_tokens=False)["input_ids"], end]])
        right.append(model.config.id2label[int(model(ids).logits.argmax())] == row["label"])
    assert record["test"]["accuracy"] == pytest.approx(sum(right) / len(right))


def test_a_task_keeps_to_its_minutes(base, tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("hf_gpt.training.budget.monotonic", lambda: float(next(ticks)))
    rows = write_rows(tmp_path, classification, 160)
    values = task_values(base, rows, tmp_path / "run", "text-classification", max_minutes=1, eval_steps=0.5, save_steps=0.5)
    record = run(parse_recipe({key: value for key, value in values.items() if key != "max_steps"}))
    assert 20 <= record["steps"] < 60
    assert record["time_budget"]["minutes"] == 1
    assert (
        "The run chose this number of steps itself, after timing the first ones, to train for 1 min."
        in (tmp_path / "run" / "README.md").read_text()
    )


def correlation(logits, labels):
    import numpy as np

    return "pearson", np.corrcoef(logits[:, 0], labels)[0, 1]


def share_of_labels(logits, labels):
    """F1 = 2 true positives / (found + wanted), over all labels of all rows."""
    found, wanted = logits > 0, torch.tensor(labels) > 0
    return "f1", 2 * (found & wanted).sum().item() / (found.sum() + wanted.sum()).item()


@pytest.mark.parametrize(
    ("maker", "by_hand"), [(pair, correlation), (several, share_of_labels)], ids=["numbers for pairs", "several labels"]
)
def test_numbers_and_several_labels(maker, by_hand, base, tmp_path):
    """Their figure is that of the saved model on rows that it is given one by one."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    # The sentences repeat, and rows that are trained on are no test.
    test = [{**row, "text": f"{row['text']} {sentence(1, 2)}"} for row in map(maker, range(300, 330))]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in test))
    dataset = {"path": "json", "files": str(write_rows(tmp_path, maker)), "test": {"files": str(tmp_path / "test.jsonl")}}
    values = task_values(base, None, tmp_path / "run", "text-classification", dataset=dataset, max_steps=20)
    record = run(parse_recipe(values))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    end, ids, places = tokenizer.eos_token_id, [], model.config.label2id
    for row in test:
        parts = [tokenizer(row[name], add_special_tokens=False)["input_ids"] for name in ("text", "text_pair") if name in row]
        ids.append([end, *[token for part in parts for token in (*part, end)]])
    logits = torch.cat([model(torch.tensor([row])).logits for row in ids]).detach()
    several_labels = [[float(name in row["label"]) for name in places] for row in test if isinstance(row["label"], list)]
    figure, wanted = by_hand(logits, several_labels or [row["label"] for row in test])
    assert record["test"][figure] == pytest.approx(wanted, abs=1e-4)
    assert 0.01 < abs(wanted) < 0.99, "a figure of all or nothing would not show a wrong one"


def test_a_killed_run_goes_on_to_the_same_weights(base, tmp_path):
    rows = write_rows(tmp_path, classification)
    values = [task_values(base, rows, tmp_path / name / "run", "text-classification") for name in ("whole", "cut")]
    run(parse_recipe(values[0]))
    killed_after(values[1], 20)
    run(parse_recipe(values[1]))
    assert weights(tmp_path / "whole" / "run") == weights(tmp_path / "cut" / "run")


@pytest.mark.parametrize("new", [False, True], ids=["trained weights", "random weights"])
def test_pretraining_shows_against_random_weights(new, base, tmp_path):
    from safetensors.torch import load_file

    rows = write_rows(tmp_path, classification)
    changes = {"random_weights": new, "max_steps": 1, "learning_rate": 1e-9, "task_baselines": False}
    record = run(parse_recipe(task_values(base, rows, tmp_path / "run", "text-classification", **changes)))
    assert record["random_weights"] is new
    assert (record["base_sha256"] is None) is new
    name = "model.layers.0.self_attn.q_proj.weight"
    before, after = (load_file(folder / "model.safetensors")[name] for folder in (base, tmp_path / "run"))
    assert ((before - after).abs().max() > 1e-2) == new
