"""Compares what `hf-gpt plan` says with runs on this machine and with published runs.

Writes benchmarks/records/planning.json and the tables of docs/scaling.md.
"""

import argparse
import gc
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from benchmarks.frame import ROOT, Section, apart, find_record, load_record, processor_of, table, write_record
from benchmarks.gpt2 import NO_DROPOUT
from torch.utils.flop_counter import FlopCounterMode

from hf_gpt import GPTConfig, GPTForCausalLM, preset
from hf_gpt.planning import Workload, find_device, memory_by_part, parameter_counts, plan, training_flops
from hf_gpt.presets import PUBLISHED_FLOPS, PUBLISHED_TOKENS
from hf_gpt.reports.records import read_record
from hf_gpt.training.optimizers import OPTIMIZERS
from hf_gpt.training.planned_run import planned_run, run_time


# The allocator of the C library gives memory back as soon as it is free, as that of a GPU does for its own use.
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536"}
RATES: dict[str, Any] = dict.fromkeys(("lr", "embedding_lr", "head_lr", "rest_lr"), 1e-3)
RATES |= {"weight_decay": 0.0, "betas": (0.9, 0.95), "eps": 1e-8}


@dataclass(frozen=True)
class PublishedRun:
    """A run that somebody else reported: its size and products as counted there, and the minutes it took at which MFU."""

    config: GPTConfig
    parameters: int
    flops_per_token: float
    tokens: float
    mfu: float
    minutes: float


# nanochat, depth 20 on eight H100, by the report that its speedrun prints (one of 2025-10-15): the loop alone.
NANOCHAT = PublishedRun(
    preset(
        "modern-5m",
        vocab_size=65536,
        hidden_size=1280,
        num_hidden_layers=20,
        num_attention_heads=10,
        num_key_value_heads=10,
        intermediate_size=5120,
        mlp_type="mlp",
        max_position_embeddings=2048,
        tie_word_embeddings=False,
    ),
    parameters=560_988_160,
    flops_per_token=3.491758e9,
    tokens=11_219_763_200,
    mfu=0.4783,
    minutes=174.75,
)
# Preset, width, layers, rows, tokens of a row, attention, checkpointing: what is measured in a process each.
MEMORY = (
    ("gpt1", 256, 4, 8, 256, "sdpa", False),
    ("gpt2", 384, 6, 4, 512, "sdpa", False),
    ("gpt2", 384, 6, 4, 512, "sdpa", True),
    ("gpt3-125m", 384, 6, 4, 512, "eager", False),
    ("modern-5m", 384, 6, 4, 512, "eager", False),
    ("modern-5m", 384, 6, 4, 512, "sdpa", True),
    ("gpt2", 768, 8, 1, 512, "sdpa", False),
)
FLOPS = (("gpt1", 64, 2), ("gpt2", 64, 2), ("gpt3-125m", 64, 2), ("modern-5m", 64, 2), ("modern-5m", 256, 4), ("gpt2", 768, 8))


def config_of(name: str, width: int, layers: int) -> GPTConfig:
    """Return a preset at another size, without the dropout for which a CPU has other kernels."""
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 8, "intermediate_size": width * 11 // 4}
    sizes |= {"vocab_size": 8192, "max_position_embeddings": 1024, "bos_token_id": 1, "eos_token_id": 1}
    heads = 4 if name.startswith("modern") else None
    return preset(name, **sizes, **NO_DROPOUT, num_key_value_heads=heads, fused_loss=True)


def build(config: GPTConfig, load: Workload) -> GPTForCausalLM:
    torch.manual_seed(0)
    model = GPTForCausalLM._from_config(config, attn_implementation=load.attention).train()
    if load.checkpointing:
        model.gradient_checkpointing_enable()
    return model


def token_ids(config: GPTConfig, load: Workload) -> torch.Tensor:
    return torch.randint(0, config.vocab_size, (load.rows, load.length), generator=torch.Generator().manual_seed(0))


def loss_of(model: GPTForCausalLM, ids: torch.Tensor, load: Workload) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=load.bfloat16):
        return model(ids, labels=ids, use_cache=False).loss


