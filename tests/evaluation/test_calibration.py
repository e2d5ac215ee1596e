"""Labels by prompting alone: what the prompt itself makes likely is not taken for what the text says."""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from tests.helpers.recipes import write_base
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_gpt.evaluation import few_shot
from hf_gpt.evaluation.few_shot import classify, label_scores


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = write_base(tmp_path_factory.mktemp("base") / "base")
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def test_scores_of_labels_are_those_of_each_alone(base):
    model, _ = base
    prompt, labels = [5, 9, 3], [[7], [8, 4, 2], [6, 5]]
    found = label_scores(model, prompt, labels)
    for label, score in zip(labels, found):
        ids = torch.tensor([[*prompt, *label]])
        losses = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        assert score.item() == pytest.approx(losses[range(len(label)), label].mean().item(), abs=1e-5)


def test_a_leaning_of_the_prompt_is_taken_out(base, monkeypatch):
    """A model that says yes to all, and a little more to what is good: calibrated, it is right each time."""
    model, tokenizer = base
    good = tokenizer(" good")["input_ids"][-1]

    def scores(model, prompt, labels):
        return torch.tensor([0.0, 2.0 + (0.5 if good in prompt else -0.5 if "bad" in tokenizer.decode(prompt) else 0.0)])

    monkeypatch.setattr(few_shot, "label_scores", scores)
    task = SimpleNamespace(
        names=["no", "yes"],
        labels=lambda rows: list(rows["label"]),
        targets=lambda split, rows: [int(label == "yes") for label in rows["label"]],
    )
    rows = Dataset.from_list(
        [{"text": f"{word} {n}", "label": label} for n in range(3) for word, label in (("good", "yes"), ("bad", "no"))]
    )
    figures, shortened = classify(model, tokenizer, task, rows, rows, [[]] * len(rows))
    assert shortened == 0
    assert figures == {"accuracy": 1.0, "f1": 1.0, "accuracy_not_calibrated": 0.5}
