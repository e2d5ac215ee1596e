"""From rows to full blocks of token ids: remove duplicates, split by a fixed hash, tokenise, pack."""

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, DatasetDict, IterableDataset
from transformers import PreTrainedTokenizerBase

from .errors import InputError
from .sources import TextSource, held_out, load_rows


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


def _hash_batch(batch: dict[str, list], column: str) -> dict[str, list]:
    texts = batch[column]
    kept = [text for text in texts if isinstance(text, str) and text.strip()]
    return {"text": kept, "hash": [text_hash(text) for text in kept]}


def split_rows(rows: Dataset, text_column: str, validation: float, test: float, workers: int | None = None) -> DatasetDict:
    """Removes empty and repeated texts and splits the rest by hash.

    Returns:
        `DatasetDict`: `train`, `validation` and `test`, each with the single column `text`.

    Raises:
        InputError: no text, or a split without any.
    """
    hashed = rows.map(
        partial(_hash_batch, column=text_column),
        batched=True,
        remove_columns=rows.column_names,
        features=datasets.Features({"text": datasets.Value("large_string"), "hash": datasets.Value("int64")}),
        num_proc=workers,
        desc="Hashing texts",
    )
    hashes = np.asarray(hashed.data.column("hash").to_numpy())
    if hashes.size == 0:
        raise InputError(f"dataset: text_column={text_column!r} holds no text: every row is empty.")
    first = np.sort(np.unique(hashes, return_index=True)[1])
    place = hashes[first] / 2.0**63
    borders = {"validation": place < validation, "test": (place >= validation) & (place < validation + test)}
    borders["train"] = place >= validation + test
    text_only = hashed.select_columns("text")
    parts = DatasetDict({name: text_only.select(first[borders[name]]) for name in SPLITS})
    for name, share in (("train", 1 - validation - test), ("validation", validation), ("test", test)):
        if share > 0 and len(parts[name]) == 0:
            raise InputError(
                f"dataset: {len(first)} distinct texts leave none for the {name} split of {share:.1%}: give more texts (a "
                "file of one text has one row) or a larger share."
            )
    return parts


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
    rows = load_rows(source, tuple(names[column] for column, is_needed in columns.items() if is_needed))
    kept = {names[column]: column for column in columns if names[column] in rows.column_names}
    rows = rows.select_columns(list(kept))
    return rows.rename_columns({old: new for old, new in kept.items() if old != new})


def _row_keys(batch: dict[str, list], needed: list[str], group: str) -> dict[str, list]:
    keys: dict[str, list] = {"hash": [], "identity": [], "is_empty": []}
    for values in zip(*batch.values()):
        row = dict(zip(batch, values))
        of_group = row[group] if isinstance(row[group], str) else json.dumps(row[group], ensure_ascii=False)
        keys["hash"].append(text_hash(of_group))
        keys["identity"].append(text_hash(json.dumps(values, ensure_ascii=False, default=str)))
        keys["is_empty"].append(
            any(not row[name] or not str(row[name]).strip() for name in needed if not _is_number(row[name]))
        )
    return keys


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


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
            splits[name], shares[name] = task_rows(part, columns), 0.0
    rows = task_rows(source, columns)
    column = next(name for name in group if name in rows.column_names)
    keys = rows.map(
        partial(_row_keys, needed=needed, group=column),
        batched=True,
        remove_columns=rows.column_names,
        features=datasets.Features(
            {"hash": datasets.Value("int64"), "identity": datasets.Value("int64"), "is_empty": datasets.Value("bool")}
        ),
        desc="Hashing rows",
    ).with_format("numpy")[:]
    is_full = ~np.asarray(keys["is_empty"])
    dropped["empty rows"] = int((~is_full).sum())
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


def drawn_rows(rows: Dataset, limit: int | None, seed: int) -> Dataset:
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

    renamed = (rows if text_column == "text" else rows.rename_column(text_column, "text")).select_columns("text")
    return {name: renamed.filter(partial(_in_split, name=name, validation=validation, test=test)) for name in SPLITS}


def _in_split(row: dict, name: str, validation: float, test: float) -> bool:
    text = row["text"]
    return bool(text and text.strip()) and split_of(text_hash(text), validation, test) == name


def first_texts(texts: IterableDataset, limit: int) -> Dataset:
    """The first texts of a stream, held in memory.

    Raises:
        InputError: the stream has none.
    """
    rows = list(texts.take(limit))
    if not rows:
        raise InputError("dataset: the stream holds no text for a held-out split: give more texts or a larger share.")
    return Dataset.from_list(rows)


def _tokenize_batch(batch: dict[str, list], tokenizer: PreTrainedTokenizerBase) -> dict[str, list]:
    ids = tokenizer(batch["text"], add_special_tokens=False, verbose=False)["input_ids"]
    end = tokenizer.eos_token_id
    return {"input_ids": [[*document, end] for document in ids]}


def tokenize(texts: Dataset, tokenizer: PreTrainedTokenizerBase, workers: int | None = None) -> Dataset:
    """Token ids of each text, closed by the end-of-text token, as `input_ids`.

    Raises:
        InputError: the tokenizer has no end-of-text token.
    """
    if tokenizer.eos_token_id is None:
        raise InputError("tokenizer: it has no eos_token, which separates documents: set one and save it again.")
    function = partial(_tokenize_batch, tokenizer=tokenizer)
    return texts.map(function, batched=True, remove_columns=["text"], num_proc=workers, desc="Tokenising")


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
