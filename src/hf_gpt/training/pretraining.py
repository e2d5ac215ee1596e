"""A run from recipe to finished folder: `run` is its table of contents."""

import os
import platform
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import transformers
from datasets import IterableDataset
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from ..checks.boundary import refused
from ..data import packing as text_data
from ..data.sources import TextSource, file_states, fingerprint, load_rows, text_count, text_source
from ..data.streaming import PackedStream, StreamLoader, collate_stream, load_state, save_state
from ..data.tokenizer import check_vocabulary, load_tokenizer, train_tokenizer, with_mask
from ..errors import InputError, did_you_mean
from ..evaluation.ngram import NgramModel
from ..evaluation.perplexity import LanguageModelScore, score
from ..inference.loading import build_new, load_config, load_pretrained, override_fields
from ..modeling.configuration_hf_gpt import GPTConfig
from ..planning import named_device, training_flops
from ..planning.capacity import check_memory, check_sizes
from ..presets import preset
from ..recipe.arguments import Recipe, public_values
from ..reports.plots import plot_run
from ..reports.records import code_state, emissions, folder_hash, make_record
from ..run_folder.manifest import SPLIT_FOLDER
from .budget import settled_steps
from .callbacks import ProgressRecorder, SampleWriter, earlier_seconds, measured_speed
from .distributed import Launch, check_model, split_matrices
from .objectives import (
    OBJECTIVES,
    Objective,
    check_objective,
    held_out_beginnings,
    samples_on_the_way,
    set_generation,
    write_samples,
)
from .output_dir import check_output_folder, claimed_output_folder, replaces, wait_for_all
from .processes import children_end_with_this_process
from .rehearsal import (
    ROWS,
    TOKENS,
    WHAT,
    check_metric,
    check_prompts,
    check_tools,
    example_log,
    figures,
    is_rehearsed,
    quiet,
    rehearse_record,
    rehearsing,
    stand_in,
)
from .run import (
    adapter_kind,
    check_publishing,
    check_schedule,
    finish,
    finish_again,
    notice,
    optimizer_arguments,
    prepare_launch,
    quantization,
    save_model,
    train,
    with_adapter,
)
from .trainer import GuardedTrainer, skipped_steps
from .workers import outlive_signals


# A stream has no known end; its held-out splits are scored on so many texts from its beginning, and its tokenizer learns from so many.
STREAM_EVALUATION_TEXTS = 1000
STREAM_TOKENIZER_TEXTS = 20000
# Of a sample during training: a line to look at, which must not cost what a step does.
TOKENS_ON_THE_WAY = 24
# More than a run with a time budget makes, whose number of steps is fixed after the first ones.
STREAM_STEPS = 10_000_000


@dataclass
class LanguageData:
    """Packed blocks of each split, and what the texts behind them measure."""

    blocks: dict[str, Any]
    bytes_per_token: dict[str, float]
    description: dict[str, Any]
    prompts: list[str] = field(default_factory=list)


def run(recipe: Recipe) -> dict[str, Any]:
    """Trains what a recipe says and writes a complete model repository into its `output_dir`.

    A run that was interrupted goes on from its last whole checkpoint; a folder that holds anything else is not touched without
    `overwrite: true`.

    Returns:
        The record of the run, as in its `record.json`.

    Raises:
        InputError: see the messages; nothing that was written before is lost.
    """
    if recipe.task.task != "language-modeling":
        # Its libraries for scoring and for preferences are of no use to pretraining, and slow to import.
        from .finetuning import run as finetune

        return finetune(recipe)
    started = time.monotonic()
    code_state()
    folder = recipe.output_dir
    for line in recipe.notices:
        notice(line)
    set_seed(recipe.training.seed)
    found = check_output_folder(folder, recipe)
    check_publishing(recipe)
    if found.task == "finish":
        return finish_again(recipe, found, plot_run)
    launch = prepare_launch(recipe)
    check_schedule(recipe, launch, None)
    rows, source = open_source(recipe)
    with children_end_with_this_process(), recipe.training.main_process_first(desc="data"):
        texts, described = split_texts(recipe, source, rows)
        tokenizer = build_tokenizer(recipe, texts["train"])
        options = recipe.run
        check_objective(options.objective, options.ngram_orders, options.sample_prompts or [], tokenizer.mask_token)
        language_data = build_blocks(recipe, launch, source, texts, tokenizer)
        language_data.description = {**fingerprint(source, rows), **described, **language_data.description}
    train_blocks = language_data.blocks["train"]
    steps = check_schedule(recipe, launch, None if isinstance(train_blocks, PackedStream) else len(train_blocks))
    model = build_model(recipe, tokenizer)
    rehearse(recipe, launch, steps, model, tokenizer, language_data)
    with claimed_output_folder(folder, recipe, language_data.description):
        model = spread_model(recipe, launch, model)
        trainer = build_trainer(recipe, launch, model, tokenizer, language_data)
        before = score_before(recipe, model, tokenizer, language_data)
        train(trainer, recipe)
        trained = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
        if trained.can_generate():
            set_generation(trained, tokenizer)
        save_model(trainer)
        wait_for_all(recipe)
        record = measure(recipe, trainer, tokenizer, language_data, before, started)
        if trainer.is_world_process_zero():
            finish(recipe, record, plot_run)
    return record


