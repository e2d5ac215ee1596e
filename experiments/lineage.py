"""The line of language models that GPT comes from, under one recipe, on one page: docs/lineage.md and docs/lineage_zh.md.

python -m experiments lineage [NAME ...]     the runs, all by default; one that has a record already is left out
python -m experiments lineage --list         their names

A run that was interrupted resumes where it was. All of it is meant for two cores and about an hour and a half.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.frame import keep_record, train_apart, write_pages, write_record
from benchmarks.tiny import tiny_overrides, write_corpus

from hf_gpt.data.packing import flat_tokens
from hf_gpt.evaluation.ngram import NgramModel
from hf_gpt.evaluation.perplexity import score
from hf_gpt.recipe.parser import load_recipe
from hf_gpt.training.preparation import prepare_launch
from hf_gpt.training.pretraining import Pretraining

from . import lineage_page
from .lineage_page import CLASSIFIERS, GENERATIONS, LABELS, OSS_IN_ALL, SEEDS, SMOOTHINGS, STARTS, label_name, read


SECTIONS, draw = lineage_page.SECTIONS, lineage_page.draw
RUNS = Path("runs/lineage")

STEPS = 300
TOKENS_PER_STEP = 16 * 256
TIMED_STEPS = 16
# Of the steps of the modern recipe, those in which its rate falls.
DECAY_SHARE = 0.6
PROMPT = "This movie is"
ADD_K = (1.0, 0.1, 0.01, 0.001)


# --------------------------------------------------------------------------------------------------------- n-grams


def ngrams(overrides: tuple[str, ...] = ()) -> None:
    """Each order and smoothing, counted on as many tokens as the networks see and on all, scored on their test tokens."""
    recipe = load_recipe("pretrain/small-modern", overrides)
    job = Pretraining(recipe)
    job.prepare_data(prepare_launch(recipe))
    tokenizer, language_data = job.tokenizer, job.data
    size, vocab_size = recipe.data.block_size, len(tokenizer)
    blocks = {name: flat_tokens(part).reshape(-1, size) for name, part in language_data.blocks.items()}
    count = min(STEPS * TOKENS_PER_STEP // size, len(blocks["train"]))
    drawn = np.random.default_rng(0).choice(len(blocks["train"]), count, replace=False)
    corpora = {"same": blocks["train"][drawn].ravel(), "all": blocks["train"].ravel()}
    is_predicted = np.ones(blocks["test"].size, dtype=bool)
    is_predicted[::size] = False
    validation = blocks["validation"].ravel()
    scores = []
    for corpus, tokens in corpora.items():
        for order in range(1, 6):
            counted = NgramModel.fit(tokens, order, vocab_size, "maximum_likelihood")
            for smoothing in SMOOTHINGS:
                begun = time.process_time()
                model = counted
                if smoothing == "add_k":
                    models = [NgramModel(counted.tables, vocab_size, smoothing, k) for k in ADD_K]
                    model = min(models, key=lambda one: one.loss(validation))
                elif smoothing == "kneser_ney":
                    model = NgramModel.fit(tokens, order, vocab_size, smoothing)
                losses = -model.log_probabilities(blocks["test"].ravel())[is_predicted]
                unseen = float(np.isinf(losses).mean())
                # A token of probability zero makes the text impossible: there is no finite loss then, which JSON cannot hold either.
                found: dict[str, float] = {"unseen": unseen}
                if not unseen:
                    found |= score(float(losses.sum()), len(losses), language_data.bytes_per_token["test"]).to_dict()
                row: dict[str, Any] = {"corpus": corpus, "train_tokens": len(tokens), "order": order, "smoothing": smoothing}
                scores.append({**row, "k": model.k, "processor_seconds": time.process_time() - begun, **found})
                if smoothing == "kneser_ney" and corpus == "all" and order == 5:
                    text = tokenizer.decode(model.sample(40, 0, tokenizer(PROMPT)["input_ids"]))
    sample = {"prompt": PROMPT, "text": f"{PROMPT}{text}", "seed": 0}
    data = language_data.description
    write_record("lineage/ngrams", "ngrams", data=data, scores=scores, samples=[sample])


# --------------------------------------------------------------------------------------------------------- networks


def train(name: str, recipe: str, overrides: list[str]) -> None:
    keep_record(f"lineage/{name}", train_apart(recipe, overrides, RUNS / name))


def pretrain(name: str, recipe: str, overrides: list[str]) -> None:
    train(name, f"pretrain/{recipe}", overrides)


def timed(name: str) -> None:
    """A few steps of a generation, for what a step takes: to be compared, all of these have to be run on one machine."""
    few = [f"max_steps={TIMED_STEPS}", "logging_steps=4", "eval_strategy=no", "ngram_orders=[]", "sample_prompts=[]"]
    train(f"{name}-timed", f"pretrain/small-{name}", few)


def step_seconds(record: dict[str, Any]) -> float:
    """Return what a step took; the first logged ones, which have the compiler's time in them, are left out."""
    logged = [row for row in record["history"] if "loss" in row]
    first, last = logged[0], logged[-1]
    return (last["elapsed_seconds"] - first["elapsed_seconds"]) / (last["step"] - first["step"])


