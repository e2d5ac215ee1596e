"""Figures of a task from predictions that are made up: each is what its definition gives by hand."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from tests.helpers.recipes import TASKS as EXAMPLES
from transformers import EvalPrediction

from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.tasks import TASKS, TaskSettings, details, metrics


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(iter([["red blue green small large ? which answer is wrong right"] * 9]), 300, 64)


def prepared(name, tokenizer, rows, **settings):
    task = TASKS[name](tokenizer, TaskSettings(**settings))
    return task, task.prepare(DatasetDict({split: Dataset.from_list(part) for split, part in rows.items()}))


def test_a_tag_that_training_has_not_and_words_beyond_the_length(tokenizer):
    train = [{"tokens": ["red", "blue"], "tags": ["B-X", "O"]}]
    test = [
        {"tokens": ["red", "unheard-of", "blue"], "tags": ["B-X", "B-Z", "O"]},
        {"tokens": ["red"] * 40, "tags": ["B-X"] * 40},
    ]
    task, encoded = prepared("token-classification", tokenizer, {"train": train, "test": test}, max_length=24)
    length = max(map(len, encoded["test"]["input_ids"]))
    logits = np.zeros((2, length, 2))
    # Every piece is said to be O but the last one of the first word, which is right about one word in three.
    logits[:, :, task.index["O"]] = 1.0
    labelled = [[place for place, label in enumerate(row) if label != -100] for row in encoded["test"]["labels"]]
    logits[0, labelled[0][0], task.index["B-X"]] = 2.0
    found = task.metrics(EvalPrediction(logits, np.full((2, length), -100)), encoded["test"])
    fitting = len(labelled[1])
    assert 0 < fitting < 40
    assert found["accuracy"] == pytest.approx(2 / (3 + fitting))
    # One entity is found and right, of two and those that fit.
    assert (found["entity_precision"], found["entity_recall"]) == (1.0, pytest.approx(1 / (2 + fitting)))
    assert task.counts["test"]["words with a tag that the train split has not"] == 1


ANSWERED = {"question": "which?", "context": f"{'red ' * 40}blue", "answers": {"text": ["blue"], "answer_start": [160]}}


@pytest.mark.parametrize("threshold", [0.0, 5.0])
def test_an_answer_out_of_windows_or_none(tokenizer, threshold):
    rows = [
        ANSWERED,
        {"question": "which?", "context": "green", "answers": {"text": [], "answer_start": []}},
    ]
    settings = {"max_length": 32, "stride": 4, "no_answer_threshold": threshold}
    task, encoded = prepared("question-answering", tokenizer, {"train": rows, "test": rows}, **settings)
    windows = encoded["test"]
    assert len(windows) > 2
    length = max(map(len, windows["input_ids"]))
    logits = np.zeros((2, len(windows), length))
    for number, (start, end) in enumerate(zip(windows["start_positions"], windows["end_positions"])):
        # Of "no answer" each window is as sure as of the answer that one of them has.
        logits[0, number, start] = logits[1, number, end] = 2.0
    found = task.metrics(EvalPrediction((logits[0], logits[1]), None), windows)
    assert found["exact_match"] == (100.0 if threshold == 0.0 else 50.0)


def test_windows_of_a_text_share_stride_tokens_and_leave_none_out(tokenizer):
    settings = {"max_length": 32, "stride": 4}
    _, encoded = prepared("question-answering", tokenizer, {"train": [ANSWERED], "test": [ANSWERED]}, **settings)
    parts = [window["offsets"] for window in encoded["test"]]
    assert len(parts) > 2
    assert all(part[-4:] == following[:4] for part, following in pairwise(parts))
    assert parts[0][0][0] == 0
    assert parts[-1][-1][1] == len(ANSWERED["context"])


def test_where_every_row_of_training_has_an_answer_one_is_given(tokenizer):
    """However sure it is of none: nothing has taught it what that means."""
    task, encoded = prepared(
        "question-answering", tokenizer, {"train": [ANSWERED], "test": [ANSWERED]}, max_length=128, stride=4
    )
    (window,) = encoded["test"]
    logits = np.zeros((2, 1, len(window["input_ids"])))
    logits[:, 0, -1] = 9.0
    logits[0, 0, window["start_positions"]] = logits[1, 0, window["end_positions"]] = 2.0
    assert task.metrics(EvalPrediction((logits[0], logits[1]), None), encoded["test"])["exact_match"] == 100.0


def test_classes_and_choices_are_compared_with_label_ids(tokenizer):
    rows = [EXAMPLES["text-classification"][0](number) for number in range(4)]
    task, encoded = prepared("text-classification", tokenizer, {"train": rows, "test": rows[:1]})
    logits = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = task.metrics(EvalPrediction(logits, np.array([1, 1, 1])), encoded["test"])
    assert found["accuracy"] == pytest.approx(1 / 3)
    rows = [EXAMPLES["multiple-choice"][0](number) for number in range(4)]
    task, encoded = prepared("multiple-choice", tokenizer, {"train": rows, "test": rows[:1]})
    assert task.metrics(EvalPrediction(logits, np.array([1, 1, 1])), encoded["test"]) == {"accuracy": pytest.approx(1 / 3)}


def test_figures_by_hand():
    assert metrics.macro_f1([0, 0, 1], [0, 1, 1])["f1"] == pytest.approx(2 / 3)
    assert metrics.matthews([0, 1, 1, 0], [0, 1, 1, 1])["matthews"] == pytest.approx(3**-0.5)
    assert metrics.answer_match(["The red, house!"], [["red house", "blue"]]) == {"exact_match": 100.0, "f1": 100.0}
    assert metrics.answer_match(["", "red"], [[], ["red blue"]]) == {"exact_match": 50.0, "f1": pytest.approx(250 / 3)}
    assert metrics.rouge(["red blue"], ["red green"])["rouge1"] == pytest.approx(50.0)
    assert metrics.translation(["red blue green small"], ["red blue green small"])["bleu"] == pytest.approx(100.0)
    assert metrics.correlation(np.float32([1, 2, 3]), [2, 4, 9])["spearman"] == pytest.approx(1.0)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_says_what_a_card_and_a_table_need(name):
    assert TASKS[name].figure[0] in EXAMPLES[name][1] | {"rougeL"}
    assert TASKS[name].pipeline in ("text-generation", "text-classification", name)


def test_figures_of_rows_that_are_all_alike_come_without_a_warning_of_a_library():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for found, wanted in (([0, 0], [0, 0]), ([0, 0], [1, 1]), ([0, 1], [0, 0])):
            assert metrics.compute((metrics.accuracy, metrics.macro_f1, metrics.matthews), found, wanted)["matthews"] == 0
            assert details.label_scores([str(label) for label in found], ["0", "0"], ["0", "1"])["1"]["recall"] == 0
        assert metrics.micro_f1(np.zeros((2, 2), int), np.zeros((2, 2), int)) == {"f1": 0}
        for numbers in ([0.5, 0.5], [0.5]):
            assert np.isnan(metrics.correlation(numbers, numbers)["pearson"])
        assert metrics.entity_scores([["O"]], [["O"]]) == {}
        assert metrics.entity_f1([["O"]], [["O"]])["entity_f1"] == 0
        assert metrics.rouge([""], ["a"])["rouge1"] == metrics.translation([""], ["a"])["bleu"] == 0