# ------------------------------------------------------------------------------------------------------------ data


def objective(recipe: Recipe) -> Objective:
    return OBJECTIVES[recipe.run.objective]


def open_source(recipe: Recipe) -> tuple[Any, TextSource]:
    source = text_source(recipe.data.dataset)
    if source.streaming and recipe.training.max_steps <= 0:
        if recipe.run.max_minutes is None:
            raise InputError("streaming: true needs max_steps or max_minutes in the recipe, since a stream has no known end.")
        recipe.training.max_steps = STREAM_STEPS
    if source.validation is not None or source.test is not None:
        raise InputError(
            "dataset: validation and test are for a task: language modelling holds out validation_share and test_share."
        )
    return load_rows(source), source


def split_texts(recipe: Recipe, source: TextSource, rows: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The texts by split, and what a record says of how they came about, which is printed too."""
    shares = (recipe.data.validation_share, recipe.data.test_share)
    described = {"sample_by": source.sample_by} if source.sample_by else {}
    if isinstance(rows, IterableDataset):
        if recipe.run.ngram_orders:
            raise InputError(
                f"ngram_orders={recipe.run.ngram_orders} counts the whole train split, which a stream has not: leave it out."
            )
        return text_data.split_stream(rows, source.text_column, *shares), described
    splits = text_data.split_rows(rows, source.text_column, *shares, workers(recipe, len(rows)))
    notice(splits.line())
    return splits.parts, {**described, **splits.to_dict()}


def build_tokenizer(recipe: Recipe, train: Any) -> PreTrainedTokenizerBase:
    """The tokenizer that the recipe names, the model's, or one trained on the train split."""
    arguments = recipe.data
    finish = (lambda made: made) if objective(recipe).is_causal else with_mask
    name = arguments.tokenizer or recipe.model.model_name_or_path
    kept = recipe.output_dir / "tokenizer.json"
    if name is None and kept.is_file() and not replaces(recipe.output_dir, recipe):
        name = str(kept.parent)
    if name is not None:
        return finish(load_tokenizer(name))
    texts = train.take(STREAM_TOKENIZER_TEXTS) if isinstance(train, IterableDataset) else train
    batches = (batch["text"] for batch in texts.iter(batch_size=64))
    limit = model_config(recipe, arguments.tokenizer_vocab_size).max_position_embeddings
    return finish(train_tokenizer(batches, arguments.tokenizer_vocab_size, limit))


def workers(recipe: Recipe, rows: int) -> int | None:
    """Processes for preprocessing; a small corpus is faster without any beside this one."""
    wanted = recipe.data.preprocessing_workers or os.cpu_count() or 1
    return wanted if wanted > 1 and rows >= 1000 * wanted else None


def build_blocks(
    recipe: Recipe, launch: Launch, source: TextSource, texts: dict[str, Any], tokenizer: PreTrainedTokenizerBase
) -> LanguageData:
    """Tokenises and packs each split; datasets caches both steps on disk by what they depend on."""
    blocks: dict[str, Any] = {}
    bytes_per_token: dict[str, float] = {}
    counts: dict[str, Any] = {}
    description: dict[str, Any] = {}
    for name, split in texts.items():
        if isinstance(split, IterableDataset) and name != "train":
            split = text_data.first_texts(split, STREAM_EVALUATION_TEXTS)
        if isinstance(split, IterableDataset):
            process, processes = launch.reader(recipe.training.process_index)
            blocks[name] = PackedStream(split, tokenizer, recipe.data.block_size, recipe.training.seed, process, processes)
            blocks[name].files = file_states(source)
            continue
        documents = text_data.tokenize(split, tokenizer, workers(recipe, len(split)))
        tokens, size = text_data.token_count(documents), text_data.byte_count(split)
        blocks[name] = text_data.pack(documents, recipe.data.block_size)
        bytes_per_token[name] = size / tokens
        counts[name] = {"texts": text_count(split), "bytes": size, "tokens": tokens, "blocks": len(blocks[name])}
        if name == "test" and text_data.is_lossy(split, tokenizer):
            notice(f"Mind that {text_data.LOSSY}.")
            description["is_lossy"] = True
    prompts = recipe.run.sample_prompts
    if prompts is None:
        prompts = held_out_beginnings(blocks["validation"], tokenizer, objective(recipe).is_causal)
    return LanguageData(blocks, bytes_per_token, {**description, "splits": counts}, prompts)


# ----------------------------------------------------------------------------------------------------------- model


def model_config(recipe: Recipe, vocab_size: int) -> Any:
    """The config of new weights, or `InputError` with what is wrong in it."""
    overrides = {"vocab_size": vocab_size, **recipe.model.config}
    check_sizes(overrides, "config")
    try:
        if recipe.model.model_type is not None:
            return other_config(recipe.model.model_type, overrides)
        return preset(str(recipe.model.preset), **overrides)
    except (ValueError, TypeError, StrictDataclassError) as error:
        # The strict dataclass wraps the message of a check in its own; the check's is the one that tells.
        raise InputError(f"config: {error.__cause__ or error}") from error


def other_config(model_type: str, overrides: dict[str, Any]) -> Any:
    """A config of a type that `AutoConfig` knows.

    Raises:
        ValueError: an unknown type, an unknown field, or fields that contradict each other.
    """
    config = AutoConfig.for_model(model_type)
    for key in overrides:
        if key not in config.to_dict():
            hint = did_you_mean(key, config.to_dict())
            raise ValueError(f"{key!r} is not a field of {type(config).__name__}.{hint}")
    return AutoConfig.for_model(model_type, **overrides)


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Any:
    """A model with random weights from `preset`, or the one that `model_name_or_path` names.

    Raises:
        InputError: the config contradicts itself, the tokenizer or `block_size`.
    """
    attention = recipe.model.attn_implementation
    quantized = quantization(recipe)
    auto_class = getattr(transformers, objective(recipe).auto_class)
    given = recipe.model
    name = repr(given.model_name_or_path or given.model_type or given.preset)
    if given.model_name_or_path is None:
        config = model_config(recipe, given.config.get("vocab_size", len(tokenizer)))
        config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id
        check_vocabulary(tokenizer, config.vocab_size)
    else:
        config = load_config(given.model_name_or_path, "model_name_or_path")
        override_fields(config, given.config)
    if adapter_kind(recipe) is None:
        check_memory(config, auto_class, name, True, recipe.training.use_cpu, recipe.training.world_size)
    if given.model_name_or_path is None:
        model = build_new(auto_class, config, name, attn_implementation=attention)
    else:
        model = load_pretrained(
            auto_class,
            given.model_name_or_path,
            "model_name_or_path",
            config,
            attn_implementation=attention,
            dtype=torch.float32,
            **quantized,
        )
    check_vocabulary(tokenizer, model.config.vocab_size)
    if isinstance(model.config, GPTConfig):
        check_direction(recipe, model.config)
        model.config.fused_loss = recipe.model.config.get("fused_loss", True)
    # Not every architecture has a limit.
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and recipe.data.block_size > limit:
        raise InputError(
            f"block_size={recipe.data.block_size} is more than the model's max_position_embeddings={limit}: make blocks shorter, or "
            f"set config.max_position_embeddings={recipe.data.block_size} for new weights."
        )
    return with_adapter(recipe, model, objective(recipe).auto_class, has_new_tokens=False)


def check_direction(recipe: Recipe, config: GPTConfig) -> None:
    """Raises `InputError` when a model would see the answer, or half of what it may see."""
    needed = objective(recipe).is_causal
    if config.is_causal != needed:
        wrong = "each position would see the token that it predicts" if needed else "a mask would see only what is before it"
        raise InputError(
            f"objective={recipe.run.objective!r} with is_causal={str(config.is_causal).lower()}: {wrong}. Set "
            f"config.is_causal={str(needed).lower()}, or choose the other objective."
        )


def spread_model(recipe: Recipe, launch: Launch, model: Any) -> Any:
    """The model as the launch needs it before `Trainer` takes it; the same model where there is nothing to do."""
    check_model(launch, model)
    if isinstance(model.config, GPTConfig) and not launch.reaches_for_weights:
        model.config.fused_loss = False
    if launch.tensor_parallel > 1:
        model = split_matrices(model, launch, recipe.output_dir / SPLIT_FOLDER, recipe.training.distributed_state)
    return model


# -------------------------------------------------------------------------------------------------------- training


def build_trainer(
    recipe: Recipe, launch: Launch, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, language_data: LanguageData
) -> GuardedTrainer:
    """The stock `Trainer`, guarded, with the optimizer of the recipe through its factory argument."""
    arguments = recipe.training
    validation = language_data.blocks["validation"]
    if recipe.data.max_eval_blocks is not None:
        validation = validation.select(range(min(len(validation), recipe.data.max_eval_blocks)))
    per_step = arguments.train_batch_size * arguments.gradient_accumulation_steps * launch.batches
    train_blocks = language_data.blocks["train"]
    trainer = (StreamTrainer if isinstance(train_blocks, PackedStream) else GuardedTrainer)(
        model=model,
        args=arguments,
        train_dataset=train_blocks,
        eval_dataset=validation,
        data_collator=objective(recipe).collator(tokenizer),
        processing_class=tokenizer,
        optimizer_cls_and_kwargs=optimizer_arguments(recipe),
        callbacks=[progress(recipe, model, per_step * recipe.data.block_size)],
    )
    if language_data.prompts:
        length = min(recipe.run.sample_tokens, TOKENS_ON_THE_WAY)
        write = partial(samples_on_the_way, objective(recipe), tokenizer, language_data.prompts, length, arguments.seed)
        trainer.add_callback(SampleWriter(trainer, write, recipe.output_dir))
    return trainer


def progress(recipe: Recipe, model: Any, tokens_per_step: int) -> ProgressRecorder:
    """What tells how fast the run is; and, on a device whose peak is known, how much of it that is."""
    device = named_device(torch.cuda.get_device_name()) if torch.cuda.is_available() and not recipe.training.use_cpu else None
    if device is None or not isinstance(model.config, GPTConfig) or not (recipe.training.bf16 or recipe.training.fp16):
        return ProgressRecorder(tokens_per_step)
    flops = training_flops(model.config, recipe.data.block_size).total
    return ProgressRecorder(tokens_per_step, flops, device.peak_flops * recipe.training.world_size)


class StreamTrainer(GuardedTrainer):
    """For a stream that shares itself out: accelerate would have one process read and tokenise for all."""

    train_dataset: PackedStream

    def get_train_dataloader(self) -> StreamLoader:
        arguments, stream = self.args, self.train_dataset
        assert isinstance(stream, PackedStream)
        loader = StreamLoader(
            stream,
            batch_size=self._train_batch_size,
            collate_fn=collate_stream,
            # Without one of its own, a loader draws from the generator of dropout when it begins, and once more when it goes on.
            generator=torch.Generator(),
            num_workers=arguments.dataloader_num_workers,
            prefetch_factor=arguments.dataloader_prefetch_factor,
            pin_memory=arguments.dataloader_pin_memory and arguments.device.type != "cpu",
        )
        return cast(StreamLoader, outlive_signals(loader))

    def save_extra_state(self, folder: Path) -> None:
        save_state(self.train_dataset, folder)

    def on_resume(self, checkpoint: str | None) -> None:
        """Puts the stream where the checkpoint left it, in place of reading again all that was read before."""
        if checkpoint is not None:
            load_state(self.train_dataset, Path(checkpoint), self.args.dataloader_num_workers)
            self.args.ignore_data_skip = True


# ------------------------------------------------------------------------------------------------------- rehearsal


def rehearse(
    recipe: Recipe,
    launch: Launch,
    steps: int,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    language_data: LanguageData,
) -> None:
    """Has everything of the end of this run happen once, on a handful of blocks, in the first process.

    Raises:
        InputError: what would have failed at the end.
    """
    if recipe.training.process_index:
        return
    with rehearsing() as folder:
        model = stand_in(model)
        check_tools(recipe, model, steps)
        check_prompts(language_data.prompts, tokenizer, model)
        if not is_rehearsed(recipe, launch):
            return
        few = handful(recipe, language_data)
        with refused(WHAT):
            # Trainers of several processes evaluate together.
            if launch.processes == 1:
                check_metric(recipe, figures(build_trainer(quiet(recipe, folder), launch, model, tokenizer, few)))
            model.to(recipe.training.device)
            if model.can_generate():
                set_generation(model, tokenizer)
            log, started = example_log(recipe.data.block_size), time.monotonic()
            record = describe(recipe, folder, model, tokenizer, few, [], log, 1, started, TOKENS)
        rehearse_record(recipe, record, plot_run, model, tokenizer, folder)


def handful(recipe: Recipe, language_data: LanguageData) -> LanguageData:
    """A few blocks of each split, with n-grams of each order in them; a stream as it is, which none may read ahead of the run."""
    count = max(ROWS, *(-(-order // recipe.data.block_size) for order in recipe.run.ngram_orders), 1)
    few = {
        name: blocks if isinstance(blocks, PackedStream) else blocks.select(range(min(count, len(blocks))))
        for name, blocks in language_data.blocks.items()
    }
    return replace(language_data, blocks=few)


# --------------------------------------------------------------------------------------------------------- results


def measure(
    recipe: Recipe,
    trainer: GuardedTrainer,
    tokenizer: PreTrainedTokenizerBase,
    language_data: LanguageData,
    before: list[dict[str, Any]],
    started: float,
) -> dict[str, Any]:
    """Test score, baselines on the same tokens, samples: the record of the run."""
    model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    state, tokens = trainer.state, recipe.run.sample_tokens
    log, steps = state.log_history, state.global_step
    started -= earlier_seconds(trainer)
    return describe(recipe, recipe.output_dir, model, tokenizer, language_data, before, log, steps, started, tokens)


def describe(
    recipe: Recipe,
    folder: Path,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    language_data: LanguageData,
    before: list[dict[str, Any]],
    log: list[dict[str, Any]],
    steps: int,
    started: float,
    sample_tokens: int,
) -> dict[str, Any]:
    """The record of a model that was trained for so many steps, with that log, and lies in that folder."""
    history = [row for row in log if "loss" in row or "eval_loss" in row]
    # A run of fewer steps than logging_steps has no row of a loss; the one that Trainer ends with is always there.
    last = history[-1] if history else log[-1]
    test, bytes_per_token = language_data.blocks["test"], language_data.bytes_per_token["test"]
    bf16, batch_size = bool(recipe.training.bf16), recipe.training.eval_batch_size
    scores = {
        "test": objective(recipe).evaluate(model, tokenizer, test, bytes_per_token, batch_size, bf16).to_dict(),
        "baselines": [*score_baselines(recipe, language_data, len(tokenizer)), *before],
        "samples": write_samples(
            objective(recipe), model, tokenizer, language_data.prompts, sample_tokens, recipe.training.seed
        ),
    }
    return make_record(
        objective(recipe).record_kind,
        name=recipe.output_dir.name,
        auto_class=objective(recipe).auto_class,
        recipe=public_values(recipe),
        adapter=adapter_kind(recipe),
        config=model.config.to_diff_dict(),
        parameters=model.num_parameters(),
        data=language_data.description,
        model_sha256=folder_hash(folder),
        steps=steps,
        **settled_steps(folder),
        skipped_steps=skipped_steps(log),
        tokens_seen=last["tokens"],
        training_seconds=last["elapsed_seconds"],
        total_seconds=time.monotonic() - started,
        precision="bfloat16" if recipe.training.bf16 else "float32",
        compiled=bool(recipe.training.torch_compile),
        **measured_speed(history),
        platform=platform.system(),
        history=history,
        **emissions(folder),
        **scores,
    )


def score_before(
    recipe: Recipe, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, language_data: LanguageData
) -> list[dict[str, Any]]:
    """The test score of a trained model before it goes on; nothing for new weights."""
    if recipe.model.model_name_or_path is None:
        return []
    test, bytes_per_token = language_data.blocks["test"], language_data.bytes_per_token["test"]
    batch_size = recipe.training.eval_batch_size
    found = objective(recipe).evaluate(model, tokenizer, test, bytes_per_token, batch_size, bool(recipe.training.bf16))
    return [{"name": "the same model before", **found.to_dict()}]


def score_baselines(recipe: Recipe, language_data: LanguageData, vocab_size: int) -> list[dict[str, Any]]:
    """N-gram models of the train split, scored on exactly the test tokens that the GPT is scored on."""
    if not recipe.run.ngram_orders:
        return []
    train = text_data.flat_tokens(language_data.blocks["train"])
    test = text_data.flat_tokens(language_data.blocks["test"])
    is_predicted = np.ones(len(test), dtype=bool)
    is_predicted[:: recipe.data.block_size] = False
    scored = []
    for order in recipe.run.ngram_orders:
        begun = time.monotonic()
        losses = -NgramModel.fit(train, order, vocab_size).log_probabilities(test)[is_predicted]
        result: LanguageModelScore = score(float(losses.sum()), len(losses), language_data.bytes_per_token["test"])
        name = "unigram" if order == 1 else f"Kneser-Ney {order}-gram"
        scored.append({"name": name, "order": order, "seconds": time.monotonic() - begun, **result.to_dict()})
    return scored


__all__ = ["LanguageData", "build_blocks", "build_model", "build_trainer", "run"]