def equal_time_overrides(name: str, seconds: float, of_first: float) -> list[str]:
    """Return how many steps a generation has in the time that the first one needs for `STEPS`, and a schedule of that length.

    Args:
        seconds: Of its steps.
        of_first: Of those of the first.
    """
    steps = round(STEPS * of_first / seconds)
    overrides = [f"max_steps={steps}"]
    if "num_decay_steps" in load_recipe(f"pretrain/small-{name}").values.get("lr_scheduler_kwargs", {}):
        overrides.append(f"lr_scheduler_kwargs.num_decay_steps={round(DECAY_SHARE * steps)}")
    return overrides


def at_equal_time(name: str) -> None:
    seconds = []
    for other in (name, GENERATIONS[0]):
        need(f"{other}-timed", is_weights=False)
        seconds.append(step_seconds(read(f"{other}-timed") or {}))
    train(f"{name}-equal-time", f"pretrain/small-{name}", equal_time_overrides(name, *seconds))


def need(name: str, is_weights: bool = True) -> None:
    """Run what another run builds on: where its record is missing, or, for its weights, where its folder is."""
    if read(name) is None or (is_weights and not (RUNS / name / "record.json").is_file()):
        PARTS[name]()


# ----------------------------------------------------------------------------------------------------- fine-tuning


def classify(name: str, base: str, overrides: list[str]) -> None:
    need(base)
    train(name, "finetune/rotten-tomatoes-small", [f"model_name_or_path={RUNS / base}", *overrides])


def few_labels(labels: int | None, start: str, seed: int) -> None:
    """The same recipe on so many labels; at least 40 steps, since four epochs of 16 sentences are four."""
    overrides = [*STARTS[start], f"seed={seed}", f"task_baselines={str(start == 'pretrained').lower()}"]
    if labels is not None:
        steps = max(40, 4 * math.ceil(labels / 64))
        overrides += [f"max_train_rows={labels}", f"max_steps={steps}", f"warmup_steps={steps // 10}", f"eval_steps={steps}"]
        overrides.append(f"save_steps={steps}")
    classify(label_name(labels, start, seed), "modern", overrides)


def label_runs() -> dict[str, tuple[int | None, str, int]]:
    """Number of labels, start and seed of each run, by its name."""
    return {
        label_name(labels, start, seed): (labels, start, seed)
        for labels in LABELS
        for start in STARTS
        for seed in SEEDS.get(labels or 0, (0,))
    }


# ------------------------------------------------------------------------------------------------------ all of them


def parts() -> dict[str, Callable[[], None]]:
    """Return what is run for each record, in the order of the page."""
    listed: dict[str, Callable[[], None]] = {"ngrams": ngrams}
    plain = [f"max_steps={STEPS}", "eval_steps=50", "save_steps=100", "ngram_orders=[]"]
    listed["nnlm"] = partial(pretrain, "nnlm", "nnlm", plain)
    listed |= {name: partial(pretrain, name, f"small-{name}", []) for name in GENERATIONS}
    listed[OSS_IN_ALL] = partial(pretrain, OSS_IN_ALL, "small-oss", ["config.intermediate_size=96"])
    listed["mlm"] = partial(pretrain, "mlm", "mlm", [])
    for name, base, pooling in CLASSIFIERS:
        listed[name] = partial(classify, name, base, [f"config.classifier_pooling={pooling}", "task_baselines=false"])
    listed |= {name: partial(few_labels, *settings) for name, settings in label_runs().items()}
    listed |= {f"{name}-timed": partial(timed, name) for name in GENERATIONS}
    return listed | {f"{name}-equal-time": partial(at_equal_time, name) for name in GENERATIONS}


PARTS = parts()


def smoke(folder: Path) -> None:
    """Count n-grams and train a network on a text that is here."""
    write_corpus(folder / "corpus.jsonl")
    overrides = tiny_overrides(folder / "corpus.jsonl")
    ngrams((*overrides, f"output_dir={folder / 'ngrams'}"))
    keep_record("lineage/gpt1", train_apart("pretrain/small-gpt1", overrides, folder / "gpt1"))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="the names of the runs")


def run(options: argparse.Namespace) -> None:
    if options.list:
        print("\n".join(PARTS))
    elif unknown := sorted(set(options.names) - set(PARTS)):
        sys.exit(f"{unknown[0]!r} is not a run: `python -m experiments lineage --list` has their names.")
    else:
        for name in options.names or PARTS:
            if read(name) is None:
                PARTS[name]()
            write_pages(lineage_page)
