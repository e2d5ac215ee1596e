"""What stands behind the figures of a classifier: scores of labels, a confusion matrix, the surest mistakes; and weights of classes."""

import numpy as np
import pytest
import torch
from tests.helpers.figures import size_of
from torch.nn import functional

from hf_gpt.errors import InputError
from hf_gpt.reports.plots import plot_task
from hf_gpt.tasks.details import class_weights, confusion, label_scores, mistakes, weighted_loss
from hf_gpt.tasks.metrics import entity_scores


NAMES = ["no", "yes"]
LOGITS = np.array([[3.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 0.5]])
TARGETS = np.array([0, 0, 1, 1])


def test_a_row_of_the_matrix_is_what_it_is_and_a_column_what_was_said():
    assert confusion(LOGITS.argmax(-1), TARGETS, NAMES) == {"confusion": {"labels": NAMES, "counts": [[1, 1], [1, 1]]}}
    assert confusion([0, 0, 1], [0, 1, 1], NAMES)["confusion"]["counts"] == [[1, 0], [1, 1]]
    assert confusion([0], [0], [str(number) for number in range(31)]) == {}


def test_mistakes_come_with_the_surest_first():
    found = mistakes(LOGITS, TARGETS, ["a", "b", "c" * 1000, "d"], NAMES)
    assert [(row["label"], row["predicted"]) for row in found] == [("yes", "no"), ("no", "yes")]
    assert found[0]["probability"] == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert len(found[0]["text"]) == 400
    assert mistakes(LOGITS, LOGITS.argmax(-1), ["a"] * 4, NAMES) == []


def test_scores_of_labels_and_of_entities():
    scores = label_scores(["a", "a", "b"], ["a", "b", "b"], ["b", "a", "c"])
    assert list(scores) == ["b", "a", "c"]
    assert scores["b"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "rows": 2}
    found = entity_scores([["B-X", "I-X", "O"], ["B-Y"]], [["B-X", "I-X", "B-Y"], ["B-Y"]])
    assert found == {
        "X": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "rows": 1},
        "Y": {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "rows": 2},
    }


def test_balanced_weights_let_every_class_count_the_same():
    weights = class_weights("balanced", NAMES, [0, 0, 0, 1])
    assert weights.tolist() == pytest.approx([4 / 6, 2.0])
    assert class_weights([1, 2.5], NAMES, []).tolist() == [1.0, 2.5]
    assert class_weights(None, NAMES, []) is None
    logits, labels = torch.randn(2, 3, 2), torch.tensor([[0, 1, -100], [1, -100, 0]])
    loss = weighted_loss(weights)
    wanted = functional.cross_entropy(logits.view(-1, 2), labels.view(-1), weights)
    assert torch.equal(loss({"logits": logits}, labels), wanted)
    each = functional.cross_entropy(logits.view(-1, 2), labels.view(-1), weights, reduction="sum")
    assert torch.equal(loss({"logits": logits}, labels, num_items_in_batch=4), each / 4)


@pytest.mark.parametrize("given", ["even", [1.0], [1.0, 0.0], [1.0, True], [1.0, float("nan")], [1.0, "2"]])
def test_weights_that_are_none_are_named(given):
    with pytest.raises(
        InputError, match=r"class_weights=.* must be balanced, or a list of a number above 0 for each of the 2"
    ):
        class_weights(given, NAMES, [0, 1])


def test_the_matrix_is_a_part_of_the_picture(tmp_path):
    record = {"name": "run", "history": [{"step": 1, "loss": 1.0}], "test": {"loss": 1.0}, "baselines": [], "steps": 1}
    plot_task(record, tmp_path / "plain.png")
    matrix = {"labels": ["a", "$b_c$" * 9], "counts": [[5, 1], [0]]}
    plot_task({**record, "details": {"confusion": matrix}}, tmp_path / "matrix.png")
    assert size_of(tmp_path / "matrix.png")[1] > size_of(tmp_path / "plain.png")[1] + 200
