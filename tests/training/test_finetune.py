"""Every task from a recipe on rows of a user's own file: what it learns, what it leaves, and what it says about bad rows."""

import itertools
import json
import re
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from tests.conftest import ROOT
from tests.helpers.commands import run_command
from tests.helpers.recipes import (
    TASKS,
    answering,
    choosing,
    classification,
    copying,
    pair,
    sentence,
    several,
    tagging,
    talking,
    task_values,
    write_base,
    write_recipe,
    write_rows,
)
from tests.helpers.runs import killed_after, weights
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import is_bitsandbytes_available

from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.reports.model_card import render_card
from hf_gpt.training import adapters
from hf_gpt.training.finetuning import build_model, build_task
from hf_gpt.training.run import run


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("base") / "base")


@pytest.mark.parametrize("adapter", [None, {"r": 4}], ids=["full", "lora"])
@pytest.mark.parametrize("task", TASKS)
def test_a_task_from_recipe_to_repository(task, adapter, base, tmp_path):
    if task in ("text-to-text", "chat", "preference"):
        pytest.importorskip("trl", reason="trl needs Python 3.11")
    maker, figures = TASKS[task]
    output = tmp_path / "run"
    changes = {"lora": adapter} if adapter else {}
    values = task_values(base, write_rows(tmp_path, maker), output, task, **changes)
    record = run(parse_recipe(values))
    losses = [row["loss"] for row in record["history"] if "loss" in row]
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


@pytest.fixture(scope="module")
def adapted(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted")
    rows = write_rows(folder, classification)
    values = task_values(base, rows, folder / "adapter", "text-classification", lora={"r": 4}, max_steps=60)
    return folder, values, run(parse_recipe(values))


def test_an_adapter_loads_by_itself_and_as_several_on_one_base(adapted, base):
    from peft import AutoPeftModelForSequenceClassification, PeftModel
    from transformers import AutoModelForSequenceClassification

    folder, values, record = adapted
    assert record["saved_bytes"] < 100_000
    ids = torch.randint(5, 300, (1, 9))
    wanted = AutoPeftModelForSequenceClassification.from_pretrained(folder / "adapter", num_labels=2).eval()(ids).logits
    run(parse_recipe({**values, "output_dir": str(folder / "other"), "seed": 1, "max_steps": 10}))
    trunk = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    both = PeftModel.from_pretrained(trunk, folder / "adapter", adapter_name="first").eval()
    both.load_adapter(folder / "other", adapter_name="second")
    both.set_adapter("second")
    assert (both(ids).logits - wanted).abs().max() > 1e-3
    both.set_adapter("first")
    torch.testing.assert_close(both(ids).logits, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(both.merge_and_unload()(ids).logits, wanted, rtol=0, atol=1e-4)


def test_an_adapter_is_trained_further(adapted):
    folder, values, record = adapted
    more = {**values, "output_dir": str(folder / "more"), "adapter": str(folder / "adapter"), "max_steps": 10}
    more.pop("lora")
    continued = run(parse_recipe(more))
    first = next(row["loss"] for row in continued["history"] if "loss" in row)
    begun = next(row["loss"] for row in record["history"] if "loss" in row)
    assert first < begun


def test_an_adapter_of_another_base_is_refused(adapted, base, tmp_path):
    folder, values, _ = adapted
    import shutil

    shutil.copytree(base, tmp_path / "elsewhere")
    changed = {**values, "output_dir": str(tmp_path / "never"), "model_name_or_path": str(tmp_path / "elsewhere")}
    changed["adapter"] = str(folder / "adapter")
    changed.pop("lora")
    with pytest.raises(InputError, match="was trained on"):
        run(parse_recipe(changed))


@pytest.mark.parametrize("adapter", [None, {"r": 4}], ids=["full", "lora"])
def test_a_chat_model_answers_by_its_template_and_stops(adapter, base, tmp_path):
    pytest.importorskip("trl", reason="trl needs Python 3.11")
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer, pipeline

    changes = {"lora": adapter} if adapter else {}
    output = tmp_path / "run"
    run(parse_recipe(task_values(base, write_rows(tmp_path, talking), output, "chat", max_steps=60, **changes)))
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


@pytest.mark.slow
def test_two_processes_score_the_rows_that_one_would(base, tmp_path):
    import os
    import subprocess

    rows = write_rows(tmp_path, classification)
    values = task_values(base, rows, tmp_path / "run", "text-classification", max_steps=4, save_strategy="no")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**values, "train_sampling_strategy": "group_by_length"}))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": ""}
    command = [*launch, "-m", "hf_gpt", "train", str(tmp_path / "recipe.yaml")]
    told = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True, env=environment).stdout
    assert told.count("this model") == 1
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


