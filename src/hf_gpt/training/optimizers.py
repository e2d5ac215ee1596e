"""Muon for the matrices of the blocks and AdamW for everything else, as one optimizer that `Trainer` can drive."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.conv import _ConvNd
from torch.optim import AdamW, Optimizer
from transformers.pytorch_utils import Conv1D

from ..errors import InputError
from ..planning import hardware


MATRICES, EMBEDDINGS, HEAD, REST = "matrices", "embeddings", "head", "rest"
# Coefficients, rounds and the least norm of Newton-Schulz, as in `torch.optim.Muon` (Jordan et al. 2024).
A, B, C = 3.4445, -4.7750, 2.0315
ROUNDS, LEAST_NORM = 5, 1e-7
# Of matrices that are this many times as long as wide, the small square products take fewer FLOPs than those with the whole matrix.
LONG = 1.5
# A stack needs about four times its bytes while it is orthogonalised. This much keeps every kernel of an H100 busy, and is little
# beside a model that is large enough to fill it.
STACK_BYTES = 2**28


def find_blocks(model: nn.Module) -> list[str]:
    """Return names of the outermost lists of blocks, such as `model.layers` or `transformer.h`: lists of modules that hold modules."""
    found: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, (nn.ModuleList, nn.Sequential)) or any(name.startswith(f"{outer}.") for outer in found):
            continue
        if len(module) and all(next(block.children(), None) is not None for block in module):
            found.append(name)
    return found


def group_parameters(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Sort the trainable parameters by what they do.

    Returns:
        `matrices`: the weights of the blocks with two dimensions, or with three where a mixture of experts stacks its own;
        `embeddings`: token and position tables, and with them a tied output matrix; `head`: matrices outside the blocks; `rest`:
        norms, biases and whatever else multiplies no vector.
    """
    # What an adapter trains for a table is in the layer that it puts around it.
    tables = {
        id(parameter)
        for module in model.modules()
        if isinstance(getattr(module, "base_layer", module), nn.Embedding)
        for parameter in module.parameters()
    }
    filters = {
        id(parameter) for module in model.modules() if isinstance(module, _ConvNd) for parameter in module.parameters(False)
    }
    blocks = tuple(f"{name}." for name in find_blocks(model))
    groups: dict[str, list[nn.Parameter]] = {MATRICES: [], EMBEDDINGS: [], HEAD: [], REST: []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_in_block = name.startswith(blocks)
        # The biases of experts are stacked to a table, and a state space model keeps its decay rates in one.
        is_matrix = parameter.ndim == 2 and (not is_in_block or name.endswith("weight"))
        is_stack = parameter.ndim == 3 and is_in_block and id(parameter) not in filters and not name.endswith("bias")
        if id(parameter) in tables:
            groups[EMBEDDINGS].append(parameter)
        elif not is_matrix and not is_stack:
            groups[REST].append(parameter)
        else:
            groups[MATRICES if is_in_block else HEAD].append(parameter)
    return groups


def find_transposed(model: nn.Module) -> set[int]:
    """Return ids of the weights of shape `(..., inputs, outputs)`, where `nn.Linear` has `(outputs, inputs)`.

    They are those of `Conv1D`, as in GPT-2, and of stacked experts that multiply from the right, as in gpt-oss and Llama 4: some of
    these say so in `is_transposed`, and all by their shapes, since the gate and the value are side by side.
    """
    found: set[int] = set()
    for module in model.modules():
        own = dict(module.named_parameters(recurse=False))
        is_transposed = isinstance(module, Conv1D)
        if {"gate_up_proj", "down_proj"} <= set(own):
            is_transposed = own["gate_up_proj"].shape[-1] == 2 * own["down_proj"].shape[-2]
        if is_transposed:
            found.update(map(id, own.values()))
    return found


def ties_head(model: Any) -> bool:
    """Return whether what is trained of the token table is the output matrix's, too."""
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if output is None:
        return False
    table = {id(parameter) for parameter in model.get_input_embeddings().parameters() if parameter.requires_grad}
    return any(id(parameter) in table for parameter in output.parameters())


def orthogonalize_(stack: torch.Tensor) -> None:
    """Replace each matrix of a stack by a nearby one whose singular values are all about 1, by Newton-Schulz (Jordan et al. 2024).

    In bfloat16 each comes out as `torch.optim.Muon` makes it.
    """
    norms = torch.stack(torch._foreach_norm(list(stack.unbind()))).clamp_(min=LEAST_NORM)
    stack.div_(norms[:, None, None])
    is_tall = stack.shape[-2] > stack.shape[-1]
    found = stack.mT if is_tall else stack
    rows, columns = found.shape[-2:]
    if stack.dtype == torch.float32 and columns >= LONG * rows:
        found = _rounds_of_gram(found @ found.mT) @ found
    else:
        for _ in range(ROUNDS):
            gram = found @ found.mT
            gram = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
            found = torch.baddbmm(found, gram, found, beta=A)
    stack.copy_(found.mT if is_tall else found)


def _rounds_of_gram(gram: torch.Tensor) -> torch.Tensor:
    """Return what all rounds together multiply matrices X with from the left, from X X^T alone.

    With G = X X^T and Q = A I + B G + C G^2, a round makes Q X of X, and so Q G Q of G: all of them are functions of the first G, and
    commute. In bfloat16 they would round otherwise than `torch.optim.Muon` does.
    """
    product = None
    for number in range(ROUNDS):
        factor = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
        factor.diagonal(dim1=-2, dim2=-1).add_(A)
        product = factor if product is None else factor @ product
        if number < ROUNDS - 1:
            gram = factor @ gram @ factor
    assert product is not None
    return product


def _local(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This process's part of a tensor that is split as another is."""
    if isinstance(tensor, DTensor) and isinstance(like, DTensor):
        return tensor.redistribute(placements=like.placements).to_local()
    return tensor


def _whole(part: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if isinstance(like, DTensor):
        made = DTensor.from_local(part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())
        return made.full_tensor()
    return part


def _part(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if isinstance(like, DTensor):
        # Every process has the same whole: each takes its part of its own.
        return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None).to_local()
    return whole


class Muon(Optimizer):
    """Muon (Jordan et al. 2024) for the matrices of a model's blocks, AdamW (Loshchilov and Hutter 2019) for everything else.

    ```python
    Trainer(model, arguments, optimizers=(hf_gpt.Muon(model, lr=0.02), None), ...)
    ```

    Any architecture of transformers will do: blocks are found by their structure, and so are matrices that are stored transposed, as
    GPT-2's (`find_transposed`), which move as far as if they were those of `nn.Linear`. A step is that of `torch.optim.Muon`, but
    takes all matrices of one shape at once, and makes its products in float32 where the device of a parameter emulates bfloat16.
    Matrices that FSDP2 or tensor parallelism have split are gathered, a stack at a time.

    Args:
        model (`nn.Module`): Whose trainable parameters are sorted into `matrices`, `embeddings`, `head` and `rest`; see
            `group_parameters`.
        lr (`float`): Of the matrices.
        embedding_lr (`float`, *optional*): Of token and position tables; 5 `lr` by default, or 1.5 `lr` where the output matrix is
            tied to one.
        head_lr (`float`, *optional*): Of matrices outside the blocks; `lr` / 5 by default.
        rest_lr (`float`, *optional*): Of norms and biases; `lr` / 2 by default.
        weight_decay (`float`): Of the matrices. It acts on nothing else: the embeddings of rare tokens would shrink between their
            few gradients.
        betas (`tuple[float, float]`), eps (`float`): Of AdamW.
        momentum (`float`): Of Muon.

    Raises:
        InputError: no matrix of a block is trained, `model` is none, or a number is outside of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float = 0.02,
        *,
        embedding_lr: float | None = None,
        head_lr: float | None = None,
        rest_lr: float | None = None,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-10,
        momentum: float = 0.95,
    ):
        if not isinstance(model, nn.Module):
            raise InputError(
                f"model is {type(model).__name__}, and no module: give the model itself, whose blocks are found by its structure, and "
                "not its parameters."
            )
        given = {"lr": lr, "embedding_lr": embedding_lr, "head_lr": head_lr, "rest_lr": rest_lr, "weight_decay": weight_decay}
        # Comparisons that a NaN fails, too.
        for name, value in given.items():
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"{name}={value} must be at least 0, and finite.")
        for name, value in (("momentum", momentum), *zip(("betas[0]", "betas[1]"), betas)):
            if not 0 <= value < 1:
                raise InputError(f"{name}={value} must be at least 0 and below 1.")
        if not 0 <= eps < math.inf:
            raise InputError(f"eps={eps} must be at least 0, and finite.")
        groups = group_parameters(model)
        if not groups[MATRICES]:
            raise InputError(
                f"optimizer=muon: no matrix inside the repeated blocks of {type(model).__name__} is trained, and for everything else "
                "Muon is AdamW: use adamw."
            )
        rates = {
            EMBEDDINGS: (1.5 if ties_head(model) else 5) * lr if embedding_lr is None else embedding_lr,
            HEAD: lr / 5 if head_lr is None else head_lr,
            REST: lr / 2 if rest_lr is None else rest_lr,
        }
        transposed = find_transposed(model)
        # In groups, since FSDP2 and a copy put other parameters in the places of these.
        by_layout = [[p for p in groups[MATRICES] if (id(p) in transposed) is layout] for layout in (False, True)]
        options = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "half": "muon"}
        matrices = [
            {"params": by_layout[layout], **options, "is_transposed": layout} for layout in (False, True) if by_layout[layout]
        ]
        others = [{"params": groups[name], "lr": rate, "half": "adamw"} for name, rate in rates.items() if groups[name]]
        # It works on the very dictionaries that this optimizer shows as its `param_groups` and `state`, so that schedulers, gradient
        # clipping and checkpoints see one ordinary optimizer.
        self.adamw = AdamW(others, lr=lr, betas=betas, eps=eps, weight_decay=0.0) if others else None
        # Schedules with a floor read `lr` here and give every group the same share of its own rate.
        super().__init__([*matrices, *(self.adamw.param_groups if self.adamw else [])], {"lr": lr})
        self._share()

    def _share(self) -> None:
        if self.adamw is not None:
            self.adamw.param_groups = [group for group in self.param_groups if group["half"] == "adamw"]
            self.adamw.state = self.state

    def __getstate__(self) -> dict[str, Any]:
        # A copy has both halves, which go on sharing what they share here.
        return {**super().__getstate__(), "adamw": self.adamw}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.adamw is not None and not self.state:
            # `Trainer` may have moved the model since this was made.
            for group in self.adamw.param_groups:
                group["fused"] = _is_fused(group["params"])
        for group in self.param_groups:
            if group["half"] == "muon":
                for parameters, dtype in _stacks(group["params"]):
                    self._step_stack(parameters, dtype, group)
        if self.adamw is not None:
            self.adamw.step()
        return loss

    def _step_stack(self, parameters: list[Any], dtype: torch.dtype, group: dict[str, Any]) -> None:
        """Update parameters of one shape, as `torch.optim.Muon` does each."""
        momentum, rate = group["momentum"], float(group["lr"])
        buffers = []
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter.grad)
            buffers.append(_local(self.state[parameter]["momentum_buffer"], parameter))
        gradients = [_local(parameter.grad, parameter) for parameter in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        updates = list(torch._foreach_lerp(gradients, buffers, momentum))

        first = parameters[0]
        stack = torch.empty((len(parameters), *first.shape), dtype=dtype, device=gradients[0].device)
        for place, update, parameter in zip(stack.unbind(), updates, parameters):
            place.copy_(_whole(update, parameter))
        del updates
        rows, columns = first.shape[-2:]
        # An expert's matrices are one parameter, and may be more than one stack.
        for part in stack.view(-1, rows, columns).split(_fitting(rows * columns * dtype.itemsize)):
            orthogonalize_(part)

        weights = [_local(parameter, parameter) for parameter in parameters]
        if group["weight_decay"]:
            torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
        steps = [_part(whole, parameter) for whole, parameter in zip(stack.unbind(), parameters)]
        # A checkpoint that was saved without the key goes on as it began.
        outputs, inputs = (columns, rows) if group.get("is_transposed") else (rows, columns)
        torch._foreach_add_(weights, steps, alpha=-rate * math.sqrt(max(1, outputs / inputs)))


def _fitting(size: int) -> int:
    return max(1, STACK_BYTES // size)


def _stacks(parameters: list[Any]) -> Iterator[tuple[list[Any], torch.dtype]]:
    """Parameters with gradients, sorted by shape and cut into stacks of at most `STACK_BYTES`, with the type of their products."""
    by_kind: dict[Any, list[Any]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            kind = (parameter.shape, parameter.device, parameter.dtype, parameter.grad.dtype)
            by_kind.setdefault(kind, []).append(parameter)
    for (shape, device, *_), alike in by_kind.items():
        is_native = hardware.multiplies_natively(torch.bfloat16, device.type)
        dtype = torch.bfloat16 if is_native else torch.float32
        most = _fitting(shape.numel() * dtype.itemsize)
        for start in range(0, len(alike), most):
            yield alike[start : start + most], dtype


def _is_fused(parameters: Iterable[torch.Tensor]) -> bool | None:
    """Return whether AdamW runs as one kernel: on a GPU, where torch would run one for each operation on all tensors."""
    return True if all(parameter.is_cuda for parameter in parameters) else None


def adamw(
    model: nn.Module,
    lr: float,
    *,
    embedding_lr: float,
    head_lr: float,
    rest_lr: float,
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
) -> Optimizer:
    """Return AdamW with the four groups of `Muon`."""
    groups = group_parameters(model)
    rates = {MATRICES: lr, EMBEDDINGS: embedding_lr, HEAD: head_lr, REST: rest_lr}
    decays = {MATRICES: weight_decay}
    return AdamW(
        [
            {"params": groups[name], "lr": rate, "weight_decay": decays.get(name, 0.0)}
            for name, rate in rates.items()
            if groups[name]
        ],
        lr=lr,
        betas=betas,
        eps=eps,
        fused=_is_fused(model.parameters()),
    )


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"muon": Muon, "adamw": adamw}
