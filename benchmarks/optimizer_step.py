"""The step of the quickstart's optimizer beside its forward and backward pass, as a run on this processor makes them.

Writes benchmarks/records/optimizer_step/bfloat16.json, or float32.json where bfloat16 would be emulated.
"""

import argparse
from typing import Any

import torch

import hf_gpt
from hf_gpt.training.optimizers import OPTIMIZERS
from hf_gpt.training.planned_run import planned_run

from .frame import write_record
from .pairs import alternate, ratio


PRECISIONS = ("bfloat16", "float32")
RATES: dict[str, Any] = dict.fromkeys(("lr", "embedding_lr", "head_lr", "rest_lr"), 1e-3)
RATES |= {"weight_decay": 0.0, "betas": (0.9, 0.95), "eps": 1e-10}


def measure(rounds: int, is_smoke: bool) -> dict[str, Any]:
    planned = planned_run("pretrain/quickstart", None, 1, True, dict.fromkeys(("length", "rows", "optimizer", "tokens")))
    load = planned.load
    torch.manual_seed(0)
    planned.config.fused_loss = True
    model = hf_gpt.GPTForCausalLM._from_config(planned.config, attn_implementation=load.attention).train()
    optimizer = OPTIMIZERS[load.optimizer](model, **RATES)
    batch = [1, 32] if is_smoke else [load.rows, load.length]
    ids = torch.randint(planned.config.vocab_size, batch)
    called: Any = torch.compile(model) if planned.is_compiled else model

    def training_pass() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=load.bfloat16):
            loss = called(ids, labels=ids).loss
        loss.backward()

    training_pass()
    seconds = alternate({"pass": training_pass, "optimizer": optimizer.step}, rounds)
    return {
        "optimizer": load.optimizer,
        "precision": PRECISIONS[0] if load.bfloat16 else PRECISIONS[1],
        "compiled": planned.is_compiled,
        "attention": load.attention,
        "parameters": model.num_parameters(),
        "batch": batch,
        "seconds": seconds,
        "share": ratio(seconds["optimizer"], seconds["pass"]),
    }


def run(options: argparse.Namespace) -> None:
    # Compiling takes longer than all else that a smoke does.
    torch._dynamo.config.disable = options.smoke
    found = measure(2 if options.smoke else 40, options.smoke)
    print(found["precision"], found["share"], flush=True)
    write_record(f"optimizer_step/{found['precision']}", "optimizer-step", **found)
