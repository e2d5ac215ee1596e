"""A task that is scored by prompting alone."""

import json
import re

import pytest
import torch
from tests.helpers.commands import run_command
from tests.helpers.recipes import TASKS, sentence, several, task_values, write_recipe, write_rows
from transformers import AutoTokenizer

from hf_gpt.errors import InputError


@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("task", ["text-classification", "question-answering"])
def test_few_shot_scores_by_prompting_alone(task, shots, base, tmp_path, monkeypatch, capsys):
    maker, figures = TASKS[task]
    path = write_recipe(tmp_path, task_values(base, write_rows(tmp_path, maker), tmp_path / "never", task))
    code, told, _ = run_command(monkeypatch, capsys, "evaluate", base, path, "--few-shot", shots, "--limit", 5)
    assert code == 0
    assert f"rows with {shots} examples each" in told
    assert all(f"{name} " in told for name in figures)


def test_more_examples_than_there_are_rows_are_refused(base, tmp_path, monkeypatch, capsys):
    maker, _ = TASKS["text-classification"]
    path = write_recipe(tmp_path, task_values(base, write_rows(tmp_path, maker), tmp_path / "never", "text-classification"))
    code, _, told = run_command(monkeypatch, capsys, "evaluate", base, path, "--few-shot", 1000)
    assert code == 2
    assert re.search(
        r"--few-shot 1000 asks for more examples than the train split has, which are \d+: give as many at most", told
    )


def test_few_shot_says_what_was_left_out_and_what_is_trained_on(base, tmp_path, monkeypatch, capsys):
    maker = TASKS["text-classification"][0]
    rows, held_out = [[maker(number) for number in numbers] for numbers in (range(60), (0, 1, 2))]
    for name, part in {
        "rows": [*rows, {"text": " ", "label": "no"}],
        "test": [*held_out, {"text": "new", "label": "no"}],
    }.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    dataset = {"path": "json", "files": str(tmp_path / "rows.jsonl"), "test": {"files": str(tmp_path / "test.jsonl")}}
    values = task_values(base, None, tmp_path / "never", "text-classification", dataset=dataset)
    path = write_recipe(tmp_path, values)
    code, told, _ = run_command(monkeypatch, capsys, "evaluate", base, path, "--few-shot", 1, "--limit", 5)
    assert code == 0
    assert "1 empty row is left out." in told
    assert "test: 3 rows with the text of a training row." in told


def test_few_shot_begins_a_prompt_as_training_began_a_text(base, tmp_path, monkeypatch):
    """Whatever marks the task would have put around it."""
    from hf_gpt.evaluation import few_shot as fewshot

    path = write_recipe(
        tmp_path,
        task_values(base, write_rows(tmp_path, TASKS["text-classification"][0]), tmp_path / "no", "text-classification"),
    )
    seen = []
    monkeypatch.setattr(fewshot, "label_scores", lambda model, prompt, labels: seen.append(prompt) or torch.zeros(len(labels)))
    fewshot.few_shot(str(base), str(path), shots=0, limit=1)
    tokenizer = AutoTokenizer.from_pretrained(base)
    assert tokenizer.decode(seen[0]).startswith("Text: ")


def test_few_shot_shows_both_texts_of_a_pair(base, tmp_path, monkeypatch):
    from hf_gpt.evaluation import few_shot as fewshot

    rows = write_rows(
        tmp_path, lambda number: {"text": f"one {number}", "text_pair": f"pair{number}", "label": "ab"[number % 2]}
    )
    path = write_recipe(tmp_path, task_values(base, rows, tmp_path / "never", "text-classification"))
    seen = []
    monkeypatch.setattr(fewshot, "label_scores", lambda model, prompt, labels: seen.append(prompt) or torch.zeros(len(labels)))
    fewshot.few_shot(str(base), str(path), shots=1, limit=1)
    assert AutoTokenizer.from_pretrained(base).decode(seen[0]).count("Text: pair") == 2


def test_few_shot_refuses_labels_that_are_no_single_class(base, tmp_path):
    from hf_gpt.evaluation import few_shot as fewshot

    path = write_recipe(tmp_path, task_values(base, write_rows(tmp_path, several), tmp_path / "never", "text-classification"))
    with pytest.raises(InputError, match="few-shot scoring knows one class for each text"):
        fewshot.few_shot(str(base), str(path), shots=1, limit=2)


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
