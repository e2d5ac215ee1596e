"""Our own folder in a Lightning module: its loss falls."""

from typing import Any

import lightning
import torch
from transformers import AutoModelForCausalLM

from .job import Job


class Module(lightning.LightningModule):
    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        self.losses: list[float] = []

    def training_step(self, ids: torch.Tensor, index: int) -> torch.Tensor:
        loss = self.model(ids, labels=ids).loss
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def measure(job: Job) -> dict[str, Any]:
    told = []
    for model in job.some("gpt1", "gpt2", "gpt3", "modern"):
        module = Module(AutoModelForCausalLM.from_pretrained(model.own, trust_remote_code=True).train())
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        texts: Any = [torch.tensor(model.ids)] * 16
        rows = torch.utils.data.DataLoader(texts, batch_size=2)
        lightning.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=job.scratch("lightning"), **quiet).fit(
            module, rows
        )
        if not module.losses[-1] < module.losses[0]:
            raise SystemExit(f"the loss of {model.name} does not fall: {module.losses}")
        told.append(model.name)
    return {"told": f"trained: {', '.join(told)}"}
