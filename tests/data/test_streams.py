"""A streamed corpus: each text to one reader and once in a pass, in the order of the seed, and resumed where it was left."""

import json
import os
import subprocess
import sys
import zlib
from types import SimpleNamespace

import pyarrow as pa
import pytest
from datasets import Dataset, IterableDataset, load_dataset
from tests.conftest import ROOT

from hf_gpt.data import loading
from hf_gpt.data import streaming as streams
from hf_gpt.data.sources import text_source
from hf_gpt.data.splits import held_texts, split_stream, text_batches
from hf_gpt.data.streaming import PackedStream, StreamLoader, collate_stream, load_state, save_state
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.errors import InputError
from hf_gpt.training.stream_trainer import StreamTrainer


TEXTS = [f"text {number} of {number % 7} words" for number in range(203)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(iter([TEXTS]), 300, 64)


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """Two files, so two shards, for up to four readers; windows much smaller than them."""
    monkeypatch.setattr(streams, "WINDOW_TEXTS", 16)
    monkeypatch.setattr(streams, "TOKENIZER_TEXTS", 4)
    for name, part in (("a", TEXTS[:120]), ("b", TEXTS[120:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in part))
    return load_dataset("json", data_files=str(tmp_path / "*.jsonl"), split="train", streaming=True, cache_dir=str(tmp_path))


def make_loader(texts, tokenizer, process=0, processes=1, workers=0, seed=0):
    stream = PackedStream(texts, tokenizer, 32, seed, process, processes)
    return StreamLoader(stream, batch_size=2, collate_fn=collate_stream, num_workers=workers)


@pytest.mark.parametrize(("accumulation", "given", "ahead"), [(1, None, 2), (16, None, 16), (16, 3, 3)])
def test_the_batches_of_the_next_step_are_made_during_this_one(accumulation, given, ahead, texts, tokenizer):
    arguments = SimpleNamespace(
        dataloader_num_workers=2,
        dataloader_prefetch_factor=given,
        gradient_accumulation_steps=accumulation,
        dataloader_pin_memory=False,
    )
    stream = PackedStream(texts, tokenizer, 32, 0, 0, 1)
    trainer = SimpleNamespace(args=arguments, train_dataset=stream, _train_batch_size=2)
    assert StreamTrainer.get_train_dataloader(trainer).prefetch_factor == ahead
    arguments.dataloader_num_workers, arguments.dataloader_prefetch_factor = 0, None
    assert StreamTrainer.get_train_dataloader(trainer).prefetch_factor is None


def batches(loader, count):
    return [batch["input_ids"].tolist() for batch, _ in zip(loader, range(count))]


def first_pass(blocks, tokenizer):
    """The texts of one reader, in order, up to the first that comes again."""
    ids = [token for block in blocks for token in block]
    found = tokenizer.decode(ids).split(tokenizer.eos_token)
    repeated = next(i for i, text in enumerate(found) if text in found[:i])
    return found[:repeated]


@pytest.mark.parametrize(("processes", "workers"), [(1, 0), (2, 0), (3, 0), (2, 2)])
def test_no_text_is_read_twice_and_none_is_lost(processes, workers, texts, tokenizer):
    found = []
    for process in range(processes):
        loader = make_loader(texts, tokenizer, process, processes, workers)
        readers: dict[int, list] = {}
        for number, batch in zip(range(160), loader):
            readers.setdefault(number % max(workers, 1), []).extend(batch["input_ids"].tolist())
        for blocks in readers.values():
            found += first_pass(blocks, tokenizer)
    assert sorted(found) == sorted(TEXTS)


def test_the_order_is_that_of_the_seed_and_another_in_the_next_pass(texts, tokenizer):
    first, again, other = (batches(make_loader(texts, tokenizer, seed=seed), 120) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    blocks = [block for batch in first for block in batch]
    ids = tokenizer.decode([token for block in blocks for token in block]).split(tokenizer.eos_token)
    assert ids[: len(TEXTS)] != TEXTS
    assert sorted(ids[: len(TEXTS)]) == sorted(ids[len(TEXTS) : 2 * len(TEXTS)]) == sorted(TEXTS)
    assert ids[: len(TEXTS)] != ids[len(TEXTS) : 2 * len(TEXTS)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", [1, 17, 90])
def test_a_stream_goes_on_where_it_was_left(taken, workers, texts, tokenizer, tmp_path, monkeypatch):
    whole = batches(make_loader(texts, tokenizer, workers=workers), taken + 6)
    before = make_loader(texts, tokenizer, workers=workers)
    for _, _ in zip(range(taken), before):
        pass
    save_state(before.dataset, tmp_path)
    after = make_loader(texts, tokenizer, workers=workers)
    load_state(after.dataset, tmp_path, workers)
    read = []
    encode = streams.document_ids
    monkeypatch.setattr(streams, "document_ids", lambda *given: read.append(len(given[-1])) or encode(*given))
    assert batches(after, 6) == whole[taken:]
    # Of what was read before, no more than a window is read again; workers count on their own.
    assert workers or 0 < sum(read) <= 16 + 6 * 2 * 32 // 4


def test_another_number_of_readers_is_refused(texts, tokenizer, tmp_path):
    loader = make_loader(texts, tokenizer, processes=2)
    next(iter(loader))
    save_state(loader.dataset, tmp_path)
    with pytest.raises(InputError, match=r"as many processes as before"):
        load_state(make_loader(texts, tokenizer, processes=3).dataset, tmp_path, 0)
    with pytest.raises(InputError, match=r"dataloader_num_workers=2, but the run that is resumed had 1"):
        load_state(make_loader(texts, tokenizer, processes=2).dataset, tmp_path, 2)


def test_a_reader_without_a_text_is_named(texts, tokenizer):
    with pytest.raises(InputError, match="fewer texts than readers"):
        next(iter(make_loader(texts.take(2), tokenizer, process=3, processes=4)))


def stream_of(path, **more):
    kind = {".jsonl": "json"}.get(path.suffix, path.suffix[1:])
    return loading.load_rows(
        text_source({"path": kind, "files": str(path.parent / f"*{path.suffix}"), "streaming": True, **more})
    )


def test_what_later_rows_of_a_stream_have_in_other_columns_does_not_matter(tmp_path):
    """Of JSON, `datasets` takes the types of all rows from the first ten megabytes; of Parquet, from the first file."""
    rows = [{"text": f"{number} {'word ' * 240}", "n": number, "kind": "ab"[number % 2]} for number in range(9000)]
    others = [{"text": number, "n": f"number {number}", "kind": "a", "more": {"x": 1}} for number in range(20)]
    with (tmp_path / "a.jsonl").open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in [*rows, *others])
    assert (tmp_path / "a.jsonl").stat().st_size > 10 << 20
    found = [row["text"] for row in loading.text_rows(stream_of(tmp_path / "a.jsonl"), "text")]
    assert found == [row["text"] for row in rows] + [str(number) for number in range(20)]
    assert len(list(stream_of(tmp_path / "a.jsonl", where={"kind": "a"}))) == 4520
    for number, column in enumerate(([1, 2], ["x", "y"])):
        Dataset.from_dict({"text": ["a", "b"], "n": column}).to_parquet(tmp_path / f"{number}.parquet")
    assert [row["text"] for row in stream_of(tmp_path / "a.parquet")] == ["a", "b"] * 2
    with pytest.raises(InputError, match="text_column='body' is not a column; the columns are text, n, kind"):
        stream_of(tmp_path / "a.jsonl", text_column="body")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_line_that_is_cut_off_is_named_where_a_stream_comes_to_it(workers, texts, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "FIRST_ROWS", 10)
    with (tmp_path / "b.jsonl").open("a") as file:
        file.write('{"text": "a text that is cu')
    train = split_stream(stream_of(tmp_path / "b.jsonl"), "text", 0.1, 0.1)["train"]
    with pytest.raises(InputError) as refused:
        batches(make_loader(train, tokenizer, workers=workers), 500)
    line = 'line 84 of b.jsonl, column 10: Unterminated string, in \'{"text": "a text that is cu\''
    assert str(refused.value) == f"dataset: files='{tmp_path / 'b.jsonl'}': {line}"


def broken_after(count, error):
    for text in TEXTS[:count]:
        yield {"text": text}
    raise error


@pytest.mark.parametrize("error", [pa.ArrowInvalid("a cut row"), zlib.error("a cut row"), OSError("a cut row")])
def test_what_a_reader_raises_in_the_middle_of_a_stream_is_one_line(error, texts, tokenizer):
    stream = IterableDataset.from_generator(broken_after, gen_kwargs={"count": 100, "error": error})
    for read in (
        lambda: batches(make_loader(stream, tokenizer), 200),
        lambda: batches(make_loader(stream, tokenizer, workers=1), 200),
        lambda: held_texts(stream, 120),
        lambda: list(text_batches(stream, 120)),
    ):
        with pytest.raises(InputError) as refused:
            read()
        assert str(refused.value) == "dataset: the stream cannot be read on: a cut row"


def test_a_stream_that_was_read_in_another_way_begins_anew_and_says_so(texts, tokenizer, tmp_path):
    """An earlier version had `datasets` read JSON, whose places are counted in other things."""
    before = make_loader(split_stream(texts, "text", 0.1, 0.1)["train"], tokenizer)
    batches(before, 60)
    save_state(before.dataset, tmp_path)
    after = make_loader(split_stream(stream_of(tmp_path / "a.jsonl"), "text", 0.1, 0.1)["train"], tokenizer)
    load_state(after.dataset, tmp_path, 0)
    with pytest.raises(InputError, match=r"read in another way .*: start anew with overwrite=true\.$"):
        batches(after, 1)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus():
    """The short form of `make stream`, in a process of its own, since the peak of this one has been anywhere."""
    script = "import json; from reliability.stream import measure; print(json.dumps(measure(100)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    found = json.loads(run.stdout.splitlines()[-1])
    # Nine tenths of the lines are for training, each with an end-of-text token in place of its newline.
    assert found["blocks"] * 1024 == pytest.approx(found["file_bytes"] * 0.9, rel=0.02)
    assert found["peak_bytes"] - found["peak_bytes_at_half"] < found["file_bytes"] / 8
    assert found["seconds_to_go_on_at_nine_tenths"] < found["seconds"] / 2
