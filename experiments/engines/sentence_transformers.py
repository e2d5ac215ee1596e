"""Our own folder as an encoder of sentences, by the last hidden state of each, and some steps of training."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
    losses,
)
from transformers import AutoModel, AutoTokenizer

from .job import Job


SENTENCES = ["a list of numbers", "a name in a module", "what an object is worth"]


def measure(job: Job) -> dict[str, Any]:
    model = job.models["modern"]
    encoder = SentenceTransformer(str(model.own), trust_remote_code=True, device="cpu")
    encoder.tokenizer.pad_token = encoder.tokenizer.pad_token or encoder.tokenizer.eos_token
    difference = float(np.abs(encoder.encode(SENTENCES) - last_states(model.own)).max())
    before = encoder.encode(SENTENCES)
    rows = Dataset.from_dict({"anchor": SENTENCES * 4, "positive": [f"this is {text}" for text in SENTENCES] * 4})
    arguments = SentenceTransformerTrainingArguments(
        str(job.scratch("sentences")), max_steps=5, report_to="none", save_strategy="no", logging_steps=1, use_cpu=True
    )
    loss = losses.MultipleNegativesRankingLoss(encoder)
    SentenceTransformerTrainer(encoder, arguments, train_dataset=rows, loss=loss).train()
    moved = float(np.abs(encoder.encode(SENTENCES) - before).max())
    if not (difference < 1e-4 and 0 < moved < 1e3):
        raise SystemExit(f"embeddings differ by {difference}, training moves them by {moved}")
    return {"told": f"the same embeddings within {difference:.1e}; trained"}


@torch.no_grad()
def last_states(folder: Any) -> np.ndarray:
    """Return the same embeddings by our own model, one sentence at a time, so that no padding takes part."""
    ours = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    rows = [ours(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, -1] for text in SENTENCES]
    return torch.stack(rows).numpy()
