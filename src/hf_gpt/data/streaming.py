"""A corpus that is never held as a whole: read, shuffled, tokenised and packed as it is trained on, and resumed where it was left.

Each data loader worker of each process is a reader with its own share of the texts. What a reader needs to resume is a few numbers, and
each batch carries them, so that whoever has used a batch knows how to get the next one.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers import PreTrainedTokenizerBase

from ..errors import InputError, counted
from .encoding import opening
from .packing import check_closing, cut_blocks, document_ids
from .reading import read_on
from .sources import check_unchanged
from .text_files import FileState


# Texts that are put into another order at a time: more mix better, and are what is read again when a run resumes.
WINDOW_TEXTS = 4096
# Texts that are tokenised at a time, the most whose tokens are in memory.
TOKENIZER_TEXTS = 256
STATE = "stream_state"
FAULT = "fault"
# Asking for thousands of files takes longer than a batch where they lie on another machine.
CHECK_SECONDS = 1.0


class PackedStream(IterableDataset):
    """Blocks of exactly `block_size` ids without end, one pass over the texts after the other, nothing left out between two passes.

    Args:
        texts: A streamed dataset with the column `text`.
        tokenizer: With an end-of-text token, which closes each text.
        block_size: Ids of a block.
        seed: Of the order of the texts, which is another one in each pass.
        process, processes: This process and the number of those that read different batches.

    Raises:
        InputError: the tokenizer has no end-of-text token; or, when it is read, a reader without any text.
    """

    def __init__(
        self,
        texts: datasets.IterableDataset,
        tokenizer: PreTrainedTokenizerBase,
        block_size: int,
        seed: int,
        process: int = 0,
        processes: int = 1,
    ):
        check_closing(tokenizer)
        self.texts, self.tokenizer, self.block_size, self.seed = texts, tokenizer, block_size, seed
        self.process, self.processes = process, processes
        self.states: dict[int, dict[str, Any]] = {}
        self.first_worker = 0
        # What `sources.file_states` said when the run began.
        self.files: dict[Path, FileState] = {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        info = get_worker_info()
        workers = 1 if info is None else info.num_workers
        # The loader asks its workers in turn, from the first: the one whose turn it was has to be that one.
        worker = (self.first_worker + (0 if info is None else info.id)) % workers
        reader = self.process * workers + worker, self.processes * workers
        state = self.states.get(worker, {"texts": None, "epoch": 0, "window": 0, "taken": 0, "rest": []})
        try:
            for block, after in self._blocks(reader, worker, state):
                yield {"input_ids": block, STATE: {**after, "worker": worker, "workers": workers}}
        except InputError as error:
            if info is None:
                raise
            # A loader would raise it with the traceback of its worker for a message.
            yield {FAULT: str(error)}

    def _blocks(self, reader: tuple[int, int], worker: int, state: dict) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """Return each block with the state that the next one is made from."""
        place, epoch, window, skipped = state["texts"], state["epoch"], state["window"], state["taken"]
        rest = np.asarray(state["rest"], dtype=np.int32)
        is_empty, begin = place is None, opening(self.tokenizer)
        while True:
            share = split_dataset_by_node(self.texts, *reader)
            for texts in _windows(share, place):
                following = share.state_dict()
                start = {"texts": place, "epoch": epoch, "window": window, "rest": rest.tolist()}
                order = np.random.default_rng([self.seed, epoch, self.process, worker, window]).permutation(len(texts["text"]))
                taken = 0
                for part in range(0, len(order), TOKENIZER_TEXTS):
                    chosen = [texts["text"][i] for i in order[part : part + TOKENIZER_TEXTS]]
                    blocks, rest = cut_blocks(rest, document_ids(self.tokenizer, begin, chosen), self.block_size)
                    for block in blocks:
                        taken += 1
                        if taken > skipped:
                            yield block, {**start, "taken": taken}
                place, window, skipped, is_empty = following, window + 1, 0, False
            if is_empty:
                raise InputError(
                    "dataset: the stream has fewer texts than readers: start fewer processes, or set a smaller dataloader_num_workers."
                )
            place, epoch, window, is_empty = None, epoch + 1, 0, True


def _windows(share: datasets.IterableDataset, place: dict[str, Any] | None) -> Iterator[dict[str, list]]:
    """Return the texts of a share from a place on, each time as many as are put into another order."""
    if place is not None:
        share.load_state_dict(place)
    try:
        yield from read_on(share.iter(batch_size=WINDOW_TEXTS))
    except InputError as error:
        if place is None or not isinstance(error.__cause__, KeyError):
            raise
        raise InputError(
            "dataset: a stream of this kind was read in another way by the version that began the run, which cannot be resumed: start "
            "anew with overwrite=true."
        ) from error


def collate_stream(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a batch of blocks, the labels the ids themselves, and the state after the last of them; or what ended the reading."""
    if FAULT in rows[-1]:
        return {FAULT: rows[-1][FAULT]}
    input_ids = torch.from_numpy(np.stack([row["input_ids"] for row in rows])).long()
    return {"input_ids": input_ids, "labels": input_ids, STATE: rows[-1][STATE]}


class StreamLoader(DataLoader):
    """A data loader of a `PackedStream` that knows what it has given out.

    Raises:
        InputError: when it is read, a stream that cannot be read on; or a file that has changed since the run began: nobody could say
            any more what was trained on.
    """

    dataset: PackedStream

    def __iter__(self):
        checked = 0.0
        for batch in super().__iter__():
            if FAULT in batch:
                raise InputError(batch[FAULT])
            if time.monotonic() > checked + CHECK_SECONDS:
                check_unchanged(self.dataset.files)
                checked = time.monotonic()
            state = batch.pop(STATE)
            self.dataset.states[state["worker"]] = state
            self.dataset.first_worker = (state["worker"] + 1) % state["workers"]
            yield batch


def _state_file(folder: Path, stream: PackedStream) -> Path:
    return folder / f"stream-{stream.process}-of-{stream.processes}.pt"


def save_state(stream: PackedStream, folder: Path) -> None:
    """Write what this process needs to resume after the last batch that was given out."""
    torch.save({"states": stream.states, "first_worker": stream.first_worker}, _state_file(folder, stream))


def load_state(stream: PackedStream, folder: Path, workers: int) -> None:
    """Put a stream where it was when `save_state` was called.

    Raises:
        InputError: the state was written by another number of readers, or not at all.
    """
    file = _state_file(folder, stream)
    if not file.is_file():
        raise InputError(
            f"{folder} has no {file.name}: a stream resumes with as many processes as before: start as many, or start anew with "
            "overwrite=true."
        )
    kept = torch.load(file, weights_only=True)
    before = max((state["workers"] for state in kept["states"].values()), default=workers)
    if before != max(workers, 1):
        raise InputError(
            f"dataloader_num_workers={workers}, but the run that is resumed had {counted(before, 'readers')} per process: "
            "set as many, or start anew with overwrite=true."
        )
    stream.states, stream.first_worker = kept["states"], kept["first_worker"]
