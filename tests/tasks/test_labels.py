"""Labels as people have them: each is the class that it is, or is refused by its row."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import EvalPrediction, PreTrainedTokenizerFast

from hf_gpt.data import sources
from hf_gpt.data.rows import task_splits
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.errors import InputError
from hf_gpt.tasks import TASKS, TaskSettings


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(iter([["red blue green small large"] * 9]), 300, 64)


def prepared(name, tokenizer, rows, feature=None, **settings):
    """The task and its encoded rows; `feature` is that of the labels."""
    train = Dataset.from_list(rows)
    if feature is not None:
        column = "tags" if name == "token-classification" else "label"
        train = train.cast(Features({**train.features, column: feature}))
    task = TASKS[name](tokenizer, TaskSettings(**settings))
    return task, task.prepare(DatasetDict({"train": train, "test": train}))["test"]


def labelled(*labels):
    return [{"text": f"red {number}", "label": label} for number, label in enumerate(labels)]


@pytest.mark.parametrize("kind", [float, int, bool])
def test_zeros_and_ones_are_a_class_for_each_column(tokenizer, kind):
    wanted = [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    rows = labelled(*([kind(value) for value in row] for row in wanted))
    task, encoded = prepared("text-classification", tokenizer, rows, class_names={1: "odd"})
    assert task.config["problem_type"] == "multi_label_classification"
    assert task.config["id2label"] == {0: "0", 1: "odd", 2: "2"}
    assert encoded["labels"] == wanted
    right = (np.array(wanted) - 0.5) * 9
    assert task.metrics(EvalPrediction(right, np.array(wanted)), encoded) == {"f1": 1.0}
    # Of three classes that are there, one is found, and one that is not there.
    right[0] = right[2] = [-9, -9, 9]
    assert task.metrics(EvalPrediction(right, np.array(wanted)), encoded) == {"f1": pytest.approx(0.4)}


def test_a_text_of_no_class_is_one_of_zeros(tokenizer):
    task, encoded = prepared("text-classification", tokenizer, labelled(["a", "b"], [], ["b"]))
    assert task.names == ["a", "b"]
    assert encoded["labels"] == [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([[1.0, 0.0], [1.0]], r"row 0 of the train split has label \[1.0, 0.0\]: give classes, or as many zeros"),
        ([[0.2, 0.8], [1.0, 0.0]], r"row 0 of the train split has label \[0.2, 0.8\]"),
    ],
)
def test_lists_of_numbers_that_are_no_labels_are_refused(tokenizer, labels, told):
    with pytest.raises(InputError, match=told):
        prepared("text-classification", tokenizer, labelled(*labels))


def test_held_out_zeros_and_ones_are_as_many(tokenizer):
    task = TASKS["text-classification"](tokenizer, TaskSettings())
    splits = {"train": labelled([1, 0], [0, 0]), "test": labelled([1, 0], [1, 0, 0])}
    with pytest.raises(
        InputError, match=r"row 1 of the test split has label \[1, 0, 0\]: in the train split .* 2 zeros and ones"
    ):
        task.prepare(DatasetDict({name: Dataset.from_list(rows) for name, rows in splits.items()}))


def test_the_right_choice_may_be_written_as_a_text(tokenizer):
    rows = [{"question": "which?", "choices": ["red", "blue"], "label": label} for label in ("1", "0", "1")]
    task = TASKS["multiple-choice"](tokenizer, TaskSettings())
    splits = DatasetDict({"train": Dataset.from_list(rows), "test": Dataset.from_list(rows)})
    encoded = task.prepare(splits)
    assert list(encoded["test"]["labels"]) == [1, 0, 1]
    assert task.baselines(splits, encoded)[0] == {"name": "always choice 2", "accuracy": pytest.approx(2 / 3)}


NAMED = ClassLabel(names=["neg", "pos"])
LISTED = List(NAMED)


@pytest.mark.parametrize(
    ("labels", "feature", "class_names", "wanted"),
    [
        ([0, 1], NAMED, None, ["neg", "pos"]),
        ([0, 1], NAMED, {0: "bad"}, ["bad", "pos"]),
        ([0, 1], NAMED, {"neg": "bad", "pos": "good"}, ["bad", "good"]),
        (["0", "1"], None, {0: "bad", 1: "good"}, ["bad", "good"]),
        ([0, 1], None, {"0": "bad", "1": "good"}, ["bad", "good"]),
        ([[0], [0, 1]], LISTED, None, ["neg", "pos"]),
        ([["0"], ["0", "1"]], None, {0: "bad", 1: "good"}, ["bad", "good"]),
        (["yes", "no"], None, {True: "good", False: "bad"}, ["bad", "good"]),
        (["Yes", "NO"], None, {True: "good", "NO": "never", False: "bad"}, ["good", "never"]),
        ([["on"], ["off", "on"]], None, {True: "good", False: "bad"}, ["bad", "good"]),
        ([1, 0], ClassLabel(names=["no", "yes"]), {True: "good", False: "bad"}, ["bad", "good"]),
        ([True, False], None, {True: "good", False: "bad"}, ["bad", "good"]),
        (["True", "yes"], None, {True: "good"}, ["good", "yes"]),
    ],
)
def test_classes_are_called_what_the_data_and_class_names_say(tokenizer, labels, feature, class_names, wanted):
    task, _ = prepared("text-classification", tokenizer, labelled(*labels), feature, class_names=class_names)
    assert task.names == wanted
    assert task.config["id2label"] == dict(enumerate(wanted))


@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
def test_class_names_of_no_label_are_refused(tokenizer, task):
    rows = labelled("yes", "no") if task == "text-classification" else [{"tokens": ["red", "blue"], "tags": ["yes", "no"]}]
    with pytest.raises(InputError, match="class_names: none of 0, 1 is a label: the labels are no, yes"):
        prepared(task, tokenizer, rows, class_names={0: "bad", 1: "good"})


@pytest.mark.parametrize(
    ("feature", "class_names"),
    [(List(ClassLabel(names=["O", "B-X", "I-X"])), None), (None, {0: "O", 1: "B-X", 2: "I-X"})],
    ids=["names of the dataset", "class_names"],
)
def test_tags_are_names_and_so_entities(tokenizer, feature, class_names):
    rows = [{"tokens": ["red", "blue", "green"], "tags": [1, 2, 0]}, {"tokens": ["red"], "tags": [1]}]
    task, encoded = prepared("token-classification", tokenizer, rows, feature, class_names=class_names)
    assert task.names == ["B-X", "I-X", "O"]
    logits = np.full((2, max(map(len, encoded["input_ids"])), 3), -1.0)
    for number, row in enumerate(encoded["labels"]):
        for place, label in enumerate(row):
            logits[number, place, label if label >= 0 else 2] = 1.0
    wanted = {"accuracy": 1.0, "entity_f1": 1.0, "entity_precision": 1.0, "entity_recall": 1.0}
    assert task.metrics(EvalPrediction(logits, None), encoded) == wanted
    splits = dict.fromkeys(("train", "test"), Dataset.from_list(rows))
    assert task.baselines(splits, {"test": encoded})[0]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("label", "feature", "kind"),
    [
        ([0.0, 1.0, 2.0, float("nan")], Value("float64"), Value("int64")),
        ([0.0, 1.0, 2.0, None], Value("float64"), Value("int64")),
        ([0, 1, 2, None], Value("int64"), Value("int64")),
        ([0, 1, 0, -1], NAMED, NAMED),
        ([0.0, 1.0, 2.5, float("nan")], Value("float64"), Value("float64")),
        ([[0], [1], [], None], List(Value("int64")), List(Value("int64"))),
        ([["a"], ["b"], [], [None]], List(Value("string")), List(Value("string"))),
    ],
)
def test_a_label_that_is_missing_is_a_row_left_out_and_changes_no_other(tmp_path, label, feature, kind):
    path = tmp_path / "rows.parquet"
    texts = [f"text {number}" for number in range(200)]
    Dataset.from_dict({"text": texts, "label": label * 50}, Features({"text": Value("string"), "label": feature})).to_parquet(
        path
    )
    source = sources.text_source({"path": "parquet", "files": str(path)})
    splits, dropped, _ = task_splits(source, TASKS["text-classification"].columns, ("text",), 0.1, 0.1)
    assert dropped == {"empty rows": 50}
    assert sum(len(part) for part in splits.values()) == 150
    assert splits["train"].features["label"] == kind


@pytest.mark.parametrize(
    ("text", "start"), [("blue", 4), (" blue", 3), (" blue ", 3), ("blue ", 4), ("\tblue", 4), (" blue ", 4)]
)
def test_an_answer_with_white_space_at_an_end_is_the_answer(tokenizer, text, start):
    rows = [{"question": "which?", "context": "red blue green", "answers": {"text": [text], "answer_start": [start]}}]
    _, encoded = prepared("question-answering", tokenizer, rows, max_length=40, stride=2)
    row = encoded[0]
    ids = row["input_ids"][row["start_positions"] : row["end_positions"] + 1]
    assert tokenizer.decode(ids).strip() == "blue"


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["pos", "Pos ", "neg"], "'Pos ', 'pos' are 2 labels: if they are one, class_names gives them one name"),
        (["not_same", "not same", "same"], "'not same', 'not_same' are 2 labels"),
        (["a", "a\u200b", "b"], "are 2 labels"),
        (["covid-19", "covid19", "flu"], "'covid-19', 'covid19' are 2 labels"),
        ([["pos"], ["Pos", "neg"], []], "'Pos', 'pos' are 2 labels"),
        (["a", "b", "a,b"], "'a,b' is a label of its own: several of one text are a list, such as ['a', 'b']"),
        (["0.5", "1", "2.25"], "the labels are texts, and so classes: numbers are written without quotes"),
        ([0.0, 1.0, 2.0], "all of them are whole: classes are written without a point"),
        ([f"{number}%" for number in range(40)], "40 labels are there once: a number is written as 0.5"),
    ],
)
def test_labels_that_may_be_meant_otherwise_are_said(labels, told, tokenizer):
    rows = labelled(*labels)
    task, _ = prepared("text-classification", tokenizer, rows)
    assert told in "\n".join(task.summary(Dataset.from_list(rows)))


SIGNED = [["-1", "1", "0"], ["A", "A-", "B"], ["1-2", "12", "3 4", "34"]]


@pytest.mark.parametrize("labels", [["pos", "neg"], ["C", "C++", "C#"], ["a", "a, c"], list(range(40)) * 2, *SIGNED])
def test_labels_that_are_clear_are_counted_alone(labels, tokenizer):
    rows = labelled(*labels)
    task, _ = prepared("text-classification", tokenizer, rows)
    assert len(task.summary(Dataset.from_list(rows))) == 1


def test_numbers_are_said_with_their_range(tokenizer):
    rows = labelled(0.5, 1.0, 4.5)
    task, _ = prepared("text-classification", tokenizer, rows)
    assert task.summary(Dataset.from_list(rows)) == ["labels of the train split are numbers from 0.5 to 4.5, 2 on average."]


@pytest.mark.parametrize(
    ("train", "test", "wanted"),
    [
        ([0, 1], [1.0, 0.0], [1, 0]),
        ([0, 1], ["1", "0"], [1, 0]),
        ([0.5, 1.5], [2, 3], [2.0, 3.0]),
        ([["cat"], ["dog", "cat"]], ["cat", "dog"], [[1.0, 0.0], [0.0, 1.0]]),
        ([0.5, 1.5], ["neg"], "row 0 of the test split has label 'neg': in the train split labels are numbers"),
        ([0, 1], ["neg"], "label 'neg' of the test split does not occur in the train split, whose labels are 0, 1"),
        (["a", "b"], [["a"]], "does not occur in the train split"),
        (["a", "b"], ["c"], r"keep those of other labels alone: dataset\.where="),
        # `where` chooses lists as a whole.
        ([["a"], ["b"]], [["c"]], r"give rows with it for training, or take the rows with it out\.$"),
    ],
)
def test_held_out_labels_of_another_kind_are_those_of_training_or_refused(train, test, wanted, tokenizer):
    splits = DatasetDict({"train": Dataset.from_list(labelled(*train)), "test": Dataset.from_list(labelled(*test))})
    task = TASKS["text-classification"](tokenizer, TaskSettings())
    if isinstance(wanted, str):
        with pytest.raises(InputError, match=wanted):
            task.prepare(splits)
    else:
        assert list(task.prepare(splits)["test"]["labels"]) == wanted


@pytest.mark.parametrize("label", [0.5, ["a", "b"], [1, 0, 1], 1])
def test_labels_that_are_all_the_same_are_refused(label, tokenizer):
    with pytest.raises(InputError, match="the train split has the single label"):
        prepared("text-classification", tokenizer, labelled(label, label, label))


def test_held_out_tags_of_which_none_is_known_are_refused(tokenizer):
    train, test = ([{"tokens": ["red", "blue"], "tags": tags}] for tags in ([0, 1], ["O", "B-X"]))
    splits = DatasetDict({"train": Dataset.from_list(train), "test": Dataset.from_list(test)})
    with pytest.raises(InputError, match="no tag of the test split occurs in the train split: B-X, O there, 0, 1 here"):
        TASKS["token-classification"](tokenizer, TaskSettings()).prepare(splits)


def spaced_tokenizer(kind):
    """A tokenizer of characters and words of Llama's kind: `▁` stands for a space, and one is before every text."""
    words = ["red", "blue", "green"]
    vocabulary = ["<unk>", "</s>", "▁", *map(chr, range(97, 123)), *words, *(f"▁{word}" for word in words)]
    pieces = [(piece, 0.0 if piece.startswith("▁") and len(piece) > 1 else -9.0) for piece in vocabulary]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    if kind == "prepend":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind)
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize("kind", ["prepend", "always", "first", "never"])
def test_a_word_is_read_with_one_space_before_it_as_in_running_text(kind):
    tokenizer = spaced_tokenizer(kind)
    rows = [{"tokens": ["red", "blue", "green"], "tags": ["X", "Y", "X"]}]
    task, encoded = prepared("token-classification", tokenizer, rows)
    running = tokenizer("red blue green", add_special_tokens=False)["input_ids"]
    assert encoded[0]["input_ids"] == [*task.begin, *running, tokenizer.eos_token_id]
    assert [label for label in encoded[0]["labels"] if label >= 0] == [0, 1, 0]
    assert len(running) == 3


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (["③", "①", "②"], ["①", "②", "③"]),
        (["²", "1"], ["1", "²"]),
        (["--1", "1"], ["--1", "1"]),
        (["10", "9", "-1", "+2"], ["-1", "+2", "9", "10"]),
        (["9" * 5000, "1"], ["1", "9" * 5000]),
    ],
)
def test_labels_that_look_like_numbers_are_in_an_order_of_their_own(tokenizer, labels, wanted):
    assert prepared("text-classification", tokenizer, labelled(*labels))[0].names == wanted


@pytest.mark.parametrize("label", ["²", "9" * 5000, "--1"])
def test_a_choice_that_is_no_number_is_named(tokenizer, label):
    rows = [{"question": "which?", "choices": ["red", "blue"], "label": label}] * 2
    with pytest.raises(InputError, match="give the index of the right choice, 0 to 1"):
        prepared("multiple-choice", tokenizer, rows)


def test_of_thousands_of_labels_a_few_are_listed(tokenizer):
    rows = [labelled(*(f"class {i} {'x' * 100}" for i in range(3000))), labelled("new" * 1000)]
    splits = DatasetDict({name: Dataset.from_list(part) for name, part in zip(("train", "test"), rows)})
    task = TASKS["text-classification"](tokenizer, TaskSettings())
    with pytest.raises(
        InputError, match=r"label 'newnew.*… of the test split .* and 2,980 more: give .* dataset.where=\{label: "
    ) as told:
        task.prepare(splits)
    assert len(str(told.value)) < 1900
    with pytest.raises(InputError, match=r"none of 0 is a label: the labels are class 0 .* and 2,980 more"):
        prepared("text-classification", tokenizer, rows[0], class_names={0: "a"})
