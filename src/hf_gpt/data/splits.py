"""Which texts are for training and which are held out: duplicates removed, split by a fixed hash, long documents cut."""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, IterableDataset

from ..errors import InputError, counted
from .layouts import rows_apart
from .loading import text_rows
from .reading import read_on


SPLITS = ("train", "validation", "test")


def text_hash(text: str) -> int:
    """Return the first 63 bits of the SHA-256 of a text: what duplicates share, and what its split is drawn from."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def split_of(hashed: int, validation: float, test: float) -> str:
    """Return the split of a text: a fixed function of the text, so that no run ever moves one from one split to another."""
    place = hashed / 2**63
    if place < validation:
        return "validation"
    return "test" if place < validation + test else "train"


def _text_keys(batch: dict[str, list]) -> dict[str, list]:
    texts = [text or "" for text in batch["text"]]
    return {
        "hash": [text_hash(text) for text in texts],
        "bytes": [len(text.encode("utf-8", "surrogatepass")) for text in texts],
        "characters": [len(text) for text in texts],
        "is_blank": [not text.strip() for text in texts],
    }


# Fewer held-out texts than this are no sample, and there may be none: then each document gives a part of itself.
FEWEST_HELD_OUT = 5


@dataclass(frozen=True)
class Splits:
    """The texts of each split, and what was read for them.

    Attributes:
        parts: `train`, `validation` and `test`, each with the column `text`; of plain text files also `is_first` and `is_last`, since
            a long document takes several rows.
        read: Number of texts and of their UTF-8 bytes, before anything is left out.
        dropped, dropped_bytes: How many texts were left out, and how many bytes, by the reason.
        is_cut: Whether each document is in all splits, cut contiguously.
        is_stream: Whether the parts are streams, which are never held as a whole: nothing is known of their texts then.
    """

    parts: dict[str, Any]
    read: dict[str, int]
    dropped: dict[str, int]
    dropped_bytes: dict[str, int]
    is_cut: bool
    is_stream: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what a record says of them."""
        return {} if self.is_stream else {name: getattr(self, name) for name in ("read", "dropped", "dropped_bytes", "is_cut")}

    def line(self) -> str:
        """Return what a run prints of them."""
        left_out = [
            f"{counted(count, reason)} ({counted(self.dropped_bytes[reason], 'bytes')})"
            for reason, count in self.dropped.items()
        ]
        what = f"left out {' and '.join(left_out)}" if left_out else "nothing left out"
        how = "each cut into train, validation and test" if self.is_cut else "split by their hash"
        return f"{counted(self.read['texts'], 'texts')}, {counted(self.read['bytes'], 'bytes')}: {what}; {how}."


def workers_for(rows: int, wanted: int | None) -> int | None:
    """Return how many processes read that many rows; a small corpus is faster without any beside this one."""
    wanted = wanted or os.cpu_count() or 1
    return wanted if wanted > 1 and rows >= 1000 * wanted else None


def split_texts(
    rows: Dataset | IterableDataset, text_column: str, validation: float, test: float, wanted: int | None
) -> Splits:
    """Split texts in memory, or those of a stream; see `split_rows` and `split_stream`, and for `wanted` `workers_for`."""
    if isinstance(rows, IterableDataset):
        return Splits(split_stream(rows, text_column, validation, test), {}, {}, {}, False, is_stream=True)
    return split_rows(rows, text_column, validation, test, workers_for(len(rows), wanted))


