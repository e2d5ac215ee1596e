"""What a person sees of a run: rows, speed, and what the model writes; none of it changes what is learned."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import pytest
import torch
from benchmarks.tiny import recipe_values
from reliability.faults import is_equal, one_thread
from safetensors.torch import load_file
from tests.conftest import ROOT, tiny_config
from tests.helpers.runs import killed_after
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_gpt import planning
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.recipe.schedule import epoch_line
from hf_gpt.reports.terminal import hide_bars_of_weights, is_worth_telling, silence_libraries
from hf_gpt.training import callbacks
from hf_gpt.training.callbacks import (
    EarlyStopping,
    ProgressLine,
    ProgressRecorder,
    earlier_seconds,
    log_line,
    measured_speed,
    sample_section,
    with_section,
)
from hf_gpt.training.run import run


@pytest.fixture(scope="module", autouse=True)
def alone():
    with one_thread():
        yield


def values_of(corpus, folder, **changes):
    values = recipe_values(
        corpus, folder, **{"max_steps": 12, "eval_steps": 4, "save_steps": 4, "logging_steps": 2, **changes}
    )
    return {key: value for key, value in values.items() if key != "sample_prompts" or "sample_prompts" in changes}


def steps_in(path):
    return [int(step) for step in re.findall(r"^## Step (\d+)", path.read_text(), re.MULTILINE)]


def test_samples_are_written_at_each_evaluation_and_change_no_weight(corpus, tmp_path, capsys):
    record = run(parse_recipe(values_of(corpus, tmp_path / "with", report_to="tensorboard")))
    assert steps_in(tmp_path / "with" / "samples.md") == [4, 8, 12]
    assert re.search(r"^step 4/12  .*validation loss", capsys.readouterr().out, re.MULTILINE)
    assert len(record["samples"]) == 3
    # The prompts are beginnings of held-out texts.
    held_out = " ".join(corpus.read_text().split())
    assert all(sample["prompt"].split()[1] in held_out for sample in record["samples"])
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = next((tmp_path / "with").rglob("events.out.tfevents*")).parent
    events = EventAccumulator(str(folder))
    events.Reload()
    assert "samples/text_summary" in events.Tags()["tensors"]
    run(parse_recipe(values_of(corpus, tmp_path / "without", sample_prompts=[])))
    assert not (tmp_path / "without" / "samples.md").exists()
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("with", "without")]
    assert is_equal(*weights)


def test_a_resumed_run_repeats_no_sample(corpus, tmp_path):
    values = values_of(corpus, tmp_path / "run", save_steps=6)
    killed_after(values, 9)
    assert steps_in(tmp_path / "run" / "samples.md") == [4, 8]
    run(parse_recipe(values))
    assert steps_in(tmp_path / "run" / "samples.md") == [4, 8, 12]


def test_masked_models_fill_in_held_out_texts(corpus, tmp_path):
    config = {**recipe_values(corpus, tmp_path)["config"], "is_causal": False}
    record = run(parse_recipe(values_of(corpus, tmp_path / "run", objective="masked", config=config)))
    assert all("<|mask|>" in sample["prompt"] and "<|mask|>" not in sample["text"] for sample in record["samples"])


def test_what_a_sample_says_is_never_taken_for_a_heading(tmp_path):
    path = tmp_path / "samples.md"
    path.write_text(with_section(path, 4, sample_section(4, 5.0, [{"prompt": "a", "text": "a b\n## Step 9, loss\nc"}])))
    path.write_text(with_section(path, 8, sample_section(8, 4.0, [{"prompt": "a", "text": "a d"}])))
    assert steps_in(path) == [4, 8]
    assert "> **a** b\n> ## Step 9, loss\n> c" in path.read_text()


def test_rows_say_speed_and_what_is_left():
    row = {
        "step": 120,
        "loss": 5.1234567,
        "learning_rate": 0.02,
        "tokens_per_second": 4912.3,
        "mfu": 0.413,
        "seconds_left": 192.4,
        "grad_norm": 3.0,
    }
    assert log_line(row, 720) == "step 120/720  loss 5.123  rate 0.02  4,912 tokens/s  MFU 41.3%  3:12 left"
    assert log_line({"step": 5, "eval_loss": 4.5, "eval_accuracy": 0.5, "eval_runtime": 2.0}, None) == (
        "step 5  accuracy 0.5  validation loss 4.5"
    )
    history = [{"tokens_per_second": 1.0, "mfu": 0.1}, {"tokens_per_second": 3.0, "mfu": 0.3}, {"loss": 1.0}]
    assert measured_speed([*history, history[1]]) == {"tokens_per_second": 3.0, "mfu": 0.3}
    assert measured_speed([{"loss": 1.0}]) == {}


def test_the_clock_runs_while_the_first_step_is_compiled(tmp_path, monkeypatch, capsys):
    seconds = threading.Semaphore(0)
    monkeypatch.setattr(callbacks.time, "sleep", lambda _: seconds.acquire(timeout=10))
    arguments = TrainingArguments(str(tmp_path), torch_compile=True, use_cpu=True)
    line, state = ProgressLine(), TrainerState(max_steps=3, is_world_process_zero=True)
    line.on_train_begin(arguments, state, TrainerControl())
    bar = line.training_bar
    refreshed = []
    monkeypatch.setattr(bar, "refresh", lambda: refreshed.append(bar.desc))
    for ticks in (1, 2):
        seconds.release()
        wait_until(lambda ticks=ticks: len(refreshed) == ticks)
    assert refreshed == ["compiling"] * 2
    state.global_step = 1
    line.on_step_end(arguments, state, TrainerControl())
    seconds.release()
    wait_until(lambda: not any(thread.name == "compiling" for thread in threading.enumerate()))
    bar.close()


def wait_until(is_so):
    for _ in range(1000):
        if is_so():
            return
        threading.Event().wait(0.01)
    raise TimeoutError


def test_mfu_is_that_of_the_device(monkeypatch):
    flops = planning.training_flops(tiny_config("modern"), 32).total
    recorder = ProgressRecorder(1000, flops, planning.DEVICES["h100"].peak_flops)

    class State:
        global_step, max_steps = 10, 20
        log_history: list = [{"loss": 1.0}]

    recorder.last_loss -= 3.0
    # Two of these three seconds it evaluated.
    recorder.paused = 2.0
    recorder.on_log(None, State, None)
    row = State.log_history[-1]
    assert row["tokens_per_second"] == pytest.approx(10_000, rel=0.1)
    assert row["mfu"] == pytest.approx(row["tokens_per_second"] * flops / 989.5e12)
    assert row["seconds_left"] == pytest.approx(1.0 + 2.0, rel=0.1)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-PCIE-40GB", "a100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA GH200 480GB", None),
        ("Tesla T4", None),
    ],
)
def test_devices_are_known_by_the_name_that_cuda_has(name, found):
    assert planning.named_device(name) == (planning.DEVICES[found] if found else None)


def test_a_small_text_is_told_of_and_a_tiny_one_warned_of(corpus, tmp_path, capsys):
    assert epoch_line(100, 100) is None
    assert epoch_line(250, 100) == "The train split is small: 250 steps are 2.5 epochs of it."
    assert "Beyond 10 a model learns it by heart" in epoch_line(1001, 100)
    small = tmp_path / "small.jsonl"
    small.write_text("".join(corpus.read_text().splitlines(keepends=True)[:60]))
    run(parse_recipe(values_of(small, tmp_path / "run", max_eval_blocks=4, per_device_train_batch_size=64, max_steps=12)))
    told = capsys.readouterr().out
    assert re.search(r"The train split is small: 12 steps are [\d.]+ epochs", told)
    assert re.search(r"Training a tokenizer of [\d,]+ entries; then the texts are tokenised\.", told)


REPORT = "GPTForSequenceClassification LOAD REPORT from: runs/x\nKey | Status |\n{rows}\nNotes:"


@pytest.mark.parametrize(
    ("name", "message", "is_told"),
    [
        ("transformers.training_args", "The speedups for torchdynamo mostly come with GPU Ampere or higher", False),
        ("transformers.training_args", "Anything else", True),
        ("transformers.trainer", "There were missing keys in the checkpoint model loaded: ['lm_head.weight'].", False),
        ("transformers.trainer", "There were missing keys in the checkpoint model loaded: ['model.norm.weight'].", True),
        ("transformers.modeling_utils", REPORT.format(rows="model.norm.weight | MISSING |"), False),
        ("transformers.integrations.peft", REPORT.format(rows="model.q_proj.lora_A.weight | UNEXPECTED |"), False),
        ("transformers.modeling_utils", REPORT.format(rows="model.mlp.experts | \x1b[31mCONVERSION\x1b[0m |"), True),
        ("hf_gpt.data.packing", "LOAD REPORT", True),
        ("datasets.packaged_modules.json.json", "Failed to load JSON from file 'a.jsonl' with error", False),
        ("datasets.packaged_modules.csv.csv", "Failed to read file 'a.csv' with error", False),
    ],
)
def test_noise_goes_and_news_stays(name, message, is_told):
    record = logging.LogRecord(name, logging.WARNING, "", 0, message, None, None)
    assert is_worth_telling(record) is is_told


def test_deprecations_of_libraries_are_not_told_and_warnings_are():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        silence_libraries()
        warnings.warn("soon", FutureWarning, stacklevel=1)
        warnings.warn("soon", DeprecationWarning, stacklevel=1)
        warnings.warn("TensorFloat32 tensor cores are there", UserWarning, stacklevel=1)
        warnings.warn("your text", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in told] == ["your text"]
    assert torch.get_num_threads() == 1


def test_bars_of_weights_go_and_those_of_downloads_stay(monkeypatch, capsys):
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging as transformers_logging

    monkeypatch.setattr(transformers_logging, "_tqdm_active", True)
    hide_bars_of_weights()
    assert not are_progress_bars_disabled()
    assert list(transformers_logging.tqdm(range(3), desc="Writing model shards")) == [0, 1, 2]
    assert "Writing" not in capsys.readouterr().err


def test_the_record_tells_the_speed(corpus, tmp_path):
    record = run(parse_recipe(values_of(corpus, tmp_path / "run")))
    assert record["tokens_per_second"] > 0
    assert "mfu" not in record
    assert json.loads((tmp_path / "run" / "record.json").read_text())["tokens_per_second"] == record["tokens_per_second"]


def test_the_seconds_of_a_run_are_those_of_all_its_processes():
    recorder, trainer = ProgressRecorder(), SimpleNamespace()
    trainer.callback_handler = SimpleNamespace(callbacks=[recorder])
    history = [{"loss": 3.0, "elapsed_seconds": 30.0}, {"step": 9}]
    recorder.on_train_begin(None, SimpleNamespace(global_step=9, log_history=history), None)
    assert earlier_seconds(trainer) == 30.0


def test_a_command_that_nobody_reads_ends_as_other_programs_do():
    reader, writer = os.pipe()
    os.close(reader)
    told = subprocess.run([sys.executable, "-m", "hf_gpt", "recipes"], stdout=writer, stderr=subprocess.PIPE, cwd=ROOT)
    os.close(writer)
    assert (told.returncode, told.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize(("values", "stops"), [([0.5, 0.6, 0.6, 0.5], True), ([0.5, 0.6, 0.7], False), ([0.9, 0.1], False)])
@pytest.mark.parametrize("event", ["on_train_begin", "on_evaluate"])
def test_an_end_in_time_is_read_from_the_log_so_that_a_resumed_run_ends_there_too(event, values, stops):
    arguments = TrainingArguments("unused", metric_for_best_model="accuracy", greater_is_better=True, report_to="none")
    state, control = TrainerState(log_history=[{"eval_accuracy": value, "step": 1} for value in values]), TrainerControl()
    getattr(EarlyStopping(2), event)(arguments, state, control)
    assert control.should_training_stop is stops
