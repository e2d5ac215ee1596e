"""What every task does: learn its labels, turn rows into model inputs, score predictions, and score baselines beside them."""

import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from transformers import EvalPrediction, PreTrainedTokenizerBase

from ..data.encoding import opening, text_ids
from ..data.labels import WHOLE, truth_of
from ..errors import InputError, counted, listed, reason_of, shown


# Labels that a line counts.
MOST_COUNTED = 20
# A label that no loss is computed of.
IGNORED = -100

# What a baseline is, and what scores it: a dictionary with its `name` and figures.
Baselines = Iterator[tuple[str, Callable[[], dict[str, Any]]]]

RewardName = Literal["arithmetic", "length", "format", "model"]


@dataclass(kw_only=True)
class TaskSettings:
    """What a recipe says about its task.

    Args:
        max_length: Longest input of a task in tokens; what is longer is cut or left out, and counted.
        stride: Tokens that two windows of a long text share, in question answering.
        no_answer_threshold: By how much the best answer has to beat "no answer", in logits.
        prompt: Template of the prompt of `text-to-text`, with `{source}` in it.
        max_new_tokens: Longest answer that is generated when a text-to-text model is scored, in tokens.
        max_test_rows: Test rows that are generated for; all by default.
        class_names: What labels are called, by their value in the data.
        class_weights: Of a classifier's loss, a number for each class in the order of their names, or `balanced`: those by which every
            class counts the same, however many rows it has.
        shown_rows: Test rows that record and card show: the mistakes that a classifier was surest of, or answers; 0 for none.
        algorithm: Of `reinforcement`, how rewards become gradients: what an answer's reward is compared with.
        reward: Of `reinforcement`, what an answer is worth: a rule, or what a trained `model` says.
        reward_model: The folder of that model, a run of the task `reward`.
        reward_pattern: The regular expression of the rule `format`.
        num_generations: Answers that are drawn for each prompt.
        kl_coefficient: What a nat of distance from the model as it was costs, in rewards: the beta of GRPO, RLOO and DPO. By default
            0.05 in `reinforcement` and 0.1 in `preference`.
    """

    max_length: int = 512
    stride: int = 128
    no_answer_threshold: float = 0.0
    prompt: str = "{source}"
    max_new_tokens: int = 64
    max_test_rows: int | None = None
    class_names: dict | None = None
    class_weights: list | str | None = None
    shown_rows: int = 20
    algorithm: Literal["grpo", "rloo"] = "grpo"
    reward: RewardName | None = None
    reward_model: str | None = None
    reward_pattern: str | None = None
    num_generations: int = 8
    kl_coefficient: float | None = None


