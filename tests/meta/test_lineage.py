"""Every run of `make lineage` is a recipe that is read, and the page is written whatever records are there."""

import dataclasses

import pytest
from benchmarks import frame
from experiments import alignment, lineage, lineage_page

from hf_gpt.recipe.parser import load_recipe


def timed(seconds):
    """The history of some steps that took as long each, after a first one with the compiler's time in it."""
    history = [{"step": step, "loss": 5.0, "elapsed_seconds": 60.0 + (step - 4) * seconds} for step in (4, 8, 12, 16)]
    return {"history": [*history, {"step": 16, "eval_loss": 5.0, "elapsed_seconds": 1e3}]}


RECORDS = {f"{name}-timed": timed(seconds) for name, seconds in zip(lineage.GENERATIONS, (1.5, 1.5, 1.0, 0.75, 3.0))}


@pytest.mark.parametrize("name", [name for name in lineage.PARTS if name != "ngrams"])
def test_every_run_is_a_recipe_that_is_read(name, monkeypatch):
    trained = []
    monkeypatch.setattr(lineage, "read", RECORDS.get)
    monkeypatch.setattr(lineage, "train", lambda *arguments: trained.append(arguments))
    lineage.PARTS[name]()
    # What it builds on comes first, where it is not there.
    record, recipe, overrides = trained[-1]
    assert record == name
    loaded = load_recipe(recipe, [*overrides, f"output_dir={name}"])
    if recipe.startswith("pretrain/"):
        per_step = loaded.training.per_device_train_batch_size * loaded.data.block_size
        assert per_step == lineage.TOKENS_PER_STEP
        assert loaded.data.max_eval_blocks == 64
        steps = {"gpt3-equal-time": 450, "modern-equal-time": 600, "oss-equal-time": 150}
        expected = lineage.TIMED_STEPS if name.endswith("-timed") else steps.get(name, lineage.STEPS)
        assert loaded.training.max_steps == expected
        if name == "oss-equal-time":
            assert loaded.training.lr_scheduler_kwargs["num_decay_steps"] == 90


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """A checkout with copies of the pages, pictures and records of its own."""
    monkeypatch.setattr(frame, "ROOT", tmp_path)
    monkeypatch.setattr(frame, "RECORDS", tmp_path / "records")
    folder = tmp_path / "docs"
    folder.mkdir()
    for page in lineage_page.PAGES.values():
        (folder / page.name).write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    copied = [dataclasses.replace(section, page=folder / section.page.name) for section in lineage_page.SECTIONS]
    monkeypatch.setattr(lineage_page, "SECTIONS", copied)
    return folder


def made_up(name):
    row = {"tokens": 1e6, "elapsed_seconds": 60, "eval_loss": 5.0}
    return {
        "name": name,
        "parameters": 5_300_000,
        "tokens_seen": 1_228_800,
        "training_seconds": 300,
        "total_seconds": 360,
        "test": {"loss": 5.25, "bits_per_byte": 1.875, "accuracy": 0.755},
        "peak_memory": {"host_bytes": 2**30},
        "device": {"threads": 2, "processor": "a processor"},
        "history": [row],
        "samples": [{"prompt": "This", "text": "This is\none"}],
        "data": {"splits": {"train": 8000}},
        "baselines": [
            {"name": "TF-IDF + logistic regression, scikit-learn's defaults", "accuracy": 0.6},
            {"name": "TF-IDF with pairs of words + logistic regression (C=3)", "accuracy": 0.7},
        ],
    }


def ngram_record():
    kinds = [(corpus, order, kind) for corpus in ("same", "all") for order in range(1, 6) for kind in lineage_page.SMOOTHINGS]
    scores = [
        {
            "corpus": corpus,
            "order": order,
            "smoothing": kind,
            "train_tokens": 10**6,
            "unseen": 0.25,
            "loss": 4.5,
            "bits_per_byte": 1.7,
            "k": 0.1,
        }
        for corpus, order, kind in kinds
    ]
    return {
        "scores": [{**row, "processor_seconds": 2.0} for row in scores],
        "samples": [{"prompt": "This", "text": "This here"}],
    }


def test_without_records_the_page_says_so(pages):
    frame.write_pages(lineage_page)
    assert (pages / "lineage.md").read_text().count("No record yet") == len(lineage_page.MAKERS)
    assert not list(pages.glob("*.png"))


def test_a_model_without_a_record_is_named_below_the_table(pages):
    frame.keep_record("lineage/ngrams", ngram_record())
    for name in ("nnlm", *lineage_page.GENERATIONS):
        frame.keep_record(f"lineage/{name}", made_up(name))
    foots = [lineage_page.generations(words)[-3] for words in lineage_page.WORDS.values()]
    assert foots[0].endswith("seed 0. No record yet of gpt-oss, 2025, 4.1M active.")
    assert foots[1].endswith("种子 0。还没有记录的：gpt-oss, 2025, 4.1M active。")


def test_with_all_records_the_page_shows_them_and_the_pictures(pages):
    for name in lineage.PARTS:
        frame.keep_record(f"lineage/{name}", ngram_record() if name == "ngrams" else made_up(name))
    frame.write_pages(lineage_page)
    for page in lineage_page.PAGES.values():
        text = (pages / page.name).read_text(encoding="utf-8")
        assert "lineage-generations.png" in text
        assert "lineage-labels.png" in text
        assert "| 16 | 0.755 (0.755–0.755) | 0.755 (0.755–0.755) | 0.700 (0.700–0.700) |" in text
        assert "**1.875**" in text
        assert "25.0%" in text
        assert f"{6 * (len(lineage.PARTS) - 1)} " in text.split("<!-- whole:begin -->")[1].split("<!-- whole:end -->")[0]
        assert "| Kneser-Ney 1-gram |  | 1.00M | 4.500 | **1.700** |" in text
    assert "No record yet" not in (pages / "lineage.md").read_text()
    assert {path.name for path in pages.glob("*.png")} == {"lineage-generations.png", "lineage-labels.png"}


def test_a_policy_has_no_loss_in_the_table_of_stages():
    """What it is depends on the answers that were drawn; a supervised stage has one."""
    words, drawn = alignment.WORDS["en"], {"loss": 0.5, "reward": 0.25, "accuracy": 0.75, "kl": 0.125}
    (row,) = alignment.stage_rows("grpo", {"total_seconds": 60, "baselines": [], "test": drawn}, words)
    assert row == ["`align/grpo`", "after", "", "0.750", "", "0.250", "0.1250", "1.0"]
    (row,) = alignment.stage_rows("sft", {"total_seconds": 60, "baselines": [], "test": {"loss": 0.5}}, words)
    assert row == ["`align/sft`", "after", "0.500", "", "", "", "", "1.0"]
