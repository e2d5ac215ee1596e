"""Write a trained model: weights, config, code and tokenizer, from however many processes it is spread over."""

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel
from transformers.trainer import TRAINING_ARGS_NAME

from ..checks.places import writing
from ..modeling.configuration_hf_gpt import GPTConfig
from ..reports.model_card import CARD_FILE
from ..run_folder.checkpoints import STAGING_FOLDER, check_in_place, move_files
from ..run_folder.manifest import announce
from .causes import named_causes
from .trainer import GuardedTrainer


# What TRL calls the copy of an adapter as it was, beside the one that is trained.
REFERENCE = "ref"


def save_model(trainer: GuardedTrainer) -> None:
    """Weights (or the adapter), config with its whole `auto_map`, modeling code, tokenizer and generation config.

    Raises:
        InputError: a weight is not finite.
    """
    trainer.check_weights()
    model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    # What is set for training only, the first by Trainer, would be kept in the saved config.
    model.config.use_cache = type(model.config)().use_cache
    if isinstance(model.config, GPTConfig):
        model.config.fused_loss = False
    folder = Path(trainer.args.output_dir or ".")
    check_in_place(folder)
    staging = folder / STAGING_FOLDER
    with named_causes(folder), writing(folder):
        if trainer.is_fsdp_enabled:
            save_gathered(trainer, model, staging)
        elif trainer.get_tp_size() > 1:
            save_joined(trainer, model, staging)
        else:
            trainer.save_model(str(staging), _internal_call=True)
    if trainer.is_world_process_zero():
        # A pickle that nobody needs to load the model, and that a careful reader would not open.
        (staging / TRAINING_ARGS_NAME).unlink(missing_ok=True)
        shutil.rmtree(staging / REFERENCE, ignore_errors=True)
        # peft's, which knows no figures; until there is a new record, the card of an old one stays.
        (staging / CARD_FILE).unlink(missing_ok=True)
        with writing(folder):
            announce(folder, [path.name for path in staging.iterdir()])
            move_files(staging, folder)
            (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)


def save_tokenizer(trainer: GuardedTrainer, folder: Path) -> None:
    tokenizer: Any = trainer.processing_class
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def save_gathered(trainer: GuardedTrainer, model: PreTrainedModel | PeftModel, folder: Path) -> None:
    """What `Trainer.save_model` writes, from a model that FSDP has split and given a class of its own.

    transformers copies the file of the class beside the weights, and FSDP's class is in torch.
    """
    # Checkpoints of a run may be written in parts, by each process its own; what is loaded elsewhere is whole.
    trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    state = trainer.accelerator.get_state_dict(trainer.model)
    if not trainer.is_world_process_zero():
        return
    saved: Any = model
    if isinstance(model, PreTrainedModel):
        plain: Any = next(base for base in type(model).__mro__ if not issubclass(base, FSDPModule))
        with torch.device("meta"):
            saved = plain(model.config)
        saved.generation_config = model.generation_config
        # Gathered, a tied matrix is two tensors, and would be written as two.
        state = {name: tensor for name, tensor in state.items() if name not in saved.all_tied_weights_keys}
    saved.save_pretrained(folder, state_dict=state)
    save_tokenizer(trainer, folder)


def save_joined(trainer: GuardedTrainer, model: PreTrainedModel, folder: Path) -> None:
    """What `Trainer.save_model` writes, from a model of which each process has a part of each matrix.

    Joined by transformers, a tied matrix is two tensors and is written as two, so what it wrote is read and written once more.
    """
    parts = folder / "weights-joined"
    trainer.save_model(str(parts), _internal_call=True)
    if trainer.is_world_process_zero():
        type(model).from_pretrained(parts, trust_remote_code=False).save_pretrained(folder)
        save_tokenizer(trainer, folder)
        shutil.rmtree(parts)