class Task(ABC):
    """One family of tasks.

    Attributes:
        auto_class: Name of the auto class of its head.
        is_scored_by_answers: Whether its figures are of what the model writes, for which there has to be room.
        pipeline: Task of the Hub that a model card names.
        figure: The figure of the test split that a table of many tasks shows, and its decimals.
        columns: Names of its columns, and whether a dataset has to have them.
        group: Columns of which the first that is there decides the split, so that nothing of one text is in two splits.
        trainer: Which trainer runs it: transformers' own, or one of TRL's.
        is_packed: Whether several short rows are one in training.
        stop_ids: Of a causal model, tokens at which an answer is over, known after `prepare`.
        config: Fields of the model's config that follow from the data, known after `prepare`.
        counts: What was cut or left out, by split, known after `prepare`.
        left_out: Number of rows that were left out before it sees any.
        class_label: What the dataset itself calls its labels.
        not_scored: A line for each baseline that could not be computed, known after `baselines`.
    """

    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    is_scored_by_answers: ClassVar[bool] = False
    pipeline: ClassVar[str] = "text-generation"
    figure: ClassVar[tuple[str, int]]
    columns: ClassVar[dict[str, bool]]
    group: ClassVar[tuple[str, ...]]
    trainer: ClassVar[str] = "trainer"
    is_packed: ClassVar[bool] = False
    class_label: ClassLabel | None = None

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, pad_to_multiple_of: int = 8):
        """`pad_to_multiple_of`: of rows in a batch, in tokens; larger: fewer lengths to compile for, smaller: less padding."""
        self.tokenizer = tokenizer
        self.settings = settings
        self.pad_to_multiple_of = pad_to_multiple_of
        self.config: dict[str, Any] = {}
        self.counts: dict[str, Counter] = {}
        self.left_out = 0
        self.not_scored: list[str] = []
        self.stop_ids: list[int] = [tokenizer.eos_token_id]

    def prepare(self, splits: DatasetDict) -> dict[str, Dataset]:
        """Learn from the train split what labels there are, and encode every split."""
        self.learn(splits["train"])
        encoded = {}
        for name, rows in splits.items():
            self.counts[name] = Counter()
            encoded[name] = self.encode(name, rows)
            if len(encoded[name]) == 0:
                why = ", ".join(counted(count, reason) for reason, count in self.counts[name].items())
                limit = f"max_length={self.settings.max_length}"
                raise InputError(f"no row of the {name} split can be used at {limit}: {why or 'all are too long'}.")
        return encoded

    @abstractmethod
    def learn(self, train: Dataset) -> None:
        """Fill `config` from the train split, and whatever encoding needs to know of it."""

    @abstractmethod
    def encode(self, split: str, rows: Dataset) -> Dataset:
        """Make model inputs and labels of each row, beside them what only `metrics` reads: columns that are no argument of a model
        reach none. Add to `counts[split]` what was cut or left out."""

    def collator(self) -> Any:
        """Return what makes a batch of encoded rows; `None` where a trainer of TRL has its own."""
        return None

    def metrics(self, prediction: EvalPrediction, encoded: Dataset) -> dict[str, float]:
        """Score the model's output for encoded rows, in their order; none beside the loss by default."""
        return {}

    def details(self, prediction: EvalPrediction, encoded: Dataset) -> dict[str, Any]:
        """Return what a person looks at behind the figures, for the record: scores of each label, a confusion matrix, rows."""
        return {}

    def questions(self, encoded: Dataset) -> list[tuple[list[int], str]]:
        """Return, of a task that writes, the prompts of encoded rows that are answered, each with its reference."""
        return []

    def with_room(self, prompts: Iterable[list[int]], references: Iterable[str]) -> list[tuple[list[int], str]]:
        """Return the first `shown_rows` prompts that leave room for an answer, each with its reference."""
        room = self.settings.max_length - self.settings.max_new_tokens
        fitting = ((prompt, reference) for prompt, reference in zip(prompts, references) if len(prompt) <= room)
        return list(islice(fitting, self.settings.shown_rows))

    def scored(self, test: Dataset) -> Dataset:
        """Return the rows that a trainer of TRL scores: all by default."""
        return test

    def places(self, rows: int, per_step: int) -> int:
        """Return the places in batches that training rows take in an epoch.

        Args:
            per_step: Places of a step of the optimizer.
        """
        return rows

    def loss(self, train: Dataset) -> Callable[..., torch.Tensor] | None:
        """Return what `Trainer` computes in place of the model's own loss of encoded rows; `None` where that is right."""
        return None

    def summary(self, train: Dataset) -> list[str]:
        """Return what is to be known of the labels before they are learned, a line each."""
        return []

    def baselines(self, splits: Mapping[str, Dataset], encoded: dict[str, Dataset]) -> list[dict[str, Any]]:
        """Score what needs no training on the same test rows: dictionaries with a `name` and figures. What cannot be computed of these
        rows is left out, with a line in `not_scored`: no run fails for want of it."""
        found, self.not_scored = [], []
        for what, score in self.each_baseline(splits, encoded):
            try:
                found.append(score())
            except (ValueError, ArithmeticError, LookupError, MemoryError) as error:
                self.not_scored.append(f"The baseline {what!r} is left out, since it cannot be computed: {reason_of(error)}")
        return found

    def each_baseline(self, splits: Mapping[str, Dataset], encoded: dict[str, Dataset]) -> Baselines:
        """Yield each baseline: what it is, and what scores it."""
        yield from ()

    def boundary(self) -> int:
        """Return the token that separates the parts of an input and closes it: the end-of-text token, which every document of
        pretraining was closed by (the role of GPT-1's delimiter and extract tokens, Radford et al. 2018, section 3.3).
        """
        end = self.tokenizer.eos_token_id
        if not isinstance(end, int):
            raise InputError("tokenizer: it has no eos_token, which closes every input: set one and save it again.")
        return end

    @cached_property
    def begin(self) -> list[int]:
        """What opens an input: what the tokenizer opens a text with, which every document of pretraining began with; where that is
        nothing, the boundary token, which is before every document (GPT-1's start token).
        """
        # A tokenizer in Python adds by itself what a pipeline will give the model, and cannot be told otherwise.
        return opening(self.tokenizer) or ([self.boundary()] if self.tokenizer.is_fast else [])

    def called(self, labels: Iterable[Any]) -> list[str]:
        """Return what labels are called: by the dataset, and by `class_names` for that name or for their value in the data."""
        given = {str(value): str(name) for value, name in (self.settings.class_names or {}).items()}
        # A column of whole numbers of which one is missing has points in many files.
        whole = [int(label) if isinstance(label, float) and label.is_integer() else label for label in labels]
        names = [(label, label if self.class_label is None else self.class_label.int2str(label)) for label in whole]
        # YAML reads the names yes and no as truth values, which labels may be, too.
        words = {str(name) for _, name in names}
        for value, name in (self.settings.class_names or {}).items():
            if isinstance(value, bool) and str(value) not in words:
                given = {word: str(name) for word in words if truth_of(word) is value} | given
        return [given.get(str(label), given.get(str(name), str(name))) for label, name in names]

    def check_class_names(self, names: list[str]) -> None:
        """Raise `InputError` when `class_names` has named none of the labels."""
        given = self.settings.class_names or {}
        if given and not set(map(str, given.values())) & set(names):
            raise InputError(f"class_names: none of {listed(given)} is a label: the labels are {listed(names)}.")

    def unused_class_names(self, names: list[str]) -> list[str]:
        """Return a line for names that `class_names` gives to what is no label, such as 2 where labels are 0 and 1."""
        unused = [f"{value}: {name}" for value, name in (self.settings.class_names or {}).items() if str(name) not in names]
        if not unused:
            return []
        return [
            f"Mind that class_names has {listed(unused)}, and no such label is in the train split, which has {listed(names)}."
        ]

    def token_ids(self, texts: list[str]) -> list[list[int]]:
        return [ids.tolist() for ids in text_ids(self.tokenizer, texts)]

    def fitted(self, split: str, parts: list[list[int]]) -> list[int]:
        """Join the parts of one input, each closed by the boundary token, in at most `max_length` tokens.

        Of a part that is too long, the first quarter of its room and the last three are kept: a text says most about itself
        there (Sun et al. 2019, section 5.3.1). The longest part gives way first.
        """
        room = self.settings.max_length - len(self.begin) - len(parts)
        lengths = [len(part) for part in parts]
        if sum(lengths) > room:
            self.counts[split]["inputs cut to max_length"] += 1
            while sum(lengths) > room:
                longest = int(np.argmax(lengths))
                others = sum(lengths) - lengths[longest]
                second = max((length for index, length in enumerate(lengths) if index != longest), default=0)
                lengths[longest] = max(room - others, min(second, lengths[longest] - 1), 0)
        ids = [*self.begin]
        for part, length in zip(parts, lengths):
            head = length // 4 if length < len(part) else length
            ids += [*part[:head], *part[len(part) - (length - head) :], self.boundary()]
        return ids


