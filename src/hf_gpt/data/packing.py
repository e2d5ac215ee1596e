"""From rows to full blocks of token ids: remove duplicates, split by a fixed hash, tokenise, pack."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, DatasetDict, IterableDataset
from transformers import PreTrainedTokenizerBase

from ..errors import InputError
from .encoding import gives_back, opening, text_ids
from .rows import adopt_layout, is_empty, read_columns
from .sources import TextSource, held_out, load_rows, text_rows


SPLITS = ("train", "validation", "test")


def text_hash(text: str) -> int:
    """The first 63 bits of the SHA-256 of a text: what duplicates share, and what its split is drawn from."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def split_of(hashed: int, validation: float, test: float) -> str:
    """The split of a text: a fixed function of the text, so that no run ever moves one from one split to another."""
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
    """

    parts: dict[str, Any]
    read: dict[str, int]
    dropped: dict[str, int]
    dropped_bytes: dict[str, int]
    is_cut: bool

    def to_dict(self) -> dict[str, Any]:
        """For a record."""
        return {name: value for name, value in vars(self).items() if name != "parts"}

    def line(self) -> str:
        """For who watches."""
        left_out = [f"{count:,} {reason} ({self.dropped_bytes[reason]:,} bytes)" for reason, count in self.dropped.items()]
        what = f"left out {' and '.join(left_out)}" if left_out else "nothing left out"
        how = "each cut into train, validation and test" if self.is_cut else "split by their hash"
        texts = "1 text" if self.read["texts"] == 1 else f"{self.read['texts']:,} texts"
        return f"{texts}, {self.read['bytes']:,} bytes: {what}; {how}."


def split_rows(rows: Dataset, text_column: str, validation: float, test: float, workers: int | None = None) -> Splits:
    """Leaves empty and repeated texts out and splits the rest by hash.

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
    if is_documents:
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
                    f"dataset: {len(kept)} distinct texts leave none for the {name} split of {share:.1%}: give more texts, a larger "
                    "share, or a text file, which is cut."
                )
        parts = {}
        for name in SPLITS:
            numbers = kept[chosen[name]]
            parts[name] = texts.select(np.concatenate([np.arange(starts[number], ends[number]) for number in numbers]))
    reasons = [reason for reason, count in dropped.items() if count]
    dropped, dropped_bytes = ({reason: of[reason] for reason in reasons} for of in (dropped, dropped_bytes))
    return Splits(parts, read, dropped, dropped_bytes, is_cut)


def without_empty(texts: Dataset) -> Dataset:
    """Texts as a run reads them, those that repeat included."""
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
    """How many rows are in memory at a time: a row of a document is up to 2 * `encoding.PIECE` characters."""
    return 64 if "is_first" in texts.column_names else 1000


# -------------------------------------------------------------------------------------------------- documents that are cut


def _cut_shares(validation: float, test: float) -> dict[str, tuple[float, float]]:
    """From where to where each split takes a document."""
    return {"train": (0.0, 1 - validation - test), "validation": (1 - validation - test, 1 - test), "test": (1 - test, 1.0)}


