"""What every run shares: its folder, its progress, its optimizer, and what it leaves of a trained model."""

import math
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.distributed.fsdp import FSDPModule
from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProgressCallback
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import SaveStrategy

from ..checks.places import writing
from ..errors import InputError
from ..hub.push import check_repository, push
from ..modeling.configuration_hf_gpt import GPTConfig
from ..recipe.arguments import RECIPE_FILE, Recipe, public_values
from ..recipe.machine import compile_seconds
from ..recipe.schedule import check_shares, epoch_line, resolve_schedule, steps_per_epoch
from ..reports.model_card import CARD_FILE, write_card
from ..reports.privacy import check_public
from ..reports.record_fields import check_fields
from ..reports.records import RECORD_FILE, read_record, write_json
from ..run_folder.checkpoints import STAGING_FOLDER, held, last_whole, put
from ..run_folder.manifest import announce, note_written, read_manifest, write_manifest
from .adapters import add_adapter, four_bit_config, load_adapter, lora_config
from .budget import keep_to_budget
from .callbacks import ProgressLine
from .distributed import Launch, check_optimizer, read_launch, share_processors
from .optimizers import OPTIMIZERS
from .output_dir import PICTURE_FILE, Found, wait_for_all
from .shutdown import GracefulShutdown
from .trainer import GuardedTrainer, named_causes


def notice(message: str) -> None:
    # Not through the middle of a bar.
    tqdm.write(message)
    sys.stdout.flush()


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole; newer ones that are cut off or damaged are named and set aside."""
    checkpoint, lines = last_whole(folder)
    for line in lines:
        notice(line)
    if checkpoint is not None:
        notice(f"Going on from {checkpoint}.")
    elif lines:
        notice("No whole checkpoint is left: starting from the beginning.")
    return None if checkpoint is None else str(checkpoint)


def prepare_launch(recipe: Recipe) -> Launch:
    """How the launcher spreads this run.

    Raises:
        InputError: the recipe asks for what cannot be done so.
    """
    launch = read_launch(recipe.training.world_size)
    check_optimizer(launch, recipe.run.optimizer)
    arguments = recipe.task
    if launch.tensor_parallel > 1 and (
        arguments.task != "language-modeling" or adapter_kind(recipe) is not None or recipe.training.torch_compile
    ):
        raise InputError(
            "tensor parallelism trains whole models for language modelling, not compiled: launch a task, an adapter or "
            "torch_compile=true with ddp.yaml or fsdp2.yaml of recipes/accelerate."
        )
    if launch.tensor_parallel > 1 and recipe.training.save_strategy != SaveStrategy.NO:
        # `Trainer` writes a checkpoint's optimizer from the first process, which has a part of it, and refuses to.
        recipe.training.save_strategy = SaveStrategy.NO
        notice(
            "Tensor parallelism: no checkpoints, since Trainer cannot write a split optimizer; an interrupted run starts again."
        )
    share_processors(launch, recipe.training.distributed_state)
    return launch


def check_schedule(recipe: Recipe, launch: Launch, rows: int | None) -> int:
    """Say how often a small text will be read, and warn where that is too often.

    Args:
        rows: Of the train split; `None` where nobody knows.

    Returns:
        The steps of the run; a run with a time budget may fix fewer.

    Raises:
        InputError: warm-up and decay are longer than the run; before it has a folder, so that the fix can be given.
    """
    arguments = recipe.training
    if recipe.run.max_minutes is not None:
        check_shares(arguments)
    steps, once = arguments.max_steps, None
    if rows is not None:
        once = steps_per_epoch(rows, arguments.train_batch_size, launch.batches, arguments.gradient_accumulation_steps)
        steps = steps if steps > 0 else math.ceil(arguments.num_train_epochs * once)
    if steps > 0:
        resolve_schedule(arguments, steps)
    if once is not None and recipe.run.max_minutes is None and (line := epoch_line(steps, once)):
        notice(line)
    return steps


# ------------------------------------------------------------------------------------------------------ training


def optimizer_arguments(recipe: Recipe) -> tuple[Any, dict[str, Any]]:
    """The optimizer of the recipe, as `Trainer(optimizer_cls_and_kwargs=...)` takes a factory."""
    arguments, options = recipe.training, recipe.run
    rate = arguments.learning_rate
    rates = {
        "lr": rate,
        "weight_decay": arguments.weight_decay,
        "embedding_lr": rate if options.embedding_learning_rate is None else options.embedding_learning_rate,
        "head_lr": rate if options.head_learning_rate is None else options.head_learning_rate,
        "rest_lr": rate if options.rest_learning_rate is None else options.rest_learning_rate,
        "betas": (arguments.adam_beta1, arguments.adam_beta2),
        "eps": arguments.adam_epsilon,
    }
    if options.optimizer == "muon":
        rates["momentum"] = options.muon_momentum
    factory = OPTIMIZERS[options.optimizer]
    return lambda: factory, rates


def quantization(recipe: Recipe) -> dict[str, Any]:
    """What `from_pretrained` is told beside the rest, for a base in 4 bits.

    Raises:
        InputError: `qlora` where it cannot run, or with new weights, which there is nothing to be held of.
    """
    if recipe.task.qlora is None:
        return {}
    if recipe.model.model_name_or_path is None or recipe.task.random_weights:
        raise InputError("qlora holds trained weights in 4 bits: give model_name_or_path, without random_weights.")
    return {"quantization_config": four_bit_config()}


def with_adapter(recipe: Recipe, model: PreTrainedModel, auto_class: str, has_new_tokens: bool) -> PreTrainedModel | PeftModel:
    """The model with the adapter that the recipe asks for or names; as it is when it asks for none."""
    arguments = recipe.task
    if arguments.adapter is not None:
        return load_adapter(model, arguments.adapter, str(recipe.model.model_name_or_path))
    values = arguments.lora if arguments.lora is not None else arguments.qlora
    if values is None:
        return model
    return add_adapter(model, lora_config(auto_class, values, has_new_tokens, model.config.tie_word_embeddings))


def adapter_kind(recipe: Recipe) -> str | None:
    """Which kind of adapter a run leaves; `None` for a whole model."""
    if recipe.task.qlora is not None:
        return "qlora"
    return "lora" if recipe.task.lora is not None or recipe.task.adapter is not None else None


def train(trainer: GuardedTrainer, recipe: Recipe) -> None:
    """Trains from the last whole checkpoint to the end.

    Raises:
        InputError: with the cause, where the run was ended from outside or has diverged.
        SystemExit: on a signal, or when nobody reads the output any more, after a checkpoint was written.
    """
    stop = GracefulShutdown(trainer)
    trainer.on_nan = recipe.run.on_nan
    with named_causes(recipe.output_dir), stop:
        # The ranks must not disagree about a checkpoint that the first one is about to remove.
        with recipe.training.main_process_first(desc="checkpoint"):
            checkpoint = last_whole_checkpoint(recipe.output_dir)
        budget = keep_to_budget(trainer, recipe.run.max_minutes, recipe.output_dir)
        if trainer.pop_callback(ProgressCallback) is not None:
            trainer.add_callback(ProgressLine(budget))
        trainer.add_callback(stop)
        trainer.on_resume(checkpoint)
        if recipe.training.torch_compile and trainer.is_world_process_zero():
            config: Any = getattr(trainer.model, "config", None)
            seconds = compile_seconds(getattr(config, "num_hidden_layers", None), trainer.args.device.type)
            notice(f"Compiling before the first step, about {seconds:.0f} s; less where this was done before.")
        trainer.train(resume_from_checkpoint=checkpoint)
        if stop.has_stopped:
            after = f"Stopped by {stop.signal_name} after step {trainer.state.global_step}"
            told = f"{after}, which is saved: rerun the same command to resume." if stop.can_save else f"{after}."
            tqdm.write(told, file=sys.stderr if stop.signal == signal.SIGPIPE else sys.stdout)
    if stop.has_stopped:
        raise SystemExit(stop.exit_code)


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
        # peft's, which knows no figures; until there is a new record, the card of an old one stays.
        (staging / CARD_FILE).unlink(missing_ok=True)
        with writing(folder):
            announce(folder, [path.name for path in staging.iterdir()])
            put(staging, folder)
            (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)


def save_tokenizer(trainer: GuardedTrainer, folder: Path) -> None:
    tokenizer: Any = trainer.processing_class
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def save_gathered(trainer: GuardedTrainer, model: PreTrainedModel | PeftModel, folder: Path) -> None:
    """What `Trainer.save_model` writes, from a model that FSDP has split and given a class of its own.

    transformers copies the file of the class beside the weights, and FSDP's class stands in torch.
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


