"""Scores, records, pictures and cards."""

import io
import json
import math

import pytest
import torch
from datasets import Dataset
from huggingface_hub import ModelCard
from tests.conftest import ROOT, randomize, tiny_config
from tests.helpers.commands import run_command
from tests.helpers.figures import lines_of, size_of, watch_figures
from transformers import AutoModelForCausalLM

from hf_gpt.errors import InputError
from hf_gpt.evaluation.perplexity import evaluate_language_model, score
from hf_gpt.reports import console, records
from hf_gpt.reports.model_card import render_card, write_card
from hf_gpt.reports.plots import plot_run
from hf_gpt.run_folder.manifest import Manifest, write_manifest


def test_a_score_is_the_mean_of_the_models_losses():
    model = randomize(AutoModelForCausalLM.from_config(tiny_config("modern")))
    ids = torch.randint(2, 96, (5, 16))
    blocks = Dataset.from_dict({"input_ids": ids.tolist()})
    result = evaluate_language_model(model, blocks, bytes_per_token=4.0, batch_size=2)
    assert result.loss == pytest.approx(model(ids, labels=ids).loss.item(), abs=1e-5)
    assert result.tokens == 5 * 15
    assert result.perplexity == pytest.approx(math.exp(result.loss))
    assert result.bits_per_byte == pytest.approx(result.loss / math.log(2) / 4)


def test_a_uniform_model_costs_eight_bits_a_byte():
    assert score(10 * math.log(256), 10, bytes_per_token=1.0).bits_per_byte == pytest.approx(8.0)


def test_a_block_beyond_the_positions_is_refused():
    model = AutoModelForCausalLM.from_config(tiny_config("gpt2"))
    with pytest.raises(InputError, match=r"block_size=65.*max_position_embeddings=64"):
        evaluate_language_model(model, Dataset.from_dict({"input_ids": [[2] * 65]}), 1.0)


@pytest.fixture
def record():
    rows = [
        {
            "loss": 5.0 - i / 10,
            "learning_rate": 0.1,
            "tokens": 100 * (i + 1),
            "tokens_per_second": 50.0,
            "elapsed_seconds": i + 1.0,
        }
        for i in range(5)
    ]
    rows.append({"eval_loss": 4.5, "tokens": 500, "elapsed_seconds": 6.0})
    scored = {"loss": 4.25, "perplexity": 70.105, "bits_per_byte": 1.5432, "tokens": 90}
    return records.make_record(
        "train",
        name="example",
        recipe={"block_size": 16, "learning_rate": 0.1},
        config={"hidden_size": 32},
        parameters=1234567,
        data={"path": "text", "files": [], "splits": {"train": {"texts": 3, "bytes": 9, "tokens": 4}}},
        steps=5,
        tokens_seen=500,
        training_seconds=6.0,
        total_seconds=7.0,
        precision="float32",
        compiled=False,
        history=rows,
        test=scored,
        baselines=[{"name": "unigram", "order": 1, "seconds": 0.1, **scored, "loss": 7.125}],
        samples=[{"prompt": "This", "text": "This is\ntext", "seed": 0}],
    )


def test_a_record_says_where_it_was_made(record):
    # The build, such as "+cpu", is a part of the name that not every installation keeps.
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert record["device"]["cores"] >= 1
    assert record["peak_memory"]["host_bytes"] > 10 << 20
    assert json.loads(json.dumps(record)) == record


def test_a_card_shows_the_records_figures_and_valid_metadata(record, tmp_path):
    records.write_json(tmp_path / "record.json", record)
    path = write_card(tmp_path)
    card = ModelCard.load(path)
    assert card.data.library_name == "transformers"
    assert card.data.eval_results[0].metric_value == 4.25
    for figure in ("1,234,567", "4.250", "70.1", "1.543", "7.125", "> **This** is\n> text"):
        assert figure in card.text


def test_a_card_that_a_person_changed_is_not_lost(record, tmp_path, monkeypatch, capsys):
    records.write_json(tmp_path / "record.json", record)
    card, kept = tmp_path / "README.md", tmp_path / "README.md.bak"
    assert run_command(monkeypatch, capsys, "card", tmp_path)[:2] == (0, f"{card}\n")
    assert run_command(monkeypatch, capsys, "card", tmp_path)[:2] == (0, f"{card}\n")
    assert not kept.exists()
    card.write_text("my own")
    code, out, _ = run_command(monkeypatch, capsys, "card", tmp_path)
    assert code == 0
    assert f"it is kept as {kept}" in out
    assert (kept.read_text(), card.read_text()) == ("my own", render_card(record))
    card.write_text("my second")
    code, _, err = run_command(monkeypatch, capsys, "card", tmp_path)
    assert code == 2
    assert err.count("\n") == 1
    assert "move one of them away, then rerun the same command" in err
    assert (kept.read_text(), card.read_text()) == ("my own", "my second")


def test_the_card_of_a_run_is_renewed_unless_a_person_changed_it(record, tmp_path, monkeypatch, capsys):
    records.write_json(tmp_path / "record.json", record)
    write_manifest(tmp_path, Manifest({}, {}))
    write_card(tmp_path)
    # Another record, or another version of the template: the card is still what the run wrote.
    records.write_json(tmp_path / "record.json", {**record, "name": "renamed"})
    assert run_command(monkeypatch, capsys, "card", tmp_path)[0] == 0
    card = tmp_path / "README.md"
    assert "renamed" in card.read_text()
    with card.open("a") as file:
        file.write("MY-OWN\n")
    code, _, err = run_command(monkeypatch, capsys, "card", tmp_path)
    assert code == 2
    assert err.count("\n") == 1
    assert "move it away, then rerun the same command" in err
    assert card.read_text().endswith("MY-OWN\n")
    card.rename(tmp_path / "mine.md")
    assert run_command(monkeypatch, capsys, "card", tmp_path)[0] == 0
    assert "MY-OWN" not in card.read_text()


