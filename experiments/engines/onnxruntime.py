"""The exporter of transformers, and the file it writes in onnxruntime, with a text of another length than the traced one."""

from typing import Any

import numpy as np
import onnxruntime
import torch
from transformers import AutoModelForCausalLM
from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

from .job import Job


def measure(job: Job) -> dict[str, Any]:
    compared = {}
    for model in job.models.values():
        # Without a cache, so that ids and mask are all that goes in.
        ours = AutoModelForCausalLM.from_pretrained(model.own, trust_remote_code=True, use_cache=False).eval()
        traced: dict[str, Any] = {
            "input_ids": torch.randint(2, 100, (2, 7)),
            "attention_mask": torch.ones(2, 7, dtype=torch.long),
        }
        folder = job.scratch("onnxruntime") / model.name
        OnnxExporter().export(ours, traced, config=OnnxConfig(dynamic=True)).save_pretrained(folder)
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
        ids = np.array([model.ids])
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        (logits,) = session.run(["logits"], {item.name: given[item.name] for item in session.get_inputs()})
        compared[model.name] = model.compare(logits[0])
    return {"compared": compared, "told": f"our own folders: {', '.join(compared)}"}