def measured_flops(config: GPTConfig, load: Workload) -> float:
    """Products and sums of one trained token, counted by torch while it trains."""
    model, ids = build(config, load), token_ids(config, load)
    # The kernels of experts are not known to torch's count.
    model.set_experts_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        loss_of(model, ids, load).backward()
    return counter.get_total_flops() / load.tokens


def saved_bytes(config: GPTConfig, load: Workload) -> float:
    """Return bytes that autograd keeps at the end of a forward pass, each storage once, weights and ids left out."""
    model, ids = build(config, load), token_ids(config, load)
    known = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers(), ids)}
    found: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    if load.checkpointing:
        # Its inputs are held by a function, not by autograd.
        def keep_input(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            keep(inputs[0])

        for block in model.model.layers:
            block.register_forward_pre_hook(keep_input)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(model, ids, load)
    del loss
    return float(sum(found.values()))


def state_bytes(config: GPTConfig, load: Workload) -> dict[str, int]:
    """Return bytes of weights, gradients and optimizer after a step, tensor by tensor."""
    model, ids = build(config, load), token_ids(config, load)
    optimizer = OPTIMIZERS[load.optimizer](model, **RATES)
    loss_of(model, ids, load).backward()
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value) and value.ndim]
    return {
        "weights": sum(parameter.nbytes for parameter in model.parameters()),
        "gradients": sum(parameter.grad.nbytes for parameter in model.parameters() if parameter.grad is not None),
        "optimizer": sum(state.nbytes for state in states),
    }


def resident_bytes(config: GPTConfig, load: Workload) -> float:
    """Return largest resident size of this process in the second of two micro-batches, less what it held before the model was there.

    Then weights, gradients, optimizer and activations are there together. Linux only, in a process of its own.
    """
    # The libraries are loaded and the first kernels chosen before the count begins.
    warm = preset("modern-5m", hidden_size=32, vocab_size=64, intermediate_size=64, num_hidden_layers=1, fused_loss=True)
    loss_of(build(warm, load), token_ids(warm, load), load).backward()
    gc.collect()
    before = _status("VmRSS")
    model, ids = build(config, load), token_ids(config, load)
    optimizer = OPTIMIZERS[load.optimizer](model, **RATES)
    loss_of(model, ids, load).backward()
    optimizer.step()
    gc.collect()
    # Linux begins to look for the largest size anew.
    Path("/proc/self/clear_refs").write_text("5")
    loss_of(model, ids, load).backward()
    return float(_status("VmHWM") - before)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}.")


def memory_row(place: int) -> dict[str, Any]:
    """Return one row of `MEMORY`, planned and measured in this process."""
    name, width, layers, rows, length, attention, checkpointing = MEMORY[place]
    config = config_of(name, width, layers)
    load = Workload(length, rows, attention=attention, checkpointing=checkpointing, on_cpu=True)
    parts = memory_by_part(config, load, "cpu", 1, 1)
    return {
        "name": name,
        "parameters": sum(parameter_counts(config).values()),
        "rows": rows,
        "length": length,
        "attention": attention,
        "checkpointing": checkpointing,
        "planned": sum(parts.values()),
        "measured": resident_bytes(config, load),
    }


def flops_row(name: str, width: int, layers: int) -> dict[str, Any]:
    config, load = config_of(name, width, layers), Workload(128, 1, bfloat16=False, attention="eager")
    return {
        "name": name,
        "parameters": sum(parameter_counts(config).values()),
        "planned": training_flops(config, load.length).total,
        "measured": measured_flops(config, load),
    }


def published_rows() -> list[tuple[str, ...]]:
    """Return what, planned, published, source."""
    rows: list[tuple[str, ...]] = []
    for name, flops in PUBLISHED_FLOPS.items():
        own = 6 * sum(parameter_counts(preset(name)).values()) * PUBLISHED_TOKENS
        rows.append((f"`{name}`, 300 billion tokens, 6 N D", f"{own:.3g}", f"{flops:.3g}", "Brown et al. 2020, table D.1"))
    run = NANOCHAT
    planned = plan(run.config, Workload(2048), find_device("h100"), 8, tokens=run.tokens, mfu=run.mfu)
    source = "[nanochat](https://github.com/karpathy/nanochat), report of its speedrun"
    rows.append(
        ("nanochat, depth 20, FLOPs", f"{planned['training_flops']:.4g}", f"{run.flops_per_token * run.tokens:.4g}", source)
    )
    minutes = planned["time"]["hours"] * 60
    rows.append((f"the same, minutes on 8 x H100 at its MFU of {run.mfu:.2%}", f"{minutes:.0f}", f"{run.minutes:.0f}", source))
    planned = plan(preset("gpt2"), Workload(1024), find_device("a100"), 8, tokens=10e9, mfu=0.6)
    minutes = planned["time"]["hours"] * 60
    source = "[llm.c, discussion 481](https://github.com/karpathy/llm.c/discussions/481)"
    rows.append(("llm.c, GPT-2 124M, 10 billion tokens, minutes on 8 x A100 at 60% MFU", f"{minutes:.0f}", "about 90", source))
    return rows