def small(ids: list[int]) -> np.ndarray:
    """Return ids in four bytes each: those of a whole dataset are in memory until they are written."""
    return np.asarray(ids, dtype=np.int32)


def class_label_of(feature: Any) -> ClassLabel | None:
    """Return what a column calls its labels, or those in its lists."""
    inner = getattr(feature, "feature", feature)
    return inner if isinstance(inner, ClassLabel) else None


def count_line(what: str, counts: Counter) -> str:
    """Return the labels with how often each is there, the most frequent first."""
    return f"{what}: {listed((f'{label} {count:,}' for label, count in counts.most_common()), MOST_COUNTED)}."


def doubtful(counts: Counter) -> list[str]:
    """Return a line for each pair of labels that may be one, and for labels that may be several or a number: they are learned as they
    are written."""
    lines, alike = [], defaultdict(list)
    for name in sorted(counts):
        alike[_bare(name)].append(name)
    for names in alike.values():
        if len(names) > 1:
            alike_names = listed(map(repr, names))
            lines.append(
                f"Mind that {alike_names} are {counted(len(names), 'labels')}: if they are one, class_names gives them one name."
            )
    for name in sorted(counts):
        parts = [part.strip() for part in re.split("[,;|]", name)]
        if len(parts) > 1 and all(part in counts for part in parts):
            lines.append(f"Mind that {name!r} is a label of its own: several of one text are a list, such as {parts}.")
    if any("." in name for name in counts) and all(re.fullmatch(r"[+-]?\d*\.?\d+", name) for name in counts):
        lines.append("Mind that the labels are texts, and so classes: numbers are written without quotes.")
    once = sum(count == 1 for count in counts.values())
    if once > MOST_COUNTED and 2 * once > counts.total():
        lines.append(f"Mind that {counted(once, 'labels are')} there once: a number is written as 0.5, without a unit.")
    return lines[:MOST_COUNTED]


