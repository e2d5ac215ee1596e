"""One system on the device, in a process of its own: it compiles beside the others and is alone while it is timed."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch.profiler import ProfilerActivity, profile
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, default_data_collator

from hf_gpt.recipe.parser import load_recipe
from hf_gpt.training import pretraining
from hf_gpt.training.run import run

from ..speed.corpus import Blocks
from .parts import parts
from .systems import ENTRIES, SYSTEMS, Entry, Load, device, flops_per_token, muon, on_gpu, ours, synchronize


def now() -> float:
    synchronize()
    return time.perf_counter()


class StepTimes(TrainerCallback):
    """Seconds of the first step, beside other processes, and then of steps that follow each other, alone on the device.

    The device is waited for before and after those, and not in between: what `Trainer` and a loader do meanwhile costs nothing there.
    """

    def __init__(self, lock: FileLock, warm_up: int):
        self.lock, self.warm_up = lock, warm_up
        self.first = 0.0
        self.optimizer_seconds: list[float] = []
        self.seconds = 0.0
        self._since = self._optimizer_since = 0.0
        self._steps = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._since = now()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Of a few steps only, since the others are not to be stopped in the middle.
        if self._is_stopped(state.global_step):
            self._optimizer_since = now()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._is_stopped(state.global_step):
            self.optimizer_seconds.append(now() - self._optimizer_since)

    def _is_stopped(self, step: int) -> bool:
        return self.warm_up // 2 <= step < self.warm_up

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step = state.global_step
        if step == 1:
            self.first = now() - self._since
        if step == max(self.warm_up // 2, 1) and not self.lock.is_locked:
            self.lock.acquire()
        if step == self.warm_up:
            self._since = now()
        self._steps = step - self.warm_up

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds = now() - self._since
        self.lock.release(force=True)

    def figures(self, tokens: int) -> dict[str, Any]:
        """Return what is told of steps of so many tokens each."""
        step = self.seconds / self._steps
        figures = {"tokens_per_second": tokens / step, "step_seconds": step, "first_step_seconds": self.first}
        if self.optimizer_seconds:
            figures["optimizer_seconds"] = statistics.median(self.optimizer_seconds)
        return figures


def drawn(load: Load, rows: int) -> np.ndarray:
    return np.random.default_rng(0).integers(load.vocabulary, size=(rows, load.length), dtype=np.uint16)


def through_trainer(name: str, entry: Entry, load: Load, lock: FileLock) -> dict[str, Any]:
    torch.manual_seed(0)
    model = entry.build(load).to(device())
    total, batch = load.warm_up + load.steps, load.batch * entry.times
    times = StepTimes(lock, load.warm_up)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=total,
            per_device_train_batch_size=batch,
            bf16=True,
            torch_compile=entry.compiled and on_gpu(),
            use_cpu=not on_gpu(),
            logging_steps=total,
            logging_nan_inf_filter=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(
            model,
            arguments,
            train_dataset=Blocks(drawn(load, total * batch)),
            data_collator=default_data_collator,
            callbacks=[times],
            optimizers=(entry.optimizer(model), None),
        )
        trainer.remove_callback(PrinterCallback)
        loss = trainer.train().training_loss
        with lock:
            spent = kernels(trainer)
    return {
        **times.figures(batch * load.length),
        "batch": batch,
        "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu() else None,
        "loss": loss,
        "flops_per_token": flops_per_token(name, load),
        "profile": spent,
    }


def kernels(trainer: Trainer) -> list[dict[str, Any]]:
    """Return where one more forward and backward pass spends its time: the ten operations that take most."""
    batch = next(iter(trainer.get_train_dataloader()))
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu() else [])]
    with profile(activities=activities) as profiled:
        trainer.training_step(trainer.model_wrapped, batch)
    clock = "self_device_time_total" if on_gpu() else "self_cpu_time_total"
    events = profiled.key_averages()
    spent = [{"name": event.key, "calls": event.count, "seconds": getattr(event, clock) / 1e6} for event in events]
    return sorted(spent, key=lambda event: -event["seconds"])[:10]


def bare_loop(load: Load, lock: FileLock) -> dict[str, Any]:
    """`modern-124m` with Muon in ten lines: nothing of a loader, of guards or of callbacks."""
    torch.manual_seed(0)
    model = ours("modern-124m")(load).to(device()).train()
    compiled = torch.compile(model) if on_gpu() else model
    optimizer = muon(model)
    ids = torch.from_numpy(drawn(load, load.batch).astype(np.int64)).to(device())
    begun = now()
    for step in range(load.warm_up + load.steps):
        if step == load.warm_up:
            lock.acquire()
            begun = now()
        with torch.autocast(device(), torch.bfloat16):
            loss = compiled(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step == 0:
            first = now() - begun
    step_seconds = (now() - begun) / load.steps
    lock.release()
    return {"tokens_per_second": ids.numel() / step_seconds, "step_seconds": step_seconds, "first_step_seconds": first}


def by_command(load: Load, lock: FileLock, text: Path) -> dict[str, Any]:
    """`hf-gpt train pretrain/modern-124m` on a text, as it is but for the length of a step and of the run."""
    times = StepTimes(lock, load.warm_up)
    module: Any = pretraining
    build = module.build_trainer

    def build_timed(*arguments: Any) -> Any:
        trainer = build(*arguments)
        trainer.add_callback(times)
        return trainer

    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            f"dataset={{path: text, files: {text}, sample_by: document}}",
            "tokenizer=null",
            f"tokenizer_vocab_size={min(ENTRIES, load.vocabulary)}",
            f"config.vocab_size={load.vocabulary}",
            f"config.num_hidden_layers={load.layers}",
            f"block_size={load.length}",
            f"max_steps={load.warm_up + load.steps}",
            f"per_device_train_batch_size={load.batch}",
            "gradient_accumulation_steps=1",
            "dataloader_num_workers=0",
            f"torch_compile={str(on_gpu()).lower()}",
            *("eval_strategy=no", "save_strategy=no", "max_eval_blocks=2", "sample_prompts=[]", "report_to=none"),
            "logging_steps=1000",
            f"output_dir={folder}/run",
        ]
        # The trainer of the rehearsal has it, too, and trains nothing.
        module.build_trainer = build_timed
        try:
            run(load_recipe("pretrain/modern-124m", overrides))
        finally:
            module.build_trainer = build
    return {**times.figures(load.batch * load.length), "batch": load.batch}


def measured(name: str, load: Load, lock: FileLock, text: Path) -> dict[str, Any]:
    if name in SYSTEMS:
        return through_trainer(name, SYSTEMS[name], load, lock)
    others: dict[str, Callable[[], dict[str, Any]]] = {
        "bare loop": lambda: bare_loop(load, lock),
        "hf-gpt train": lambda: by_command(load, lock, text),
        "parts": lambda: parts(load, lock),
    }
    return others[name]()