def test_lora_needs_no_target_modules(base):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM"))
    adapted = {name.split(".lora_A")[0].split(".")[-1] for name, _ in model.named_parameters() if ".lora_A" in name}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


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


def test_qlora_is_allowed_wherever_bitsandbytes_runs(monkeypatch):
    """A stand-in for bitsandbytes, which is not installed for tests: transformers asks it which devices it knows."""
    devices = SimpleNamespace(supported_torch_devices={"cpu", "cuda"})
    monkeypatch.setattr(adapters, "is_bitsandbytes_available", lambda: True)
    monkeypatch.setattr("transformers.integrations.bitsandbytes.bnb", devices, raising=False)
    for is_native, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(adapters.hardware, "multiplies_natively", lambda *_, is_native=is_native: is_native)
        config = adapters.four_bit_config()
        assert (config.bnb_4bit_quant_type, config.bnb_4bit_compute_dtype) == ("nf4", dtype)
    devices.supported_torch_devices = {"npu"}
    with pytest.raises(InputError, match="runs on no device of this machine"):
        adapters.four_bit_config()


def test_qlora_trains_an_adapter_on_this_machine(tmp_path):
    pytest.importorskip("bitsandbytes", reason="one of 40 MB that few need")
    # Its kernels take whole blocks of 64.
    wide = write_base(tmp_path / "wide", hidden_size=128, head_dim=32, intermediate_size=128)
    rows = write_rows(tmp_path, classification)
    record = run(parse_recipe(task_values(wide, rows, tmp_path / "run", "text-classification", qlora={"r": 4})))
    losses = [row["loss"] for row in record["history"] if "loss" in row]
    assert losses[-1] < 0.96 * losses[0]
    assert record["adapter"] == "qlora"


@pytest.mark.parametrize("kind", [{"use_dora": True}, {"use_rslora": True}, {"target_modules": ["q_proj"]}], ids=str)
def test_kinds_of_lora_are_keys(kind, base, tmp_path):
    """By what they do: a magnitude beside each matrix, a scale of alpha / sqrt(r), and where the matrices are."""
    from peft import AutoPeftModelForSequenceClassification
    from peft.tuners.lora import LoraLayer
    from safetensors import safe_open

    rows = write_rows(tmp_path, classification, 60)
    lora = {"r": 4, "lora_alpha": 6, **kind}
    run(parse_recipe(task_values(base, rows, tmp_path / "run", "text-classification", lora=lora, max_steps=2)))
    with safe_open(tmp_path / "run" / "adapter_model.safetensors", "pt") as file:
        saved = set(file.keys())
    assert any("lora_magnitude" in name for name in saved) == ("use_dora" in kind)
    placed = {name.split(".lora_")[0].split(".")[-1] for name in saved if ".lora_" in name}
    assert (placed == {"q_proj"}) == ("target_modules" in kind)
    model = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "run", num_labels=2)
    scales = {module.scaling["default"] for module in model.modules() if isinstance(module, LoraLayer) and module.scaling}
    assert scales == {6 / 2 if "use_rslora" in kind else 6 / 4}


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


CONLL = {
    "conll": ("-DOCSTART- -X- -X- O\n\n", "{word} NN B-NP {tag}\n", {"accuracy", "entity_f1"}),
    "conllu": ("# sent_id = 1\n1-2\ttwo\t_\t_\n", "1\t{word}\t_\t{tag}\t_\n", {"accuracy"}),
}


@pytest.mark.parametrize("layout", CONLL)
def test_files_of_a_word_a_line(layout, base, tmp_path):
    head, line, figures = CONLL[layout]
    text = ""
    for number in range(120):
        row = tagging(number)
        tags = row["tags"] if layout == "conll" else ["NOUN" if tag == "O" else "ADJ" for tag in row["tags"]]
        text += head + "".join(line.format(word=word, tag=tag) for word, tag in zip(row["tokens"], tags)) + "\n"
    path = tmp_path / "words.txt"
    path.write_text(text)
    values = task_values(base, path, tmp_path / "run", "token-classification", max_steps=4)
    values["dataset"]["path"] = layout
    record = run(parse_recipe(values))
    assert figures <= set(record["test"])
    path.write_text("1\n")
    with pytest.raises(InputError, match=r"line 1 of .*words.txt has 1 columns, and 'conllu?' needs [24]"):
        run(parse_recipe({**values, "output_dir": str(tmp_path / "never")}))


