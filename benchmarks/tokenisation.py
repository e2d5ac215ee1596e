"""Megabytes of text a second that one core turns into packed blocks, and the same from the cache.

The film reviews and the tokenizer of `benchmarks.speed`, through the functions that `hf-gpt train` calls. Writes
benchmarks/records/tokenisation.json.
"""

import argparse
import os
import tempfile
import time

from datasets import Dataset, load_from_disk

from hf_gpt.data import packing as data
from hf_gpt.data.loading import load_rows
from hf_gpt.recipe.parser import load_recipe

from .frame import write_record
from .speed.corpus import BLOCK, load_corpus, random_corpus


def run(options: argparse.Namespace) -> None:
    # Before the tokenizer's first call: it would take every core there is.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if options.smoke:
        tokenizer, texts = random_corpus().tokenizer, ["1 2 3"] * BLOCK
    else:
        tokenizer = load_corpus().tokenizer
        source = load_recipe("pretrain/speed").source
        texts = load_rows(source)[source.text_column]
    size = sum(len(text.encode()) for text in texts)
    with tempfile.TemporaryDirectory() as folder:
        # On disk, as a dataset of the user's is: what is made from one in memory is not cached.
        Dataset.from_dict({"text": list(texts)}).save_to_disk(folder)
        seconds = {}
        for name in ("tokenised and packed", "from the cache"):
            begun = time.perf_counter()
            documents = data.tokenize(load_from_disk(folder), tokenizer)
            blocks = data.pack(documents, BLOCK)
            seconds[name] = time.perf_counter() - begun
    rate = size / 1e6 / seconds["tokenised and packed"]
    print(f"{rate:.2f} MB/s a core, {seconds['from the cache']:.2f} s from the cache")
    found = {"bytes": size, "texts": len(texts), "blocks": len(blocks), "seconds": seconds, "megabytes_per_second": rate}
    write_record("tokenisation", "tokenisation", **found)
