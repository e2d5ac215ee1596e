"""The exporter of transformers for OpenVINO, and its program with a text of another length than the traced one."""

from typing import Any

import numpy as np
import openvino
from transformers.exporters.exporter_openvino import OpenVINOConfig, OpenVINOExporter

from .job import Job, traced


def measure(job: Job) -> dict[str, Any]:
    compared = {}
    for model in job.models.values():
        ours, inputs = traced(model)
        folder = job.scratch("openvino") / model.name
        OpenVINOExporter().export(ours, inputs, config=OpenVINOConfig(dynamic=True)).save_pretrained(folder)
        (path,) = folder.glob("*.xml")
        program = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        ids = np.array([model.ids])
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        found = program({name: given[name] for item in program.inputs for name in item.names if name in given})
        compared[model.name] = model.compare(next(iter(found.values()))[0])
    return {"compared": compared, "told": f"our own folders: {', '.join(compared)}"}