def test_the_bytes_on_a_card_add_up(record):
    record["data"] |= {
        "read": {"texts": 6, "bytes": 22},
        "dropped": {"empty texts": 2, "repeated texts": 1, "byte order marks": 1},
        "dropped_bytes": {"empty texts": 1, "repeated texts": 9, "byte order marks": 3},
        "files": [{"name": f"{i}.txt", "sha256": "0"} for i in range(13)],
    }
    card = render_card(record)
    for row in (
        "| train | 3 | 9 | 4 |",
        "| dropped: empty texts | 2 | 1 | |",
        "| dropped: repeated texts | 1 | 9 | |",
        "| dropped: byte order marks |  | 3 | |",
        "| read | 6 | 22 | |",
    ):
        assert row in card
    assert "13 files, which `record.json` names; SHA-256 `" in card
    assert "is cut" not in card
    assert "each other one is cut" in render_card({**record, "data": {**record["data"], "is_cut": True}})


def test_a_text_that_was_learned_by_heart_is_told(record, capsys, tmp_path):
    def told(*losses, trained=(5.0, 4.0, 3.0)):
        rows = [
            {**record["history"][0], "step": 10 * (i + 1), "eval_loss": loss, "loss": trained[i]}
            for i, loss in enumerate(losses)
        ]
        changed = {**record, "history": rows}
        console.print_record(changed, tmp_path)
        return capsys.readouterr().out, render_card(changed)

    for text in told(5.0, 4.0, 4.5):
        assert "The validation loss was lowest after step 20, at 4.000, and rose to 4.500" in " ".join(text.split())
        assert "learned the text by heart" in " ".join(text.split())
    for text in told(5.0, 4.0, 4.5, trained=(5.0, 4.0, 4.5)):
        assert "rose to 4.500: the loss on the text that it learned from did not fall either" in " ".join(text.split())
    for text in told(5.0, 4.0, 4.05):
        assert "lowest after step" not in text


def test_a_card_without_its_figures_is_not_written(record, tmp_path):
    del record["parameters"]
    with pytest.raises(InputError, match="lacks parameters"):
        render_card(record)


def test_a_picture_is_drawn(record, tmp_path, monkeypatch):
    drawn = watch_figures(monkeypatch)
    plot_run(record, tmp_path / "loss.png")
    loss, rate, speed = drawn[0].axes
    lines = lines_of(loss)
    assert lines["training"] == [[100 * (i + 1), 5.0 - i / 10] for i in range(5)]
    assert lines["validation"] == [[500, 4.5]]
    assert lines["test"] == [[500, 4.25]]
    assert [7.125, 7.125] in [list(line.get_ydata()) for line in loss.lines], "the baseline is a line across"
    assert [text.get_text() for text in loss.texts] == ["unigram\n7.12 (test)"]
    assert [list(axis.lines[0].get_ydata()) for axis in (rate, speed)] == [[0.1] * 5, [50.0] * 5]
    assert size_of(tmp_path / "loss.png") == tuple(120 * drawn[0].get_size_inches())
    assert [path.name for path in tmp_path.iterdir()] == ["loss.png"]


@pytest.mark.parametrize(("content", "told"), [(None, "does not exist"), ("{", "is not a record")])
def test_a_missing_or_broken_record(tmp_path, content, told):
    if content is not None:
        (tmp_path / "record.json").write_text(content)
    with pytest.raises(InputError, match=told):
        records.read_record(tmp_path)


def test_a_json_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "record.json"
    records.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        records.write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_comparison_says_when_figures_cannot_be_compared(capsys):
    record = json.loads((ROOT / "model_cards" / "quickstart" / "record.json").read_text(encoding="utf-8"))

    def told(**changes):
        other = json.loads(json.dumps(record))
        for key, value in changes.items():
            at = other
            *path, last = key.split("__")
            for part in path:
                at = at[part]
            at[last] = value
        console.print_comparison([record, other])
        return " ".join(capsys.readouterr().out.split())

    assert "These runs" not in told(name="again", config__hidden_size=64)
    # A run of a folder whose files an earlier version did not describe.
    assert "These runs" not in told(data__files=[{"name": "train-0.parquet", "sha256": "0" * 64}])
    for changes in ({"data__path": "text"}, {"data__sha256": "0" * 64}, {"data__splits__test__bytes": 5}):
        assert "scored on different texts: neither their losses nor their bits per byte can be compared" in told(**changes)
    for changes in ({"config__vocab_size": 4096}, {"data__splits__test__tokens": 5}):
        assert "different tokenizers: their losses per token cannot be compared; compare bits per byte" in told(**changes)


def test_what_is_printed_into_a_file_is_not_shown_in_a_notebook(monkeypatch):
    """The rehearsal of a run's end prints into a file that nobody reads."""
    shown = []
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *arguments: shown.append(arguments))
    file = io.StringIO()
    console.console_of(file).print("Trained in 1 s")
    assert (file.getvalue(), shown) == ("Trained in 1 s\n", [])
    console.console_of(None).print("Trained in 1 s")
    assert len(shown) == 1
