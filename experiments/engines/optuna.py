"""A search of the stock Trainer over learning rates, each trial from our own folder."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from .job import Job


def measure(job: Job) -> dict[str, Any]:
    model = job.models["modern"]
    rows = [{"input_ids": model.ids, "labels": model.ids}] * 8
    arguments = TrainingArguments(
        str(job.scratch("optuna")), max_steps=4, report_to="none", save_strategy="no", use_cpu=True, disable_tqdm=True
    )
    trainer = Trainer(
        args=arguments,
        model_init=lambda: AutoModelForCausalLM.from_pretrained(model.own, trust_remote_code=True, dtype=torch.float32),
        train_dataset=rows,
        eval_dataset=rows,
    )
    best: Any = trainer.hyperparameter_search(
        lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)},
        n_trials=3,
        direction="minimize",
        backend="optuna",
        compute_objective=lambda metrics: metrics["eval_loss"],
    )
    return {"told": f"trials: 3, the best at {best.hyperparameters['learning_rate']:.1e}"}
