"""Tokens a second of `generate`: ours beside transformers' GPT-2, greedy, 128 new tokens.

python -m benchmarks.generation [--smoke]      writes benchmarks/records/generation.json

The bound is what memory allows: every token of a batch reads all weights and the cache once, at the bandwidth that a copy of a large
tensor reaches on the same machine in the same minute.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hf_gpt.records import make_record, write_json

from .pairs import alternate, ratio
from .step_time import SIZES, models


RECORD = Path(__file__).parent / "records" / "generation.json"
PROMPT = 16


def generate(model: Any, ids: torch.Tensor, new_tokens: int, **options: Any) -> Callable[[], torch.Tensor]:
    def run() -> torch.Tensor:
        return model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
            **options,
        )

    return run


def bandwidth() -> float:
    """Bytes a second that a matrix-vector product cannot pass: reading 1 GiB once, the best of five."""
    tensor = torch.ones(2**28)
    best = min(_seconds(tensor.sum) for _ in range(5))
    return tensor.nbytes / best


def _seconds(task: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    task()
    return time.perf_counter() - begun


def measure(size: str, dtype: torch.dtype, batch: int, new_tokens: int, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    pair = {name: model.to(dtype).eval() for name, model in models(*SIZES[size], fused_loss=False).items()}
    for model in pair.values():
        model.config.use_cache = model.generation_config.use_cache = True
        model.generation_config.pad_token_id = 0
    ids = torch.randint(1, SIZES[size][3], (batch, PROMPT))
    tasks = {name: generate(model, ids, new_tokens) for name, model in pair.items()}
    first = {name: generate(model, ids, 1) for name, model in pair.items()}
    to_first = alternate(first, rounds)
    seconds = alternate(tasks, rounds)
    weight_bytes = sum(parameter.nbytes for parameter in pair["ours"].parameters())
    steady = {name: batch * (new_tokens - 1) / (min(found) - min(to_first[name])) for name, found in seconds.items()}
    return {
        "size": size,
        "dtype": str(dtype).removeprefix("torch."),
        "batch": batch,
        "new_tokens": new_tokens,
        "seconds": seconds,
        "seconds_to_first_token": to_first,
        "tokens_per_second": steady,
        "bound_tokens_per_second": batch * bandwidth() / weight_bytes,
        "ratio": ratio(seconds["stock"], seconds["ours"]),
    }


def main(smoke: bool) -> None:
    sizes, dtypes, batches = (
        (["15M"], [torch.float32], [1]) if smoke else (list(SIZES), [torch.float32, torch.bfloat16], [1, 8])
    )
    found = []
    for size in sizes:
        for dtype in dtypes:
            for batch in batches:
                found.append(measure(size, dtype, batch, 8 if smoke else 128, 2 if smoke else 7))
                row = found[-1]
                speeds = {name: round(speed, 1) for name, speed in row["tokens_per_second"].items()}
                print(size, row["dtype"], batch, speeds, round(row["bound_tokens_per_second"]), row["ratio"], flush=True)
    if not smoke:
        write_json(RECORD, make_record("generation", rows=found))


if __name__ == "__main__":
    main("--smoke" in sys.argv[1:])