# ------------------------------------------------------------------------------------------------------ publishing


def check_publishing(recipe: Recipe) -> None:
    """Raises `InputError` before the work when the record that ends it, or a push that the recipe asks for, would be refused."""
    check_public(public_values(recipe), "the recipe")
    arguments = recipe.training
    if not arguments.push_to_hub:
        return
    # `Trainer` sends the folder as it is with each checkpoint, the recipe included.
    check_public(recipe.values, RECIPE_FILE)
    if arguments.process_index == 0:
        check_repository(recipe.output_dir, arguments.hub_model_id, bool(arguments.hub_private_repo))


def publish(recipe: Recipe) -> None:
    """Where the recipe asks for a push: the record and its card in place of what `Trainer` pushed with the last checkpoint."""
    arguments = recipe.training
    if arguments.push_to_hub:
        pushed = push(recipe.output_dir, arguments.hub_model_id, bool(arguments.hub_private_repo), arguments.hub_revision)
        notice(f"Pushed to {pushed.repo_id}, commit {pushed.commit}.")


def finish(recipe: Recipe, record: dict[str, Any], plot: Callable[[dict[str, Any], Path], None]) -> None:
    """The picture, the record, the card and the push. A kill between two of them is made up for by the same command."""
    folder = recipe.output_dir
    with writing(folder):
        announce(folder, [PICTURE_FILE, RECORD_FILE, CARD_FILE])
        plot(record, folder / PICTURE_FILE)
        write_json(folder / RECORD_FILE, record)
        note_written(folder, "recorded")
        write_card(folder)
    publish(recipe)
    with writing(folder):
        note_written(folder, "finished")


def finish_again(recipe: Recipe, found: Found, plot: Callable[[dict[str, Any], Path], None]) -> dict[str, Any]:
    """What is missing after the record of a run that has been measured, made from that record."""
    folder = recipe.output_dir
    record = read_record(folder)
    check_fields(record, str(folder / RECORD_FILE))
    if recipe.training.process_index == 0:
        notice(f"The run in {folder} is trained and measured: making what its end still lacks.")
        with held(folder), writing(folder):
            if read_manifest(folder) is None and found.manifest is not None:
                write_manifest(folder, found.manifest)
            finish(recipe, record, plot)
    wait_for_all(recipe)
    return record
