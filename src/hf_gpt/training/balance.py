"""How a mixture of experts is used while it trains: the loss that keeps it in balance, and how many tokens each expert gets."""

from typing import Any

import torch


# Keys of a row of the log: the loss as a scalar, and for each layer the tokens of each expert, where 1 is an equal share.
AUX_LOSS, EXPERT_USE = "aux_loss", "expert_use"


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