def split_rows(rows: Dataset, text_column: str, validation: float, test: float, workers: int | None = None) -> Splits:
    """Leave empty and repeated texts out and split the rest by hash.

    Documents are cut instead where a held-out split would have fewer than `FEWEST_HELD_OUT` of them: the first part of each is for
    training, the next for validation, the last for the test.

    Raises:
        InputError: no text, or a split without any.
    """
    texts = text_rows(rows, text_column)
    is_documents = "is_first" in texts.column_names
    columns = {"hash": "int64", "bytes": "int64", "characters": "int64", "is_blank": "bool"}
    keys = texts.map(
        _text_keys,
        batched=True,
        batch_size=rows_at_a_time(texts),
        remove_columns=texts.column_names,
        features=datasets.Features({name: datasets.Value(kind) for name, kind in columns.items()}),
        num_proc=workers,
        desc="Hashing texts",
    ).with_format("numpy")[:]
    starts = np.flatnonzero(texts.with_format("numpy")["is_first"][:]) if is_documents else np.arange(len(texts))
    ends = np.append(starts[1:], len(texts))
    sizes = np.add.reduceat(keys["bytes"], starts)
    is_full = ~np.logical_and.reduceat(keys["is_blank"], starts)
    if not is_full.any():
        raise InputError(f"dataset: text_column={text_column!r} holds no text: every row is empty.")
    hashes = np.asarray(keys["hash"])[starts]
    for number in np.flatnonzero(ends - starts > 1):
        hashes[number] = _hash_of_rows(texts, starts[number], ends[number])
    full = np.flatnonzero(is_full)
    kept = full[np.sort(np.unique(hashes[full], return_index=True)[1])]
    is_repeated = is_full.copy()
    is_repeated[kept] = False
    dropped = {"empty texts": int((~is_full).sum()), "repeated texts": int(is_repeated.sum())}
    dropped_bytes = {"empty texts": int(sizes[~is_full].sum()), "repeated texts": int(sizes[is_repeated].sum())}
    if not is_documents:
        others = [name for name in rows.column_names if name != text_column]
        for reason, numbers in rows_apart(rows, {text_column: "text"}, others, "texts").items():
            dropped[reason], dropped_bytes[reason] = len(numbers), int(sizes[numbers].sum())
            for counts in (dropped, dropped_bytes):
                counts["empty texts"] -= counts[reason]
    else:
        marks = np.asarray(texts.with_format("numpy")["mark"][:])
        dropped["byte order marks"], dropped_bytes["byte order marks"] = int((marks > 0).sum()), int(marks.sum())
        texts = texts.remove_columns("mark")
    read = {"texts": len(starts), "bytes": int(sizes.sum()) + dropped_bytes.get("byte order marks", 0)}
    is_cut = is_documents and len(kept) * min(validation, test) < FEWEST_HELD_OUT
    if is_cut:
        # Tuples, since lists are shards to `from_generator`.
        ranges = tuple((int(starts[number]), int(ends[number])) for number in kept)
        arguments = {"texts": texts, "ranges": ranges, "lengths": tuple(np.asarray(keys["characters"]).tolist())}
        # A fraction of the smallest part, so that none is used up.
        arguments["reach"] = min(validation, test, 1 - validation - test) / 4
        parts = {
            name: _cut_split(name, arguments | {"shares": shares}) for name, shares in _cut_shares(validation, test).items()
        }
    else:
        place = hashes[kept] / 2.0**63
        chosen = {"validation": place < validation, "test": (place >= validation) & (place < validation + test)}
        chosen["train"] = place >= validation + test
        for name, share in (("train", 1 - validation - test), ("validation", validation), ("test", test)):
            if share > 0 and not chosen[name].any():
                raise InputError(
                    f"dataset: {counted(len(kept), 'distinct texts leave')} none for the {name} split of {share:.1%}: give "
                    "more texts, a larger share, or a text file, which is cut."
                )
        parts = {}
        for name in SPLITS:
            numbers = kept[chosen[name]]
            parts[name] = texts.select(np.concatenate([np.arange(starts[number], ends[number]) for number in numbers]))
    reasons = [reason for reason, count in dropped.items() if count]
    dropped, dropped_bytes = ({reason: of[reason] for reason in reasons} for of in (dropped, dropped_bytes))
    return Splits(parts, read, dropped, dropped_bytes, is_cut)


def without_empty(texts: Dataset) -> Dataset:
    """Return texts as a run reads them, those that repeat included."""
    return texts if "is_first" in texts.column_names else texts.filter(_is_text, input_columns="text")


def _is_text(text: str | None) -> bool:
    return bool(text and text.strip())


