"""A corpus larger than the memory it is given: one pass over a file of 2 GB, the memory that it took, and what going on in it costs.

The file is made here, of distinct lines. Bytes stand for tokens, so that reading, splitting, shuffling and packing are measured, and
not a tokenizer. Writes `benchmarks/records/stream.json` and its figures in `docs/distributed.md`.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.frame import ROOT, Section, load_record, write_record

from hf_gpt.data.loading import load_rows
from hf_gpt.data.sources import text_source
from hf_gpt.data.splits import split_stream
from hf_gpt.data.streaming import STATE, PackedStream
from hf_gpt.reports.records import peak_memory


MEGABYTES = 2000
BLOCK_SIZE = 1024
LINE_BYTES = 2000


class Bytes:
    """Stands for a tokenizer: an id for each byte."""

    bos_token_id = None
    eos_token_id = 256

    def __call__(self, texts: list[str], **kwargs: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [list(text.encode()) for text in texts]}


def write_lines(path: Path, megabytes: int) -> int:
    """Write distinct lines of one length and return their number."""
    words = random.Random(0).choices(["of", "a", "model", "that", "learns", "from", "text"], k=LINE_BYTES)
    body = " ".join(words)[: LINE_BYTES - 11]
    lines = megabytes * 1_000_000 // LINE_BYTES
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{number:09} {body}\n" for number in range(lines))
    return lines


def open_stream(path: Path) -> PackedStream:
    rows = load_rows(text_source({"path": "text", "sample_by": "line", "files": str(path), "streaming": True}))
    return PackedStream(split_stream(rows, "text", 0.05, 0.05)["train"], Bytes(), BLOCK_SIZE, seed=0)  # type: ignore[arg-type]


def peak_bytes() -> int:
    return peak_memory()["host_bytes"]


def measure(megabytes: int) -> dict[str, Any]:
    """Return one pass over a new file.

    Returns:
        Peak of this process's memory after half of the bytes and after all; the blocks; and the seconds of the pass, to the first
        block of a new stream, and to the next block of one that resumes after nine tenths.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines.txt"
        lines = write_lines(path, megabytes)
        stream = open_stream(path)
        started = time.perf_counter()
        late: dict[str, Any] = {}
        blocks, first, early = 0, 0.0, 0
        for row in stream:
            if row[STATE]["epoch"] > 0:
                break
            blocks += 1
            first = first or time.perf_counter() - started
            done = blocks * BLOCK_SIZE / (lines * LINE_BYTES * 0.9)
            early = peak_bytes() if done < 0.5 else early
            late = row[STATE] if done < 0.9 else late
        seconds, peak = time.perf_counter() - started, peak_bytes()
        again = open_stream(path)
        again.states = {0: late}
        started = time.perf_counter()
        next(iter(again))
        return {
            "file_bytes": path.stat().st_size,
            "lines": lines,
            "blocks": blocks,
            "seconds": round(seconds, 2),
            "seconds_to_first_block": round(first, 2),
            "seconds_to_go_on_at_nine_tenths": round(time.perf_counter() - started, 2),
            "peak_bytes_at_half": early,
            "peak_bytes": peak,
        }


def page() -> list[str]:
    """Return what `docs/distributed.md` says of the record."""
    record = load_record("stream")
    return [
        f"It peaked at {record['peak_bytes'] / 1e6:.0f} MB, PyTorch included, and stood at {record['peak_bytes_at_half'] / 1e6:.0f} MB "
        f"half way; the pass took {record['seconds']:.0f} s, the first block {record['seconds_to_first_block']:.1f} s, and going on "
        f"after nine tenths {record['seconds_to_go_on_at_nine_tenths']:.0f} s."
    ]


SECTIONS = [Section(ROOT / "docs" / "distributed.md", "stream", page)]


def run(options: argparse.Namespace) -> None:
    write_record("stream", "stream", block_size=BLOCK_SIZE, **measure(20 if options.smoke else MEGABYTES))
