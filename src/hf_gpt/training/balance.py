"""How a mixture of experts is used while it trains: the loss that keeps it in balance, and how many tokens each expert gets."""

from typing import Any

import torch

from ..errors import InputError
from ..modeling.configuration_hf_gpt import GPTConfig
from ..recipe.arguments import Recipe
from ..reports.terminal import notice
from ..tasks import TASKS


# Keys of a row of the log: the loss as a scalar, and for each layer the tokens of each expert, where 1 is an equal share.
AUX_LOSS, EXPERT_USE = "aux_loss", "expert_use"


def check_balance(recipe: Recipe, config: Any, auto_class: str) -> None:
    """Say when the loss of balance that a model was trained with is not added by what trains it further.

    It is where transformers and TRL add it to the loss of a mixture: to that of a language model.

    Raises:
        InputError: the recipe gives it a weight that would weigh nothing, or blocks are checkpointed in the way that loses it.
    """
    coefficient, task = getattr(config, "router_aux_loss_coef", 0), recipe.task.task
    if not coefficient:
        return
    is_causal = auto_class == "AutoModelForCausalLM"
    checkpointing: Any = recipe.training.gradient_checkpointing_kwargs or {}
    # A stock model adds it by itself only where its config says so; TRL adds it to any.
    is_added = is_causal and (task in TASKS or isinstance(config, GPTConfig) or getattr(config, "output_router_logits", False))
    if not is_added:
        told = f"config.router_aux_loss_coef={coefficient}: task={task!r} adds no load-balancing loss to that of {auto_class}"
        if recipe.model.config.get("router_aux_loss_coef"):
            raise InputError(f"{told}: {'set config.output_router_logits=true' if is_causal else 'leave it out'}.")
        notice(f"{told}: experts are trained without it.")
    elif recipe.training.gradient_checkpointing and checkpointing.get("use_reentrant"):
        raise InputError(
            f"config.router_aux_loss_coef={coefficient}: nothing is learned from its loss while blocks are checkpointed with "
            "use_reentrant=true: set it to false."
        )


class ExpertUse:
    """What the steps since the last row of the log have made of their experts; of this process's tokens.

    Args:
        top_k: Experts that a token goes through.
    """

    def __init__(self, top_k: int):
        self.top_k = top_k
        self.counts: torch.Tensor | None = None
        self.losses: list[torch.Tensor] = []

    def add(self, outputs: Any) -> None:
        """Count the outputs of one pass; those of a model that has recorded no scores have nothing to count."""
        scores, aux_loss = outputs.get("router_logits"), outputs.get("aux_loss")
        if not scores or aux_loss is None:
            return
        chosen = torch.stack([layer.detach().topk(self.top_k, dim=-1).indices.flatten() for layer in scores])
        zeros = torch.zeros(len(scores), scores[0].shape[-1], device=chosen.device)
        counts = zeros.scatter_add(1, chosen, torch.ones_like(chosen, dtype=zeros.dtype))
        self.counts = counts if self.counts is None else self.counts + counts
        self.losses.append(aux_loss.detach())

    def take(self) -> tuple[float, list[list[float]]] | None:
        """Return the mean loss and the use of each layer's experts since the last call, or `None` if nothing was counted."""
        if self.counts is None:
            return None
        use = self.counts / self.counts.mean(dim=-1, keepdim=True)
        found = torch.stack(self.losses).mean().item(), [[round(share, 3) for share in layer] for layer in use.tolist()]
        self.counts, self.losses = None, []
        return found
