"""The smallest run that has everything of a large one, for measurements that are about the run and not about the model."""

import json
import pydoc_data.topics
from pathlib import Path
from typing import Any


def reference_sections() -> list[str]:
    """Real English that every CPython carries: the sections of the language reference."""
    topics = pydoc_data.topics.topics
    return [text for topic in sorted(topics) for text in topics[topic].split("\n\n") if len(text) > 80]


def write_corpus(path: Path) -> None:
    """The language reference, a section a line of JSON."""
    path.write_text("".join(json.dumps({"body": section}) + "\n" for section in reference_sections()), encoding="utf-8")


def write_labelled(path: Path) -> None:
    """Sentences of two classes that a word tells apart."""
    rows = [{"text": f"Film {i} is {('bad', 'good')[i % 2]}, all of it.", "label": i % 2} for i in range(200)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def recipe_values(corpus: Path, output_dir: Path, **changes: Any) -> dict[str, Any]:
    """Return a recipe of seconds on one core: dropout, so that every step draws random numbers; Muon beside AdamW; a rate
    that changes and does not end at zero, where one step too many would not be seen."""
    return {
        "preset": "modern-5m",
        "config": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "intermediate_size": 64,
            "max_position_embeddings": 64,
            "resid_dropout": 0.1,
        },
        "dataset": {"path": "json", "files": str(corpus), "text_column": "body"},
        "tokenizer_vocab_size": 320,
        "block_size": 32,
        "max_eval_blocks": 64,
        "preprocessing_workers": 1,
        "output_dir": str(output_dir),
        "max_steps": 60,
        "per_device_train_batch_size": 8,
        "optimizer": "muon",
        "learning_rate": 0.02,
        "embedding_learning_rate": 0.01,
        "lr_scheduler_type": "inverse_sqrt",
        "logging_steps": 10,
        "eval_strategy": "steps",
        "eval_steps": 20,
        "save_steps": 10,
        "save_total_limit": 2,
        "report_to": "none",
        "prediction_loss_only": True,
        "sample_prompts": [],
        "use_cpu": True,
        **changes,
    }


def tiny_overrides(corpus: Path) -> list[str]:
    """Return what makes a packaged recipe for pretraining one of seconds, for `--smoke`."""
    return [
        f"dataset={{path: json, files: {corpus}, text_column: body, limit: 1500}}",
        "tokenizer_vocab_size=320",
        "block_size=32",
        "max_eval_blocks=8",
        "max_steps=4",
        "per_device_train_batch_size=4",
        "warmup_steps=1",
        "logging_steps=1",
        "eval_steps=4",
        "save_steps=4",
        "sample_tokens=8",
        "preprocessing_workers=1",
        "bf16=false",
        "use_cpu=true",
        "report_to=none",
    ]