def with_row(maker, row, place=3):
    return lambda number: row if number == place else maker(number)


def held_out(row):
    """Rows of which every held-out one is this one, so that it is found wherever the hash puts it."""
    return {"validation": row, "test": row}


BAD_ROWS = {
    "missing column": (
        "text-classification",
        lambda n: {"body": sentence(n), "label": "a"},
        {},
        "column 'text' is not a column",
    ),
    "missing label": ("text-classification", lambda n: {"text": sentence(n)}, {}, "column 'label' is not a column"),
    "one label only": ("text-classification", lambda n: {"text": sentence(n), "label": "a"}, {}, "has the single label 'a'"),
    "answer not in its context": (
        "question-answering",
        with_row(answering, {**answering(1), "answers": {"text": ["purple"], "answer_start": [0]}}),
        {},
        "the answer 'purple' is not at answer_start=0",
    ),
    "roles that do not alternate": (
        "chat",
        with_row(talking, {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}),
        {},
        "has the roles user, user",
    ),
    "tags for other tokens": (
        "token-classification",
        with_row(tagging, {"tokens": ["a"], "tags": ["O", "O"]}),
        {},
        "1 tokens and 2 tags",
    ),
    "choice out of range": ("multiple-choice", with_row(choosing, {**choosing(1), "label": 7}), {}, "has label 7"),
    "prompt without a place": ("text-to-text", copying, {"prompt": "summarize"}, "has to hold {source}"),
    "unknown task": ("text-clasification", classification, {}, "Did you mean 'text-classification'"),
    "unknown field of lora": ("text-classification", classification, {"lora": {"rank": 4}}, "lora: 'rank' is not a field"),
    "unknown target": (
        "text-classification",
        classification,
        {"lora": {"target_modules": ["c_attn"]}},
        "hf-gpt: lora: No modules were targeted",
    ),
    "qlora without bitsandbytes": (
        "text-classification",
        classification,
        {"qlora": {"r": 4}},
        "hf-gpt: qlora needs bitsandbytes: pip install bitsandbytes, or use lora",
    ),
    "both kinds": ("text-classification", classification, {"qlora": {}, "lora": {}}, "either lora or qlora"),
    "no adapter there": ("text-classification", classification, {"adapter": "nowhere"}, "adapter='nowhere'"),
    "length beyond the positions": (
        "text-classification",
        classification,
        {"max_length": 4096},
        "max_length=4096 is more than",
    ),
    "unknown config field": (
        "text-classification",
        classification,
        {"config": {"is_casual": False}},
        "Did you mean 'is_causal'",
    ),
    "wrong type in config": (
        "text-classification",
        classification,
        {"config": {"is_causal": "maybe"}},
        "expected bool, got str",
    ),
    "a quantized base of random weights": (
        "text-classification",
        classification,
        {"qlora": {}, "random_weights": True},
        "qlora holds trained weights",
    ),
    "no such base": ("text-classification", classification, {"model_name_or_path": "runs/never"}, "runs/never"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_input_is_named_and_leaves_nothing(name, base, tmp_path, monkeypatch, capsys):
    task, maker, changes, told = BAD_ROWS[name]
    if name == "qlora without bitsandbytes" and is_bitsandbytes_available():
        pytest.skip("bitsandbytes is here")
    output = tmp_path / "never"
    path = write_recipe(tmp_path, task_values(base, write_rows(tmp_path, maker, 60), output, task, **changes))
    code, _, message = run_command(monkeypatch, capsys, "train", path)
    assert code == 2
    assert told in message
    assert "Traceback" not in message
    assert not output.exists()


def test_a_label_that_training_has_not(base, tmp_path):
    rows = write_rows(tmp_path, classification)
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"text": "a text", "label": "maybe"}) + "\n")
    dataset = {"path": "json", "files": str(rows), "test": {"files": str(other)}}
    values = task_values(base, rows, tmp_path / "never", "text-classification", dataset=dataset)
    with pytest.raises(InputError, match="label 'maybe' of the test split does not occur"):
        run(parse_recipe(values))