def _bare(name: str) -> str:
    """Return a name without what is easily mistyped: case, width, white space at its ends, signs that do not show, and what joins its
    words. A sign before or behind a name and what is between digits may tell two labels apart: -1 and 1, A- and A, 1-2 and 12."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    plain = "".join(sign for sign in plain if unicodedata.category(sign) != "Cf").strip()
    return JOINTS.sub("", plain) or name


JOINTS = re.compile(r"(?<=[^\W\d_])[\s_-]+(?=[^\W_])|(?<=\d)[\s_-]+(?=[^\W\d_])")


def label_names(train: list[str], left_out: int) -> list[str]:
    """Return the distinct labels in an order that does not depend on the order of the rows: numbers by size, else by name.

    Args:
        left_out: Number of rows that were left out, which may have had others.

    Raises:
        InputError: a single label.
    """
    names = sorted(set(train))
    if all(WHOLE.fullmatch(name) for name in names):
        names.sort(key=int)
    if len(names) < 2:
        why = f" ({counted(left_out, 'rows were left out')})" if left_out else ""
        what = f"the single label {shown(names[0])}" if names else "no label"
        raise InputError(f"the train split has {what}{why}: a classifier needs two or more.")
    return names


def label_indices(labels: list[str], names: list[str], split: str, is_list: bool = False) -> list[int]:
    """Return the index of each label.

    Args:
        is_list: Whether a row has a list of them, by which `dataset.where` chooses as a whole.

    Raises:
        InputError: a label that the train split has not.
    """
    index = {name: place for place, name in enumerate(names)}
    unseen = sorted(set(labels) - set(index))
    if unseen:
        other = "take the rows with it out" if is_list else "keep those of other labels alone: dataset.where={label: [a, b]}"
        raise InputError(
            f"label {shown(unseen[0])} of the {split} split does not occur in the train split, whose labels are {listed(names)}: give "
            f"rows with it for training, or {other}."
        )
    return [index[label] for label in labels]
