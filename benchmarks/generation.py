"""Tokens/s of greedy generation: ours beside transformers' GPT-2, nanoGPT's loop and llama.cpp, 128 new tokens.

Writes benchmarks/records/generation, a record for each case; what is there is left out. The bound is what memory allows: every step
reads all weights that it multiplies with once, at the bandwidth that reading a large tensor reaches on the same machine in the same
minute.
"""

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from transformers import CompileConfig
from transformers.generation import BaseStreamer

import hf_gpt

from .frame import apart, record_path, write_record
from .pairs import alternate, ratio
from .speed.nanogpt import NanoGPT
from .step_time import SIZES, models


PROMPT = 16


class Stopwatch(BaseStreamer):
    """The moment of each token, the prompt's first."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def put(self, value: Any) -> None:
        self.moments.append(time.perf_counter())

    def end(self) -> None:
        pass

    @property
    def seconds_to_first(self) -> float:
        return self.moments[1] - self.moments[0]

    @property
    def seconds_after(self) -> float:
        return self.moments[-1] - self.moments[1]


# Takes a watch, tells it of the prompt and of each token, and returns the new ids, `(batch, new tokens)`.
Writer = Callable[[Stopwatch], torch.Tensor]


@dataclass(frozen=True)
class Case:
    """What is generated from.

    Args:
        size: A key of `SIZES`.
        dtype: Of the weights and of the arithmetic.
        batch: Rows at a time.
        new_tokens: Of each row.
    """

    size: str
    dtype: torch.dtype
    batch: int
    new_tokens: int


def by_generate(model: Any, ids: torch.Tensor, new_tokens: int, **options: Any) -> Writer:
    def write(watch: Stopwatch) -> torch.Tensor:
        lengths = {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens}
        mask = torch.ones_like(ids)
        return model.generate(ids, attention_mask=mask, do_sample=False, streamer=watch, **lengths, **options)[:, PROMPT:]

    return write


def compiled() -> dict[str, Any]:
    """What `generate` is told for a cache of one size and a compiled step; on a CPU transformers compiles only if it is made to."""
    config: Any = CompileConfig(mode="default", fullgraph=True)
    config._compile_all_devices = True
    return {"cache_implementation": "static", "compile_config": config}


def without_onednn(write: Writer) -> Writer:
    """Return the same with torch's own matrix multiplications in place of oneDNN's, which are made for more than one row."""

    def write_without(watch: Stopwatch) -> torch.Tensor:
        with torch.backends.mkldnn.flags(enabled=False):
            return write(watch)

    return write_without


def by_nanogpt(ids: torch.Tensor, case: Case) -> Writer:
    """nanoGPT's `generate`: no cache, the whole text through the model for each token."""
    model = NanoGPT().to(case.dtype).eval()

    @torch.no_grad()
    def write(watch: Stopwatch) -> torch.Tensor:
        text = ids
        watch.put(text)
        for _ in range(case.new_tokens):
            text = torch.cat((text, model(text)[:, -1].argmax(-1, keepdim=True)), dim=1)
            watch.put(text)
        return text[:, PROMPT:]

    return write


def by_llama_cpp(model: Any, ids: torch.Tensor, case: Case, folder: Path) -> Writer:
    import llama_cpp

    hf_gpt.export_checkpoint(model, folder, "gguf")
    llama = llama_cpp.Llama(str(folder / "model.gguf"), n_ctx=256, n_threads=torch.get_num_threads(), verbose=False)

    def write(watch: Stopwatch) -> torch.Tensor:
        llama.reset()
        watch.put(ids)
        written: list[int] = []
        for token in llama.generate(ids[0].tolist(), top_k=1, temp=0.0, repeat_penalty=1.0):
            watch.put(token)
            written.append(token)
            if len(written) == case.new_tokens:
                break
        return torch.tensor([written])

    return write


