"""The exporter of transformers, and the file it writes in onnxruntime, with a text of another length than the traced one."""

from typing import Any

import numpy as np
import onnxruntime
from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

from .job import Job, traced


def measure(job: Job) -> dict[str, Any]:
    compared = {}
    for model in job.models.values():
        ours, inputs = traced(model)
        folder = job.scratch("onnxruntime") / model.name
        OnnxExporter().export(ours, inputs, config=OnnxConfig(dynamic=True)).save_pretrained(folder)
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
        ids = np.array([model.ids])
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        (logits,) = session.run(["logits"], {item.name: given[item.name] for item in session.get_inputs()})
        compared[model.name] = model.compare(logits[0])
    return {"compared": compared, "told": f"our own folders: {', '.join(compared)}"}
