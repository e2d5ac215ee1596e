"""A task that is scored by prompting alone."""

import json

import pytest
from tests.helpers.commands import run_command
from tests.helpers.recipes import TASKS, sentence, task_values, write_recipe, write_rows


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
