"""Rows of a task: what is read of them, what is left out and said, and what is refused."""

import json
import re

import pytest
from tests.helpers.commands import run_command
from tests.helpers.recipes import (
    TASKS,
    answering,
    choosing,
    classification,
    copying,
    sentence,
    tagging,
    talking,
    task_values,
    write_recipe,
    write_rows,
)
from transformers.utils import is_bitsandbytes_available

from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.reports.model_card import render_card
from hf_gpt.training.planned_task import task_tokens
from hf_gpt.training.run import run


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
    with pytest.raises(InputError, match=r"line 1 of .*words.txt has 1 column, and 'conllu?' needs [24]"):
        run(parse_recipe({**values, "output_dir": str(tmp_path / "never")}))


def with_row(maker, row, place=3):
    return lambda number: row if number == place else maker(number)


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
    "a system message in the middle": (
        "chat",
        with_row(talking, {"messages": [{"role": role, "content": "a"} for role in ("user", "system", "assistant")]}),
        {},
        "has the roles user, system, assistant: after at most one system message",
    ),
    "tags for other tokens": (
        "token-classification",
        with_row(tagging, {"tokens": ["a"], "tags": ["O", "O"]}),
        {},
        "1 token and 2 tags",
    ),
    "choice out of range": ("multiple-choice", with_row(choosing, {**choosing(1), "label": 7}), {}, "has label 7"),
    "prompt without a place": ("text-to-text", copying, {"prompt": "summarize"}, "has to hold {source}"),
    "unknown task": ("text-clasification", classification, {}, "Did you mean 'text-classification'"),
    "unknown field of lora": ("text-classification", classification, {"lora": {"rank": 4}}, "lora: 'rank' is not a field"),
    "unknown target": (
        "text-classification",
        classification,
        {"lora": {"target_modules": ["c_attn"]}},
        "hf-gpt: lora: target_modules has 'c_attn', which names no module of the model: there are ",
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
        "is of type str, expected bool",
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
    assert "1 empty row is left out" in told
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
    counted = "1 row with the text of a training row"
    told, card = capsys.readouterr().out, (tmp_path / "run" / "README.md").read_text()
    assert "other.csv is read with ';' as its separator." in told
    assert f"test: {counted}." in told
    assert f"test: {counted}." in card
    assert record["data"]["counts"]["test"]["rows with the text of a training row"] == 1
    assert "The rows of test are those that were given for it. Of the other rows, the split is a fixed" in card
    assert "json, test rows as given" in card
    record["data"]["validation"] = record["data"]["test"]
    assert "The rows of validation and test are those that were given for it.\n" in render_card(record)
    for name in ("validation", "test"):
        del record["data"][name]
    assert ". The split of a row is a fixed function of its text.\n" in render_card(record)
    assert "json, held-out split" in render_card(record)


@pytest.mark.parametrize("task", TASKS)
def test_a_plan_counts_the_tokens_of_each_task(task, base, tmp_path):
    recipe = parse_recipe(task_values(base, write_rows(tmp_path, TASKS[task][0]), tmp_path / "run", task))
    places, tokens = task_tokens(recipe, 8)
    # Of a prompt there are as many answers.
    assert 0 < places <= 160 * (8 if task == "reinforcement" else 1)
    assert 3 < tokens <= 128
