"""Tasks by prompting alone: K solved examples, then the question, and no weight is changed (Brown et al. 2020, section 2)."""

import copy
import random
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from ..data.encoding import behind_space, opening, plain
from ..data.rows import task_splits
from ..errors import InputError, counted
from ..inference.loading import load_model
from ..recipe.parser import load_recipe
from ..tasks import TASKS
from ..tasks.metrics import accuracy, answer_match, compute, macro_f1
from ..tasks.text_classification import SINGLE


@dataclass(frozen=True)
class FewShotScore:
    """Figures over the test rows, with the number of examples and of rows whose examples had to be left out for length.

    Attributes:
        notes: What was counted of the data, a line each.
    """

    figures: dict[str, float]
    shots: int
    rows: int
    shortened: int
    notes: list[str]


def classification_example(row: dict[str, Any], answer: str) -> str:
    pair = f"\nText: {row['text_pair']}" if row.get("text_pair") else ""
    return f"Text: {row['text']}{pair}\nLabel: {answer}".rstrip()


def answering_example(row: dict[str, Any], answer: str) -> str:
    return f"{row['context']}\nQuestion: {row['question']}\nAnswer: {answer}".rstrip()


def few_shot(model_name: str, recipe_name: str, shots: int, limit: int, seed: int = 0) -> FewShotScore:
    """Score a causal model on the test split of a recipe of classification or question answering.

    Args:
        recipe_name: A recipe with `task: text-classification` or `question-answering`: its data and its splits are used.
        shots: Solved examples before each question, drawn from the train split, other ones for each row.
        limit: Test rows that are scored, drawn with the seed.

    Raises:
        InputError: a recipe of another task, fewer rows than examples, or a model that cannot be loaded.
    """
    recipe = load_recipe(recipe_name)
    kinds = {"text-classification": classify, "question-answering": answer}
    if recipe.task.task not in kinds:
        raise InputError(
            f"few-shot scoring knows {' and '.join(kinds)}; the recipe {recipe_name!r} has task={recipe.task.task!r}."
        )
    model, tokenizer = load_model(model_name)
    # A task may have its tokenizer put marks of its own around a text.
    task = TASKS[recipe.task.task](copy.deepcopy(tokenizer), recipe.task)
    shares = recipe.data.validation_share, recipe.data.test_share
    splits, dropped, counts = task_splits(recipe.source, task.columns, task.group, *shares)
    rows = len(splits["train"])
    if shots > rows:
        raise InputError(
            f"--few-shot {shots} asks for more examples than the train split has, which are {rows}: give as many at most."
        )
    draw = random.Random(seed)
    # Datasets are often sorted by label: the first rows would be of one class.
    chosen = draw.sample(range(len(splits["test"])), min(limit, len(splits["test"])))
    test = splits["test"].select(chosen)
    examples = [draw.sample(range(rows), shots) for _ in range(len(test))]
    task.learn(splits["train"])
    if task.config.get("problem_type", SINGLE) != SINGLE:
        raise InputError(
            f"few-shot scoring knows one class for each text; the labels of the recipe {recipe_name!r} are of another kind, "
            f"{task.config['problem_type'].replace('_', ' ')}."
        )
    figures, shortened = kinds[recipe.task.task](model, tokenizer, task, splits["train"], test, examples)
    notes = [f"{counted(count, f'{reason} are left out')}." for reason, count in dropped.items()]
    notes += [f"{split}: {counted(count, reason)}." for split, found in counts.items() for reason, count in found.items()]
    return FewShotScore(figures, shots, len(test), shortened, notes)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, parts: list[str], room: int) -> tuple[list[int], bool]:
    """Ids of the examples and the question, without the first examples if they have no room; the question loses its beginning."""
    encoded = [plain(tokenizer, part)["input_ids"] for part in parts]
    gap = plain(tokenizer, "\n\n")["input_ids"]
    begin = opening(tokenizer)
    room -= len(begin)
    kept = list(encoded[-1])[-room:]
    is_whole = len(kept) == len(encoded[-1])
    for ids in reversed(encoded[:-1]):
        if len(ids) + len(gap) + len(kept) > room:
            return [*begin, *kept], False
        kept = [*ids, *gap, *kept]
    return [*begin, *kept], is_whole