def _hash_of_rows(texts: Dataset, start: int, end: int) -> int:
    """`text_hash` of a document of several rows."""
    digest = hashlib.sha256()
    for row in range(start, end):
        digest.update(texts[row]["text"].encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def rows_at_a_time(texts: Dataset) -> int:
    """Return how many rows are in memory at a time: a row of a document is up to 2 * `encoding.PIECE` characters."""
    return 64 if "is_first" in texts.column_names else 1000


# -------------------------------------------------------------------------------------------------- documents that are cut


def _cut_shares(validation: float, test: float) -> dict[str, tuple[float, float]]:
    """From where to where each split takes a document."""
    return {"train": (0.0, 1 - validation - test), "validation": (1 - validation - test, 1 - test), "test": (1 - test, 1.0)}


def _cut_split(name: str, arguments: dict[str, Any]) -> Dataset:
    too_short = InputError(
        f"dataset: the text of {counted(sum(arguments['lengths']), 'characters')} is too short to be cut: the {name} split "
        "would be empty. Give more text or a larger share."
    )
    if next(_cut(**arguments), None) is None:
        raise too_short
    columns = {"text": "large_string", "is_first": "bool", "is_last": "bool"}
    features = datasets.Features({column: datasets.Value(kind) for column, kind in columns.items()})
    part = Dataset.from_generator(_cut, features=features, gen_kwargs=arguments)
    if not any(text.strip() for batch in part.iter(64) for text in batch["text"]):
        raise too_short
    return part


def _cut(
    texts: Dataset, ranges: tuple[tuple[int, int], ...], lengths: tuple[int, ...], reach: float, shares: tuple[float, float]
) -> Iterator[dict[str, Any]]:
    """Return the part of each document between two shares of its length."""
    for start, end in ranges:
        offsets = np.concatenate([[0], np.cumsum(lengths[start:end])])
        first, last = (_border(texts, start, offsets, share, reach) for share in shares)
        for row in range(start, end):
            offset = int(offsets[row - start])
            begin, stop = max(first - offset, 0), min(last - offset, lengths[row])
            if begin < stop:
                yield {
                    "text": texts[row]["text"][begin:stop],
                    "is_first": offset + begin == first,
                    "is_last": offset + stop == last,
                }


# Where a text is cut rather than in the middle of a word, best first: after a blank line, after a line, after a sentence, after a word.
BORDERS = tuple(re.compile(border) for border in (r"\n[ \t]*\r?\n+", r"\n", r"[.!?。！？]\s*", r"\s+"))
# Characters around a cut that are looked through for such a border.
BORDER_REACH = 2000


def _border(texts: Dataset, start: int, offsets: np.ndarray, share: float, reach: float) -> int:
    """Return the place where a document is cut, near a share of its length and not farther from it than another share."""
    total = int(offsets[-1])
    place = round(total * share)
    if not 0 < place < total:
        return place
    row = int(np.searchsorted(offsets, place, side="right")) - 1
    text, within = texts[start + row]["text"], place - int(offsets[row])
    characters = min(BORDER_REACH, int(total * reach))
    low, high = max(within - characters, 0), min(within + characters, len(text))
    for border in BORDERS:
        found = [match.end() for match in border.finditer(text, low, high)]
        if found:
            return int(offsets[row]) + min(found, key=lambda end: abs(end - within))
    return place


# ------------------------------------------------------------------------------------------------------------ streams


def split_stream(rows: IterableDataset, text_column: str, validation: float, test: float) -> dict[str, IterableDataset]:
    """Split a stream, which is never held as a whole, as its rows would be: repeated texts stay, but always within one split."""
    texts = text_rows(rows, text_column)
    return {name: texts.filter(partial(_in_split, name=name, validation=validation, test=test)) for name in SPLITS}


def _in_split(row: dict, name: str, validation: float, test: float) -> bool:
    text = row["text"]
    return _is_text(text) and split_of(text_hash(text), validation, test) == name


def held_texts(texts: Dataset | IterableDataset, limit: int) -> Dataset:
    """Return texts in memory as they are, and of a stream the first `limit`.

    Raises:
        InputError: the stream has none.
    """
    if isinstance(texts, Dataset):
        return texts
    rows = list(read_on(texts.take(limit)))
    if not rows:
        raise InputError("dataset: the stream holds no text for a held-out split: give more texts or a larger share.")
    return Dataset.from_list(rows)


def text_batches(texts: Dataset | IterableDataset, limit: int) -> Iterator[list[str]]:
    """Yield the texts in batches; of a stream the first `limit`."""
    if isinstance(texts, Dataset):
        batches = texts.iter(batch_size=64)
    else:
        batches = read_on(texts.take(limit).iter(batch_size=64))
    yield from (batch["text"] for batch in batches)
