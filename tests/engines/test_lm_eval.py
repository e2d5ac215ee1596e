"""The evaluation harness that others use scores our models as its model type `hf`, with a task from a local file."""

import json

import pytest
import torch
from tests.conftest import randomize, tiny_config
from transformers import AutoModelForCausalLM

import hf_gpt
from hf_gpt.data.tokenizer import train_tokenizer


lm_eval = pytest.importorskip("lm_eval", reason="`make engines` installs it")

TASK = """
task: two_choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{label}}}}"
metric_list:
  - metric: acc
"""


def test_the_harness_agrees_with_our_own_scores(tmp_path):
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    rows = [{"question": f"row {n} is", "choices": [" even", " odd"], "label": n % 2} for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "two_choices.yaml").write_text(TASK.format(file=tmp_path / "rows.jsonl"))
    tokenizer = train_tokenizer(iter([[json.dumps(row) for row in rows]]), 300, 64)
    config = tiny_config("modern", vocab_size=len(tokenizer), tie_word_embeddings=False)
    randomize(AutoModelForCausalLM.from_config(config)).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")

    model = HFLM(pretrained=str(tmp_path / "model"), device="cpu", batch_size=4)
    assert type(model.model) is hf_gpt.GPTForCausalLM
    manager = TaskManager(include_path=str(tmp_path))
    found = lm_eval.simple_evaluate(model=model, tasks=["two_choices"], task_manager=manager)["results"]["two_choices"]

    right = 0
    for row in rows:
        scores = []
        for choice in row["choices"]:
            prompt, whole = (
                tokenizer(text, return_tensors="pt")["input_ids"] for text in (row["question"], row["question"] + choice)
            )
            with torch.no_grad():
                logits = model.model(whole).logits.log_softmax(-1)
            places = range(prompt.shape[1], whole.shape[1])
            scores.append(sum(float(logits[0, place - 1, whole[0, place]]) for place in places))
        right += int(scores[1] > scores[0]) == row["label"]
    assert found["acc,none"] == pytest.approx(right / len(rows))