def test_what_is_left_out_is_counted_and_told(base, tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    made = [classification(number) for number in range(120)]
    made += [made[0], {"text": " ", "label": "no"}, {"text": sentence(1, 90), "label": "no"}]
    rows.write_text("".join(json.dumps(row) + "\n" for row in made))
    record = run(parse_recipe(task_values(base, rows, tmp_path / "run", "text-classification", max_steps=2)))
    told = capsys.readouterr().out
    assert record["data"]["dropped"]["empty rows"] == 1
    assert "1 empty rows are left out" in told
    assert "repeated rows are left out" in told
    assert sum(counts.get("inputs cut to max_length", 0) for counts in record["data"]["counts"].values()) >= 1


def test_what_was_left_out_is_told_before_labels_are_learned(base, tmp_path, monkeypatch, capsys):
    rows = write_rows(tmp_path, lambda n: {"text": sentence(n) if n % 2 else "", "label": n % 2}, 60)
    path = write_recipe(tmp_path, task_values(base, rows, tmp_path / "never", "text-classification"))
    code, told, message = run_command(monkeypatch, capsys, "train", path)
    assert code == 2
    assert "30 empty rows are left out." in told
    assert re.search(r"single label '1' \(\d+ rows were left out\)", message)


def test_the_card_says_whose_the_held_out_rows_are(base, tmp_path, capsys):
    rows, other = write_rows(tmp_path, classification, 60), tmp_path / "other.csv"
    first = classification(0)
    text = [f"{first['text']};{first['label']}", f"a fresh text;{first['label']}"]
    other.write_text("\n".join(["text;label", *text]) + "\n")
    dataset = {"path": "json", "files": str(rows), "test": {"path": "csv", "files": str(other)}}
    values = task_values(base, rows, tmp_path / "run", "text-classification", dataset=dataset, max_steps=2)
    record = run(parse_recipe(values))
    counted = "1 rows with the text of a training row"
    told, card = capsys.readouterr().out, (tmp_path / "run" / "README.md").read_text()
    assert "other.csv is read with ';' as its separator." in told
    assert f"test: {counted}." in told
    assert f"test: {counted}." in card
    assert record["data"]["counts"]["test"][counted[2:]] == 1
    assert "The rows of test are those that were given for it. Of the other rows, the split is a fixed" in card
    assert "json, test rows as given" in card
    record["data"]["validation"] = record["data"]["test"]
    assert "The rows of validation and test are those that were given for it.\n" in render_card(record)
    for name in ("validation", "test"):
        del record["data"][name]
    assert ". The split of a row is a fixed function of its text.\n" in render_card(record)
    assert "json, held-out split" in render_card(record)


@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("task", ["text-classification", "question-answering"])
def test_few_shot_scores_by_prompting_alone(task, shots, base, tmp_path, monkeypatch, capsys):
    maker, figures = TASKS[task]
    path = write_recipe(tmp_path, task_values(base, write_rows(tmp_path, maker), tmp_path / "never", task))
    code, told, _ = run_command(monkeypatch, capsys, "evaluate", base, path, "--few-shot", shots, "--limit", 5)
    assert code == 0
    assert f"rows with {shots} examples each" in told
    assert all(f"{name} " in told for name in figures)


def test_few_shot_scores_rows_of_every_class_of_sorted_data(base, tmp_path, monkeypatch):
    from hf_gpt.evaluation import few_shot as fewshot

    rows = [{"text": f"{number} {sentence(number)}", "label": "no" if number < 100 else "yes"} for number in range(200)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = write_recipe(tmp_path, task_values(base, tmp_path / "rows.jsonl", tmp_path / "never", "text-classification"))
    seen = []
    monkeypatch.setattr(fewshot, "classify", lambda *given: (seen.extend(given[4]["label"]), ({}, 0))[1])
    fewshot.few_shot(str(base), str(path), shots=1, limit=8)
    assert len(seen) == 8
    assert set(seen) == {"no", "yes"}


def test_few_shot_takes_the_likeliest_label():
    """A stand-in that always goes on with one word: its label wins, and the prompt holds the examples."""
    from types import SimpleNamespace

    from hf_gpt.evaluation.few_shot import continuation_score

    def model(ids, use_cache, logits_to_keep):
        logits = torch.zeros(1, logits_to_keep, 10)
        logits[..., 7] = 5.0
        return SimpleNamespace(logits=logits)

    model.device = "cpu"
    assert continuation_score(model, [1, 2], [7]) > continuation_score(model, [1, 2], [3])
