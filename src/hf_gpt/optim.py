"""Muon for the matrices of the blocks and AdamW for everything else, as one optimizer that `Trainer` can drive."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer


MATRICES, EMBEDDINGS, HEAD, REST = "matrices", "embeddings", "head", "rest"


def group_parameters(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The trainable parameters by what they do.

    Returns:
        `matrices`: the 2-D weights of the hidden layers; `embeddings`: token and position tables, and with them a tied output
        matrix; `head`: 2-D weights outside the blocks; `rest`: norms and biases.
    """
    tables = {
        id(parameter) for module in model.modules() if isinstance(module, nn.Embedding) for parameter in module.parameters()
    }
    groups: dict[str, list[nn.Parameter]] = {MATRICES: [], EMBEDDINGS: [], HEAD: [], REST: []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in tables:
            groups[EMBEDDINGS].append(parameter)
        elif parameter.ndim != 2:
            groups[REST].append(parameter)
        elif ".layers." in f".{name}":
            groups[MATRICES].append(parameter)
        else:
            groups[HEAD].append(parameter)
    return groups


class MuonWithAdamW(Optimizer):
    """`torch.optim.Muon` (Jordan et al. 2024) and `torch.optim.AdamW` (Loshchilov and Hutter 2019) under one `step`.

    Both halves work on the very dictionaries that this optimizer shows as its `param_groups` and `state`, so schedulers, gradient
    clipping and checkpoints see one ordinary optimizer.

    Args:
        muon_groups, adamw_groups (`list[dict]`): Parameter groups; each may set its own `lr` and `weight_decay`.
        muon_options, adamw_options: What all groups of one half share.
    """

    def __init__(
        self,
        muon_groups: list[dict[str, Any]],
        adamw_groups: list[dict[str, Any]],
        muon_options: dict[str, Any],
        adamw_options: dict[str, Any],
    ):
        self.muon = Muon([{**group, "half": "muon"} for group in muon_groups], **muon_options)
        self.adamw = AdamW([{**group, "half": "adamw"} for group in adamw_groups], **adamw_options)
        super().__init__([*self.muon.param_groups, *self.adamw.param_groups], {})
        self._share()

    def _share(self) -> None:
        for half, optimizer in (("muon", self.muon), ("adamw", self.adamw)):
            optimizer.param_groups = [group for group in self.param_groups if group["half"] == half]
            optimizer.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.muon.step()
        self.adamw.step()
        return loss


def _filled(groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [group for group in groups if group["params"]]


@dataclass(frozen=True)
class OptimizerSettings:
    """What both optimizers are told.

    Args:
        lr, weight_decay: Of the matrices. Weight decay acts on nothing else: the embeddings of rare tokens would shrink between
            their few gradients.
        embedding_lr, head_lr, rest_lr: Learning rates of the other groups of `group_parameters`.
        betas, eps: Of AdamW.
        momentum: Of Muon.
    """

    lr: float
    weight_decay: float
    embedding_lr: float
    head_lr: float
    rest_lr: float
    betas: tuple[float, float]
    eps: float
    momentum: float


def _other_groups(groups: dict[str, list[nn.Parameter]], settings: OptimizerSettings) -> list[dict[str, Any]]:
    return [
        {"params": groups[EMBEDDINGS], "lr": settings.embedding_lr},
        {"params": groups[HEAD], "lr": settings.head_lr},
        {"params": groups[REST], "lr": settings.rest_lr},
    ]


def muon(model: nn.Module, settings: OptimizerSettings) -> Optimizer:
    """Muon for the matrices of the blocks, AdamW for the other three groups."""
    groups = group_parameters(model)
    return MuonWithAdamW(
        _filled([{"params": groups[MATRICES], "lr": settings.lr}]),
        _filled(_other_groups(groups, settings)),
        {"momentum": settings.momentum, "weight_decay": settings.weight_decay},
        {"betas": settings.betas, "eps": settings.eps, "weight_decay": 0.0},
    )


def adamw(model: nn.Module, settings: OptimizerSettings) -> Optimizer:
    """AdamW with the same four groups and learning rates."""
    groups = group_parameters(model)
    matrices = {"params": groups[MATRICES], "lr": settings.lr, "weight_decay": settings.weight_decay}
    all_groups = _filled([matrices, *_other_groups(groups, settings)])
    return AdamW(all_groups, betas=settings.betas, eps=settings.eps, weight_decay=0.0)


OPTIMIZERS: dict[str, Callable[[nn.Module, OptimizerSettings], Optimizer]] = {"muon": muon, "adamw": adamw}