def in_int8(model: Any) -> Any:
    """Return a copy whose matrices are kept in int8, a scale a row, through torchao."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    smaller = copy.deepcopy(model)
    quantize_(smaller, Int8WeightOnlyConfig())
    return smaller


@contextmanager
def writers(case: Case, peers: bool) -> Iterator[tuple[dict[str, Writer], int]]:
    """Whatever can write in a case, by name, and the bytes of the weights that a step reads."""
    torch.manual_seed(0)
    pair = {name: model.to(case.dtype).eval() for name, model in models(case.size, fused_loss=False).items()}
    for model in pair.values():
        model.config.use_cache = model.generation_config.use_cache = True
        model.generation_config.pad_token_id = 0
    ours = pair["ours"]
    ids = torch.randint(1, SIZES[case.size].vocabulary, (case.batch, PROMPT))
    found = {name: by_generate(model, ids, case.new_tokens) for name, model in pair.items()}
    with tempfile.TemporaryDirectory() as folder:
        if peers:
            for name, model in pair.items():
                found[f"{name}, compiled"] = by_generate(model, ids, case.new_tokens, **compiled())
            if case.dtype == torch.bfloat16:
                found["ours, int8, compiled"] = by_generate(in_int8(ours), ids, case.new_tokens, **compiled())
            if case.dtype == torch.bfloat16 and case.batch == 1:
                found["ours, no oneDNN"] = without_onednn(found["ours"])
                # A copy, since `generate` keeps what it compiled with the model.
                again = by_generate(copy.deepcopy(ours), ids, case.new_tokens, **compiled())
                found["ours, compiled, no oneDNN"] = without_onednn(again)
            if case.size == "15M":
                found["nanoGPT"] = by_nanogpt(ids, case)
            if case.batch == 1:
                found["llama.cpp"] = by_llama_cpp(ours, ids, case, Path(folder))
        positions = ours.model.embed_positions.weight.nbytes
        yield found, sum(parameter.nbytes for parameter in ours.parameters()) - positions


def bandwidth() -> float:
    """Return bytes a second that a matrix-vector product cannot pass: reading 1 GiB once, the best of five."""
    tensor = torch.ones(2**28)

    def seconds() -> float:
        begun = time.perf_counter()
        tensor.sum()
        return time.perf_counter() - begun

    return tensor.nbytes / min(seconds() for _ in range(5))


def measure(case: Case, rounds: int, peers: bool) -> dict[str, Any]:
    with writers(case, peers) as (found, weight_bytes):
        watches: dict[str, list[Stopwatch]] = {name: [] for name in found}
        texts: dict[str, torch.Tensor] = {}

        def run(name: str) -> Callable[[], None]:
            def task() -> None:
                watches[name].append(Stopwatch())
                texts[name] = found[name](watches[name][-1])

            return task

        seconds = alternate({name: run(name) for name in found}, rounds)
    watches = {name: kept[-rounds:] for name, kept in watches.items()}
    after = {name: [watch.seconds_after for watch in kept] for name, kept in watches.items()}
    tokens = case.batch * (case.new_tokens - 1)
    return {
        "size": case.size,
        "dtype": str(case.dtype).removeprefix("torch."),
        "batch": case.batch,
        "new_tokens": case.new_tokens,
        "seconds": seconds,
        "seconds_to_first_token": {name: min(watch.seconds_to_first for watch in kept) for name, kept in watches.items()},
        "tokens_per_second": {name: tokens / min(kept) for name, kept in after.items()},
        "same_text": {name: bool((texts[name] == texts["ours"]).all()) for name in found if name.startswith("ours")},
        "bound_tokens_per_second": case.batch * bandwidth() / weight_bytes,
        "ratio": {name: ratio(seconds["stock"], kept) for name, kept in seconds.items() if name != "stock"},
    }


def record_of(case: Case) -> str:
    return f"generation/{case.size}-{str(case.dtype).removeprefix('torch.')}-{case.batch}"


def run_case(case: Case, rounds: int, with_peers: bool) -> None:
    row = measure(case, rounds, with_peers)
    print(record_of(case), f"bound {row['bound_tokens_per_second']:.0f}", row["same_text"])
    for name, speed in row["tokens_per_second"].items():
        print(f"  {name}: {speed:.1f} tokens/s, first after {row['seconds_to_first_token'][name]:.3f} s", flush=True)
    peers = {name: metadata.version(name) for name in ("torchao", "llama-cpp-python")} if with_peers else {}
    write_record(record_of(case), "generation", **row, peers=peers)


def run(options: argparse.Namespace) -> None:
    if options.smoke:
        run_case(Case("15M", torch.float32, 1, 8), 2, with_peers=False)
        return
    cases = [Case(size, dtype, batch, 128) for size in SIZES for dtype in (torch.float32, torch.bfloat16) for batch in (1, 8)]
    for case in cases:
        if not record_path(record_of(case)).is_file():
            # A process of its own: the compiler counts how often it has compiled a model's code.
            apart(run_case, case, 5, True)