def _cut_split(name: str, arguments: dict[str, Any]) -> Dataset:
    too_short = InputError(
        f"dataset: the text of {sum(arguments['lengths']):,} characters is too short to be cut: the {name} split would be empty. Give "
        "more text or a larger share."
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
    """The part of each document between two shares of its length."""
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
    """The place where a document is cut, near a share of its length and not farther from it than another share."""
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


def task_rows(source: TextSource, columns: dict[str, bool]) -> Dataset:
    """The rows of a task, their columns named as the task names them.

    Args:
        columns: The task's names of columns, and whether a row has to have them.

    Raises:
        InputError: a column that is not there, an unknown name in `columns`, a stream.
    """
    given = {"text": source.text_column, **(source.columns or {})}
    unknown = sorted(set(source.columns or {}) - set(columns))
    if unknown:
        raise InputError(f"dataset: columns names {unknown[0]!r}; the columns of this task are {', '.join(columns)}.")
    if source.mixture:
        raise InputError("dataset: mixture is for language modelling: a task has one dataset.")
    if source.streaming:
        raise InputError("dataset: streaming=true is for language modelling: a task reads its rows as a whole.")
    names = {column: given.get(column, column) for column in columns}
    rows = load_rows(source, ())
    for column, is_needed in columns.items():
        rows = adopt_layout(rows, names[column])
        if is_needed and names[column] not in rows.column_names:
            raise InputError(
                f"dataset: column {names[column]!r} is not a column; the columns are {', '.join(rows.column_names)}."
            )
    kept = {names[column]: column for column in columns if names[column] in rows.column_names}
    rows = rows.select_columns(list(kept))
    return read_columns(rows.rename_columns({old: new for old, new in kept.items() if old != new}))


def _row_keys(batch: dict[str, list], needed: list[str], group: str) -> dict[str, list]:
    keys: dict[str, list] = {"hash": [], "identity": [], "is_empty": []}
    for values in zip(*batch.values()):
        row = dict(zip(batch, values))
        of_group = row[group] if isinstance(row[group], str) else json.dumps(row[group], ensure_ascii=False)
        keys["hash"].append(text_hash(of_group))
        keys["identity"].append(text_hash(json.dumps(values, ensure_ascii=False, default=str)))
        keys["is_empty"].append(any(is_empty(name, row[name]) for name in row if name in needed or name == "text_pair"))
    return keys


def _keys(rows: Dataset, needed: list[str], group: tuple[str, ...]) -> dict[str, np.ndarray]:
    column = next(name for name in group if name in rows.column_names)
    return rows.map(
        partial(_row_keys, needed=needed, group=column),
        batched=True,
        remove_columns=rows.column_names,
        features=datasets.Features(
            {"hash": datasets.Value("int64"), "identity": datasets.Value("int64"), "is_empty": datasets.Value("bool")}
        ),
        desc="Hashing rows",
    ).with_format("numpy")[:]


def task_splits(
    source: TextSource, columns: dict[str, bool], group: tuple[str, ...], validation: float, test: float
) -> tuple[DatasetDict, dict[str, int]]:
    """Splits the rows of a task by a hash of one of their columns, or takes the held-out data that `dataset:` names.

    Args:
        columns: See `task_rows`.
        group: Columns; the first that is there decides the split of a row.
        validation, test: Shares that are held out where `dataset:` does not name held-out data.

    Returns:
        The splits, and how many rows were left out for which reason.

    Raises:
        InputError: see `task_rows`; or a split without rows.
    """
    needed = [column for column, is_needed in columns.items() if is_needed]
    dropped = {"empty rows": 0, "repeated rows": 0}
    shares = {"validation": validation, "test": test}
    splits: dict[str, Dataset] = {}
    for name in shares:
        part = held_out(source, name)
        if part is not None:
            whole, shares[name] = task_rows(part, columns), 0.0
            splits[name] = whole.select(np.flatnonzero(~np.asarray(_keys(whole, needed, group)["is_empty"])))
            dropped["empty rows"] += len(whole) - len(splits[name])
    rows = task_rows(source, columns)
    keys = _keys(rows, needed, group)
    is_full = ~np.asarray(keys["is_empty"])
    dropped["empty rows"] += int((~is_full).sum())
    full = np.flatnonzero(is_full)
    first = full[np.sort(np.unique(np.asarray(keys["identity"])[full], return_index=True)[1])]
    dropped["repeated rows"] = len(full) - len(first)
    place = np.asarray(keys["hash"])[first] / 2.0**63
    end = shares["validation"] + shares["test"]
    chosen = {"train": place >= end, "validation": place < shares["validation"]}
    chosen["test"] = (place >= shares["validation"]) & (place < end)
    parts = {name: splits[name] if name in splits else rows.select(first[chosen[name]]) for name in SPLITS}
    for name, part in parts.items():
        if len(part) == 0:
            raise InputError(
                f"dataset: {len(first)} rows leave none for the {name} split: give more rows, a larger share, or "
                f"dataset.{name if name != 'train' else 'files'}."
            )
    return DatasetDict(parts), {reason: count for reason, count in dropped.items() if count}


def sample_rows(rows: Dataset, limit: int | None, seed: int) -> Dataset:
    """So many rows, drawn with the seed and in their old order; all of them without a limit.

    Raises:
        InputError: a limit below one row, or beyond those that there are.
    """
    if limit is None:
        return rows
    if not 1 <= limit <= len(rows):
        raise InputError(f"max_train_rows={limit} must be between 1 and the {len(rows)} rows of the train split.")
    # Datasets are often sorted by label: the first rows would be of one class.
    return rows.select(np.sort(np.random.default_rng(seed).choice(len(rows), limit, replace=False)))


def split_stream(rows: IterableDataset, text_column: str, validation: float, test: float) -> dict[str, IterableDataset]:
    """The same splits of a stream, which is never held as a whole: repeated texts stay, but always within one split."""
    texts = text_rows(rows, text_column)
    return {name: texts.filter(partial(_in_split, name=name, validation=validation, test=test)) for name in SPLITS}


def _in_split(row: dict, name: str, validation: float, test: float) -> bool:
    text = row["text"]
    return _is_text(text) and split_of(text_hash(text), validation, test) == name


def first_texts(texts: IterableDataset, limit: int) -> Dataset:
    """The first texts of a stream, held in memory.

    Raises:
        InputError: the stream has none.
    """
    rows = list(texts.take(limit))
    if not rows:
        raise InputError("dataset: the stream holds no text for a held-out split: give more texts or a larger share.")
    return Dataset.from_list(rows)


def _tokenize_batch(batch: dict[str, list], tokenizer: PreTrainedTokenizerBase, begin: list[int]) -> dict[str, list]:
    ids = text_ids(tokenizer, batch["text"])
    no_end = np.empty(0, dtype=np.int32)
    end = np.asarray([tokenizer.eos_token_id], dtype=np.int32)
    of_document = zip(ids, batch.get("is_first", [True] * len(ids)), batch.get("is_last", [True] * len(ids)))
    return {
        "input_ids": [
            np.concatenate([np.asarray(begin if is_first else [], dtype=np.int32), part, end if is_last else no_end])
            for part, is_first, is_last in of_document
        ]
    }


def tokenize(texts: Dataset, tokenizer: PreTrainedTokenizerBase, workers: int | None = None) -> Dataset:
    """Token ids of each text, opened as the tokenizer opens a prompt and closed by the end-of-text token, as `input_ids`.

    Raises:
        InputError: the tokenizer has no end-of-text token.
    """
    if tokenizer.eos_token_id is None:
        raise InputError("tokenizer: it has no eos_token, which separates documents: set one and save it again.")
    return texts.map(
        partial(_tokenize_batch, tokenizer=tokenizer, begin=opening(tokenizer)),
        batched=True,
        batch_size=rows_at_a_time(texts),
        remove_columns=texts.column_names,
        features=datasets.Features({"input_ids": datasets.List(datasets.Value("int32"))}),
        num_proc=workers,
        desc="Tokenising",
    )


# Characters that are tokenised and put together again, to see whether that gives the text.
TRIED_CHARACTERS = 200_000
LOSSY = (
    "the tokenizer's ids do not give the text back: part of it costs nothing, so bits per byte are too low to be compared with those "
    "of another tokenizer"
)


def is_lossy(texts: Dataset, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the ids of texts leave some of them out, as far as their beginning tells."""
    tried = 0
    for batch in texts.iter(batch_size=16):
        if not gives_back(tokenizer, batch["text"]):
            return True
        tried += sum(len(text) for text in batch["text"])
        if tried > TRIED_CHARACTERS:
            break
    return False


def full_blocks(documents, block_size: int) -> Iterator[dict[str, np.ndarray]]:
    """Rows of exactly `block_size` ids, documents one after the other; less than one block is left over at the end."""
    rest = np.empty(0, dtype=np.int32)
    for batch in documents.iter(batch_size=1000):
        rest = np.concatenate([rest, *(np.asarray(ids, dtype=np.int32) for ids in batch["input_ids"])])
        whole = len(rest) // block_size * block_size
        for block in rest[:whole].reshape(-1, block_size):
            yield {"input_ids": block}
        rest = rest[whole:]


def pack(documents: Dataset, block_size: int) -> Dataset:
    """Packs tokenised documents into blocks, on disk.

    Returns:
        A dataset with `input_ids` of `block_size` ids a row.

    Raises:
        InputError: fewer tokens than one block.
    """
    arguments = {"documents": documents, "block_size": block_size}
    total = token_count(documents)
    if total < block_size:
        raise InputError(
            f"block_size={block_size} is more than the {total} tokens of the split: give more text or a smaller block_size."
        )
    features = datasets.Features({"input_ids": datasets.List(datasets.Value("int32"), length=block_size)})
    return Dataset.from_generator(full_blocks, features=features, gen_kwargs=arguments)


def token_count(documents: Dataset) -> int:
    """Number of tokens of a tokenised dataset, without reading them into Python."""
    return sum(len(chunk.flatten()) for chunk in documents.with_format("arrow")[:]["input_ids"].chunks)


def flat_tokens(blocks: Dataset) -> np.ndarray:
    """All ids of packed blocks in order, as one array of shape `(tokens,)`."""
    return np.concatenate([np.asarray(chunk.flatten()) for chunk in blocks.with_format("arrow")[:]["input_ids"].chunks])


def byte_count(texts: Dataset) -> int:
    """Number of UTF-8 bytes of the column `text`."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for batch in texts.iter(1000) for text in batch["text"])


def check_token_ids(blocks: Dataset, vocab_size: int) -> None:
    """Raises `InputError` when packed blocks hold ids that a model of `vocab_size` entries does not have."""
    tokens = flat_tokens(blocks)
    highest = int(tokens.max())
    if highest >= vocab_size:
        raise InputError(
            f"the text holds token id {highest}, but the model's vocab_size={vocab_size}: use the tokenizer that the model was "
            "made for, or enlarge vocab_size."
        )