def plan_quickstart() -> dict[str, Any]:
    """Return what `hf-gpt plan pretrain/quickstart --device cpu` says here."""
    device = find_device("cpu")
    planned = planned_run("pretrain/quickstart", None, 1, True, dict.fromkeys(("length", "rows", "optimizer", "tokens")))
    found = plan(planned.config, planned.load, device, time_run=partial(run_time, planned, device, 1, True))
    precision = "bfloat16" if planned.load.bfloat16 else "float32"
    return {"precision": precision, "minutes": planned.minutes, "time": found["time"]}


def run_rows() -> list[list[str]]:
    """Plans of the quickstart, each beside the run of it that is on record, if that was on such a processor."""
    rows = []
    for precision, folder in (("bfloat16", "quickstart"), ("float32", "quickstart/float32")):
        planned, ran = find_record(f"planning_runs/{precision}"), read_record(ROOT / "model_cards" / folder)
        if planned is None or planned["minutes"] != ran["time_budget"]["minutes"]:
            continue
        kinds = [f"{processor_of(record)}, {record['device']['instructions']}" for record in (planned, ran)]
        if kinds[0] != kinds[1]:
            continue
        time = planned["time"]
        figures = (
            (time["tokens_per_second"], ran["tokens_per_second"], ",.0f"),
            (time["steps"], ran["steps"], ","),
            (60 * time["hours"], ran["training_seconds"] / 60, ".1f"),
        )
        rows.append([f"{precision}, {kinds[0]}", *(f"{value:{form}}" for *pair, form in figures for value in pair)])
    return rows


def page() -> list[str]:
    record = load_record("planning")
    memory, flops = [], []
    for row in record["memory"]:
        kept = "inputs of blocks kept" if row["checkpointing"] else "all kept"
        what = f"{row['name']}, {row['rows']} x {row['length']} tokens, {row['attention']}, {kept}"
        sizes = [f"{row['planned'] / 2**20:.0f}", f"{row['measured'] / 2**20:.0f}", f"{row['planned'] / row['measured']:.3f}"]
        memory.append([what, f"{row['parameters']:,}", *sizes])
    for row in record["flops"]:
        flops.append([row["name"], f"{row['parameters']:,}", f"{row['planned']:,.0f}", f"{row['measured']:,.0f}"])
    return [
        *table(("memory of a process", "parameters", "planned, MiB", "measured, MiB", "ratio"), memory, "lr"),
        "",
        *table(("FLOPs per token", "parameters", "planned", "measured"), flops, "lr"),
        "",
        *([*table(RUN_HEADINGS, rows, "lr"), ""] if (rows := run_rows()) else []),
        *table(("published", "planned", "published", "source"), published_rows(), "lrrl"),
    ]


# Of a table of plans and what then happened: planned, and as the run was.
RUN_HEADINGS = ("quickstart", "tokens/s, planned", "run", "steps, planned", "run", "minutes of training, planned", "run")
SECTIONS = [Section(ROOT / "docs" / "scaling.md", "planning", page)]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", action="store_true", help="plan the quickstart on this processor, and nothing else")


def run(options: argparse.Namespace) -> None:
    if options.runs:
        found = plan_quickstart()
        write_record(f"planning_runs/{found['precision']}", "planning-run", **found)
        return
    few = 1 if options.smoke else None
    with patch.dict(os.environ, ALLOCATOR):
        memory = [apart(memory_row, place) for place in range(len(MEMORY))[:few]]
    write_record("planning", "planning", memory=memory, flops=[flops_row(*row) for row in FLOPS[:few]])
