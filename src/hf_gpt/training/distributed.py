"""How a launcher spreads a run over processes, and what of it a run cannot be spread with. Nothing here sets a hyperparameter."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import ParallelismConfig, PartialState
from accelerate.utils import DistributedType
from accelerate.utils.environment import parse_flag_from_env
from torch import nn
from transformers import PreTrainedModel
from transformers.distributed.configuration_utils import DistributedConfig

from ..errors import InputError, counted
from ..reports.terminal import notice


Strategy = Literal["one process", "ddp", "fsdp2", "hsdp", "tensor parallel", "deepspeed"]


@dataclass(frozen=True)
class Launch:
    """What `accelerate launch` or `torchrun` started.

    Args:
        strategy: How model and batch are spread.
        processes: One for each device.
        tensor_parallel: Processes that share each batch, with a part of each matrix.
        recomputes: Whether FSDP makes activations again for the gradients.
    """

    strategy: Strategy
    processes: int
    tensor_parallel: int = 1
    recomputes: bool = False

    @property
    def batches(self) -> int:
        """Batches that a step reads at the same time."""
        return self.processes // self.tensor_parallel

    def reader(self, process: int) -> tuple[int, int]:
        """Return which of the batches of a step a process reads, and how many there are."""
        return process // self.tensor_parallel, self.batches

    @property
    def allows_direct_weight_access(self) -> bool:
        """Whether code outside of a layer may use that layer's weight: not where only a call brings its parts together."""
        return self.strategy not in ("tensor parallel", "deepspeed")


def read_launch(processes: int) -> Launch:
    """Return what the launcher left in the environment, which is accelerate's own way of handing it over.

    Raises:
        InputError: a combination that no run of ours can be spread by.
    """
    sizes = ParallelismConfig()
    if processes == 1:
        return Launch("one process", 1)
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
        return Launch("deepspeed", processes)
    if parse_flag_from_env("ACCELERATE_USE_FSDP"):
        if os.environ.get("FSDP_VERSION", "1") != "2":
            raise InputError("fsdp_version: 1 is deprecated by accelerate and not run here: set fsdp_version: 2.")
        if sizes.tp_size > 1:
            raise InputError(
                f"tp_size={sizes.tp_size} together with FSDP is not run here: use recipes/accelerate/tensor-parallel.yaml within a "
                "node, or fsdp2.yaml or hsdp.yaml across nodes."
            )
        recomputes = parse_flag_from_env("FSDP_ACTIVATION_CHECKPOINTING")
        return Launch("hsdp" if sizes.dp_replicate_size > 1 else "fsdp2", processes, recomputes=recomputes)
    if sizes.tp_size > 1:
        if sizes.tp_size != processes:
            raise InputError(
                f"tp_size={sizes.tp_size} over {counted(processes, 'processes')}: tensor parallelism alone takes all of "
                "them; start as many, or use recipes/accelerate/hsdp.yaml for more devices."
            )
        return Launch("tensor parallel", processes, sizes.tp_size)
    return Launch("ddp", processes)


def share_processors(launch: Launch, state: PartialState) -> None:
    """Let processes without accelerators be sharded as those with them are, so that a launch can be tried before it is paid for.

    accelerate (to 1.15) looks at FSDP and tensor parallelism only where it counts several accelerators; on processors it would train
    by DDP in place of FSDP without a word, and refuse tensor parallelism. torch and gloo can do both.

    Raises:
        InputError: weights are to be moved off accelerators, of which there are none.
    """
    is_sharded = launch.strategy in ("fsdp2", "hsdp", "tensor parallel")
    if is_sharded and state.distributed_type == DistributedType.MULTI_CPU:
        if parse_flag_from_env("FSDP_OFFLOAD_PARAMS"):
            raise InputError(
                "fsdp_offload_params moves weights from accelerators to the host, and there is no accelerator: use "
                "recipes/accelerate/fsdp2.yaml."
            )
        state.distributed_type = DistributedType.MULTI_GPU


def check_model(launch: Launch, model: nn.Module) -> None:
    """Raise `InputError` for dropout under FSDP's own checkpointing, which draws another mask when it makes activations again."""
    probabilities = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    probabilities.append(getattr(getattr(model, "config", None), "attention_dropout", 0.0))
    if launch.recomputes and max(probabilities) > 0:
        raise InputError(
            f"fsdp_activation_checkpointing with a dropout of {max(probabilities)} gives wrong gradients, since accelerate does not "
            "keep the random state: leave dropout out, or use recipes/accelerate/fsdp2.yaml with gradient_checkpointing: true in the "
            "recipe."
        )


def check_optimizer(launch: Launch, optimizer: str) -> None:
    """Raise `InputError` for an optimizer that needs whole matrices where there are none."""
    if optimizer == "muon" and launch.strategy == "deepspeed":
        raise InputError(
            "optimizer=muon needs matrices, which DeepSpeed cuts into flat pieces: use adamw, or launch with ddp.yaml, fsdp2.yaml, "
            "hsdp.yaml or tensor-parallel.yaml of recipes/accelerate."
        )


def split_matrices(model: PreTrainedModel, launch: Launch, folder: Path, state: PartialState) -> PreTrainedModel:
    """Return the model with its part of each matrix in each process.

    transformers splits what it loads, so the first process writes the weights for all to load.

    Args:
        folder: Where all processes can read; it is removed afterwards.
    """
    is_whole = set(getattr(model.config, "base_model_tp_plan", None) or {}) <= {"embed_tokens"}
    if is_whole and state.is_main_process:
        notice(
            "Only the embedding and the output matrix are split: blocks with sinks and experts have no plan for that, and each process "
            "holds them whole."
        )
    if state.is_main_process:
        model.save_pretrained(folder)
    state.wait_for_everyone()
    attention = model.config._attn_implementation
    arguments: dict[str, Any] = {"attn_implementation": attention, "dtype": torch.float32}
    split = type(model).from_pretrained(
        folder,
        distributed_config=DistributedConfig(tp_size=launch.tensor_parallel),
        trust_remote_code=False,
        **arguments,
    )
    state.wait_for_everyone()
    if state.is_main_process:
        shutil.rmtree(folder)
    return split