# Texts that say nothing, by which the prompt's own leaning to a label is measured (Zhao et al. 2021, section 5).
CONTENT_FREE = ("N/A", "", "[MASK]")


@torch.inference_mode()
def classify(
    model: Any, tokenizer: PreTrainedTokenizerBase, task: Any, train: Dataset, test: Dataset, examples: list[list[int]]
) -> tuple[dict[str, float], int]:
    """Return how often the right label is the likeliest after the prompt, its tokens' log-probabilities averaged (Brown et al. 2020,
    section 2.4), beside what is likelier than it is after the same prompt with a text that says nothing (Zhao et al. 2021, contextual
    calibration): a small model else gives most rows the label that the prompt itself makes likely. The latter are the figures.
    """
    train_labels, targets = task.labels(train), task.targets("test", test)
    labels = behind_space(tokenizer, task.names)
    room = model.config.max_position_embeddings - max(map(len, labels))
    raw, calibrated, shortened = [], [], 0
    leanings: dict[tuple[int, ...], torch.Tensor] = {}
    for row, chosen in zip(tqdm(test, desc="Prompting", unit="row", leave=False), examples):
        parts = [classification_example(train[index], train_labels[index]) for index in chosen]
        prompt, is_whole = prompt_ids(tokenizer, [*parts, classification_example(row, "")], room)
        shortened += not is_whole
        scores = label_scores(model, prompt, labels)
        if tuple(chosen) not in leanings:
            blanks = [classification_example(dict.fromkeys(row, text), "") for text in CONTENT_FREE]
            empty = [prompt_ids(tokenizer, [*parts, blank], room)[0] for blank in blanks]
            # The mean of their probabilities, in which all labels together are one.
            shares = torch.stack([label_scores(model, ids, labels).softmax(-1) for ids in empty]).mean(0)
            leanings[tuple(chosen)] = shares.log()
        raw.append(int(scores.argmax()))
        calibrated.append(int((scores - leanings[tuple(chosen)]).argmax()))
    figures = compute((accuracy, macro_f1), calibrated, targets)
    return figures | {"accuracy_not_calibrated": accuracy(raw, targets)["accuracy"]}, shortened


def label_scores(model: Any, prompt: list[int], labels: list[list[int]]) -> torch.Tensor:
    """Return mean log P(token | what is before it) over each continuation of a prompt, in nats, of shape `(labels,)`."""
    longest = max(map(len, labels))
    # What comes after a continuation changes nothing in it.
    rows = [[*prompt, *label, *[label[-1]] * (longest - len(label))] for label in labels]
    ids = torch.tensor(rows, device=model.device)
    logits = model(ids, use_cache=False, logits_to_keep=longest + 1).logits[:, :-1].float()
    found = logits.log_softmax(-1).gather(-1, ids[:, -longest:, None])[..., 0].cpu()
    return torch.stack([scores[: len(label)].mean() for scores, label in zip(found, labels)])


@torch.inference_mode()
def answer(
    model: Any, tokenizer: PreTrainedTokenizerBase, task: Any, train: Dataset, test: Dataset, examples: list[list[int]]
) -> tuple[dict[str, float], int]:
    """Return the likeliest continuation after "Answer:", up to the end of its line."""
    longest = 24
    room = model.config.max_position_embeddings - longest
    found, shortened = [], 0
    for row, chosen in zip(tqdm(test, desc="Prompting", unit="row", leave=False), examples):
        parts = [answering_example(train[index], (train[index]["answers"]["text"] or [""])[0]) for index in chosen]
        prompt, is_whole = prompt_ids(tokenizer, [*parts, answering_example(row, "")], room)
        shortened += not is_whole
        ids = torch.tensor([prompt], device=model.device)
        output = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=longest, do_sample=False, use_cache=True
        )
        text = str(tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True)).strip()
        found.append((text.splitlines() or [""])[0])
    return answer_match(found, [answers["text"] for answers in test["answers"]]), shortened
