"""The recipes for one GPU: run whole on a tiny model here, and what a machine that is not meant gets to read."""

import re

import pytest
import torch
from huggingface_hub.errors import HTTPError
from tests.conftest import ROOT
from tests.helpers.commands import run_command

from hf_gpt.data import loading
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.errors import InputError
from hf_gpt.planning import hardware
from hf_gpt.recipe import machine
from hf_gpt.recipe.parser import load_recipe
from hf_gpt.training import preparation, pretraining
from hf_gpt.training.run import run


NAMES = ["gpt2-124m", "modern-124m"]
# Of the model, what makes it tiny; everything else is the recipe's.
TINY = ["hidden_size=32", "num_hidden_layers=2", "num_attention_heads=2", "max_position_embeddings=64", "vocab_size=320"]


def on_gpu(monkeypatch):
    """The values of a recipe as a GPU settles them, without one."""
    monkeypatch.setattr(hardware, "device_type", lambda use_cpu=False: "cuda")
    monkeypatch.setattr(hardware, "multiplies_natively", lambda dtype=torch.bfloat16, device="cuda": True)
    monkeypatch.setattr(machine, "has_compiler", lambda device: True)


@pytest.mark.parametrize("name", NAMES)
def test_half_a_million_tokens_a_step_compiled_in_bfloat16(name, monkeypatch):
    on_gpu(monkeypatch)
    # `TrainingArguments` would look for the device.
    monkeypatch.setattr("hf_gpt.recipe.parser._training_arguments", lambda values: values)
    values = load_recipe(f"pretrain/{name}").training
    tokens = values["per_device_train_batch_size"] * values["gradient_accumulation_steps"] * 1024
    assert (tokens, values["bf16"], values["torch_compile"]) == (2**19, True, True)
    assert values["max_steps"] * tokens == pytest.approx(2.5e9, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_whole_on_files_of_ones_own(name, corpus, tmp_path, monkeypatch):
    train_tokenizer(iter([corpus.read_text().splitlines()]), 300, 64).save_pretrained(tmp_path / "tokenizer")
    inner = ["config.intermediate_size=64", "config.num_key_value_heads=2"]
    recipe = load_recipe(
        f"pretrain/{name}",
        [
            *(f"config.{field}" for field in TINY),
            *(inner if name.startswith("modern") else inner[:1]),
            *(
                f"dataset.files={corpus}",
                "dataset.text_column=body",
                "dataset.streaming=true",
                f"tokenizer={tmp_path / 'tokenizer'}",
            ),
            *("block_size=64", "max_steps=2", "gradient_accumulation_steps=2", "per_device_train_batch_size=2"),
            *("per_device_eval_batch_size=2", "max_eval_blocks=2", "dataloader_num_workers=0", "sample_tokens=4"),
            *(f"output_dir={tmp_path / 'run'}", "report_to=none", "torch_compile=false"),
        ],
    )
    record = run(recipe)
    assert (record["steps"], record["tokens_seen"]) == (2, 2 * 2 * 2 * 64)
    assert (tmp_path / "run" / "README.md").is_file()


@pytest.mark.parametrize("page", ["gpu", "gpu_zh"])
@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_what_the_plan_says(name, page, monkeypatch, capsys):
    code, planned, _ = run_command(monkeypatch, capsys, "plan", f"pretrain/{name}", "--device", "h100")
    assert code == 0
    row = next(
        line for line in (ROOT / "docs" / f"{page}.md").read_text().splitlines() if line.startswith(f"| `pretrain/{name}`")
    )
    figures = re.findall(r"\d[\d,.e+]*", row.split("|", 2)[2])
    assert len(figures) == 5
    assert not [figure for figure in figures if figure not in planned]


def unreachable(*arguments, **named):
    raise HTTPError("Name or service not known")


class NoHub:
    head = unreachable


@pytest.mark.parametrize("streaming", [True, False])
def test_a_stream_from_a_hub_that_is_not_reached_is_refused_before_it_is_asked_six_times(streaming, monkeypatch):
    monkeypatch.setattr(loading, "get_session", NoHub)
    monkeypatch.setattr(loading.datasets, "load_dataset", lambda *_, **__: (_ for _ in ()).throw(ValueError("asked")))
    source = loading.TextSource("HuggingFaceFW/fineweb-edu", streaming=streaming)
    # What is not streamed may have been fetched before.
    told = r"cannot be reached \(Name or service not known\): connect to a network, or give" if streaming else "asked"
    with pytest.raises(InputError, match=told):
        loading.load_rows(source)


@pytest.mark.parametrize("name", NAMES)
def test_a_processor_that_would_need_weeks_is_told_what_it_needs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preparation, "cpu_flops", lambda: 1e11)
    code, _, told = run_command(monkeypatch, capsys, "train", f"pretrain/{name}", "use_cpu=true")
    assert code == 2
    assert re.search(r"max_steps=4768: .* would take this processor about 49\d days\. The recipe needs a GPU", told)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("given", ["max_steps=10", "max_minutes=3"])
def test_a_long_step_is_announced_and_a_run_of_chosen_length_goes_on(given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preparation, "cpu_flops", lambda: 1e11)
    monkeypatch.setattr(loading, "get_session", NoHub)
    # It is on the Hub, too.
    monkeypatch.setattr(pretraining, "named_tokenizer", lambda recipe: None)
    code, out, told = run_command(monkeypatch, capsys, "train", "pretrain/gpt2-124m", "use_cpu=true", given)
    assert code == 2
    assert "A step of 524,288 tokens takes this processor about 149 minutes" in out + told
    assert "cannot be reached" in told


def test_nothing_is_measured_for_a_recipe_of_short_steps(monkeypatch):
    monkeypatch.setattr(preparation, "cpu_flops", lambda: pytest.fail("measured"))
    preparation.check_time(load_recipe("pretrain/reviews", ["use_cpu=true"]))
