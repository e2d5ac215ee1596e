"""Pretraining: texts into packed blocks, a language model on them, and its score beside n-grams on the same tokens."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..data.loading import load_rows
from ..data.packing import LOSSY, flat_tokens, is_lossy, pack_texts
from ..data.saved import unread_splits
from ..data.sources import file_states, fingerprint
from ..data.splits import Splits, held_texts, split_texts, text_batches
from ..data.streaming import PackedStream
from ..data.tokenizer import MASK, check_vocabulary, load_tokenizer, train_tokenizer, vocabulary_size, with_mask
from ..errors import InputError, counted, did_you_mean
from ..evaluation.baselines import score_ngrams
from ..inference.loading import build_new, load_config, load_pretrained, override_fields
from ..modeling.configuration_hf_gpt import GPTConfig
from ..planning import active_parameters, named_device, training_flops
from ..planning.capacity import check_memory, check_sizes
from ..presets import preset
from ..recipe.arguments import Recipe
from ..reports.plots import plot_run
from ..reports.terminal import notice
from ..run_folder.manifest import SPLIT_FOLDER
from .adapters import adapter_kind, quantization, with_adapter
from .balance import check_balance
from .callbacks import ProgressRecorder, SampleWriter
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
from .output_dir import replaces
from .preparation import optimizer_arguments
from .rehearsal import ROWS, TOKENS, check_prompts
from .stream_trainer import StreamTrainer
from .trainer import GuardedTrainer


# A stream has no known end: how many texts from its beginning its held-out splits are scored on, and its tokenizer learns from.
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


class Pretraining:
    """The `Job` of a language model, causal or masked; also of one that is trained further."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.objective = objective(recipe)
        self.record_kind, self.auto_class = self.objective.record_kind, self.objective.auto_class
        self.before: list[dict[str, Any]] = []

    def plot(self, record: dict[str, Any], path: Path) -> None:
        plot_run(record, path)

    def check(self) -> None:
        recipe, options = self.recipe, self.recipe.run
        check_source(recipe)
        tokenizer = named_tokenizer(recipe)
        check_balance(recipe, trained_config(recipe, tokenizer), self.auto_class)
        mask = MASK if tokenizer is None else tokenizer.mask_token
        check_objective(options.objective, options.ngram_orders, options.sample_prompts or [], mask)

    def prepare_data(self, launch: Launch) -> dict[str, Any]:
        recipe, source = self.recipe, self.recipe.source
        rows = load_rows(source)
        for own, count in unread_splits(source, rows).values():
            notice(
                f"{counted(count, f'rows (the own split {own!r} of the dataset) are not read')}: shares of {source.split!r} are held "
                f"out; dataset.split={source.split}+{own} reads both."
            )
        shares = recipe.data.validation_share, recipe.data.test_share
        splits = split_texts(rows, source.text_column, *shares, recipe.data.preprocessing_workers)
        if not splits.is_stream:
            notice(splits.line())
        self.tokenizer = build_tokenizer(recipe, splits.parts["train"])
        self.launch = launch
        self.data = build_blocks(recipe, launch, splits, self.tokenizer)
        sample_by = {"sample_by": source.sample_by} if source.sample_by else {}
        return {**fingerprint(source, rows), **sample_by, **splits.to_dict(), **self.data.description}

    def train_rows(self) -> int | None:
        blocks = self.data.blocks["train"]
        return None if isinstance(blocks, PackedStream) else len(blocks)

    def build_model(self) -> Any:
        model = build_model(self.recipe, self.tokenizer)
        check_model(self.launch, model)
        if isinstance(model.config, GPTConfig) and not self.launch.allows_direct_weight_access:
            model.config.fused_loss = False
        return model

    def score_baselines(self, model: Any) -> None:
        check_prompts(self.data.prompts, self.tokenizer, model)

    def handful(self, recipe: Recipe) -> "Pretraining":
        few = Pretraining(replace(recipe, run=replace(recipe.run, sample_tokens=TOKENS)))
        few.tokenizer, few.launch, few.data = self.tokenizer, self.launch, handful(recipe, self.data)
        return few

    def build_trainer(self, model: Any) -> GuardedTrainer:
        recipe = self.recipe
        if self.launch.tensor_parallel > 1:
            model = split_matrices(model, self.launch, recipe.output_dir / SPLIT_FOLDER, recipe.training.distributed_state)
        return build_trainer(recipe, self.launch, model, self.tokenizer, self.data)

    def score_before(self, trainer: GuardedTrainer) -> None:
        if self.recipe.model.model_name_or_path is not None:
            self.before = [{"name": "the same model before", **self.score_test(trainer.model)}]

    def prepare_to_save(self, model: Any) -> None:
        if model.can_generate():
            set_generation(model, self.tokenizer)

    def evaluate(self, model: Any, trainer: GuardedTrainer | None) -> dict[str, Any]:
        recipe = self.recipe
        return {
            "config": model.config.to_diff_dict(),
            "parameters": model.num_parameters(),
            **active(model.config),
            "test": self.score_test(model),
            "baselines": [*self.score_ngrams(), *self.before],
            "samples": write_samples(
                self.objective, model, self.tokenizer, self.data.prompts, recipe.run.sample_tokens, recipe.training.seed
            ),
        }

    def score_ngrams(self) -> list[dict[str, Any]]:
        recipe, blocks = self.recipe, self.data.blocks
        if not recipe.run.ngram_orders:
            return []
        train, test = (flat_tokens(blocks[name]) for name in ("train", "test"))
        bytes_per_token = self.data.bytes_per_token["test"]
        return score_ngrams(
            train, test, recipe.run.ngram_orders, recipe.data.block_size, vocabulary_size(self.tokenizer), bytes_per_token
        )

    def score_test(self, model: Any) -> dict[str, float]:
        blocks, bytes_per_token = self.data.blocks["test"], self.data.bytes_per_token["test"]
        batch_size, bf16 = self.recipe.training.eval_batch_size, bool(self.recipe.training.bf16)
        return self.objective.evaluate(model, self.tokenizer, blocks, bytes_per_token, batch_size, bf16).to_dict()


def active(config: Any) -> dict[str, int]:
    """For a record: how many parameters of a mixture of experts a token meets."""
    is_mixture = isinstance(config, GPTConfig) and config.num_experts > 0
    return {"active_parameters": active_parameters(config)} if is_mixture else {}


# ------------------------------------------------------------------------------------------------------------ data


def objective(recipe: Recipe) -> Objective:
    return OBJECTIVES[recipe.run.objective]


def check_source(recipe: Recipe) -> None:
    """Raise `InputError` for data that no language model is trained on; a stream that only time ends gets its steps."""
    source = recipe.source
    if source.streaming and recipe.training.max_steps <= 0:
        if recipe.run.max_minutes is None:
            raise InputError("streaming: true needs max_steps or max_minutes in the recipe, since a stream has no known end.")
        recipe.training.max_steps = STREAM_STEPS
    if source.streaming and recipe.run.ngram_orders:
        raise InputError(
            f"ngram_orders={recipe.run.ngram_orders} counts the whole train split, which a stream has not: leave it out."
        )
    if source.validation is not None or source.test is not None:
        raise InputError(
            "dataset: validation and test are for a task: language modelling holds out validation_share and test_share."
        )


def named_tokenizer(recipe: Recipe) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer that the recipe names, the model's, or that of the run that resumes; `None` where one is to be trained."""
    name = recipe.data.tokenizer or recipe.model.model_name_or_path
    kept = recipe.output_dir / "tokenizer.json"
    if name is None and kept.is_file() and not replaces(recipe.output_dir, recipe):
        name = str(kept.parent)
    return None if name is None else finished(load_tokenizer(name), recipe)


def finished(tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> PreTrainedTokenizerBase:
    return tokenizer if objective(recipe).is_causal else with_mask(tokenizer)


def build_tokenizer(recipe: Recipe, train: Any) -> PreTrainedTokenizerBase:
    """Return the tokenizer of `named_tokenizer`, or one trained on the train split."""
    arguments, named = recipe.data, named_tokenizer(recipe)
    if named is not None:
        return named
    notice(f"Training a tokenizer of {arguments.tokenizer_vocab_size:,} entries; then the texts are tokenised.")
    batches = text_batches(train, STREAM_TOKENIZER_TEXTS)
    limit = model_config(recipe, arguments.tokenizer_vocab_size).max_position_embeddings
    return finished(train_tokenizer(batches, arguments.tokenizer_vocab_size, limit), recipe)


def build_blocks(recipe: Recipe, launch: Launch, splits: Splits, tokenizer: PreTrainedTokenizerBase) -> LanguageData:
    """Tokenise and pack each split, the train split of a stream while it is trained on."""
    blocks: dict[str, Any] = {}
    bytes_per_token: dict[str, float] = {}
    counts: dict[str, Any] = {}
    description: dict[str, Any] = {}
    for name, texts in splits.parts.items():
        if splits.is_stream and name == "train":
            process, processes = launch.reader(recipe.training.process_index)
            blocks[name] = PackedStream(texts, tokenizer, recipe.data.block_size, recipe.training.seed, process, processes)
            blocks[name].files = file_states(recipe.source)
            continue
        held = held_texts(texts, STREAM_EVALUATION_TEXTS)
        packed = pack_texts(held, tokenizer, recipe.data.block_size, recipe.data.preprocessing_workers)
        blocks[name], bytes_per_token[name], counts[name] = packed.blocks, packed.bytes_per_token, packed.to_dict()
        if name == "test" and is_lossy(held, tokenizer):
            notice(f"Mind that {LOSSY}.")
            description["is_lossy"] = True
    prompts = recipe.run.sample_prompts
    if prompts is None:
        prompts = held_out_beginnings(blocks["validation"], tokenizer, objective(recipe).is_causal)
    return LanguageData(blocks, bytes_per_token, {**description, "splits": counts}, prompts)


# ----------------------------------------------------------------------------------------------------------- model


def model_config(recipe: Recipe, vocab_size: int) -> Any:
    """Return the config of a randomly initialised model, or `InputError` with what is wrong in it."""
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
    """Return a config of a type that `AutoConfig` knows.

    Raises:
        ValueError: an unknown type, an unknown field, or fields that contradict each other.
    """
    config = AutoConfig.for_model(model_type)
    for key in overrides:
        if key not in config.to_dict():
            hint = did_you_mean(key, config.to_dict())
            raise ValueError(f"{key!r} is not a field of {type(config).__name__}.{hint}")
    return AutoConfig.for_model(model_type, **overrides)


def auto_class_of(recipe: Recipe) -> Any:
    return getattr(transformers, objective(recipe).auto_class)


def model_name(recipe: Recipe) -> str:
    given = recipe.model
    return repr(given.model_name_or_path or given.model_type or given.preset)


def trained_config(recipe: Recipe, tokenizer: PreTrainedTokenizerBase | None) -> Any:
    """Return the config of the model that is trained.

    Args:
        tokenizer: `None` where it is yet to be trained: then the model has as many entries as it shall have.

    Raises:
        InputError: the config contradicts itself, the tokenizer, the memory or `block_size`.
    """
    given = recipe.model
    if given.model_name_or_path is None:
        entries = recipe.data.tokenizer_vocab_size if tokenizer is None else vocabulary_size(tokenizer)
        config = model_config(recipe, given.config.get("vocab_size", entries))
        if tokenizer is not None:
            config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
            config.pad_token_id = tokenizer.pad_token_id
            check_vocabulary(tokenizer, config.vocab_size)
    else:
        config = load_config(given.model_name_or_path, "model_name_or_path")
        override_fields(config, given.config)
    if isinstance(config, GPTConfig):
        check_direction(recipe, config)
    # Not every architecture has a limit.
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None and recipe.data.block_size > limit:
        raise InputError(
            f"block_size={recipe.data.block_size} is more than the model's max_position_embeddings={limit}: make blocks shorter, or "
            f"set config.max_position_embeddings={recipe.data.block_size} for random initialisation."
        )
    if adapter_kind(recipe) is None:
        training = recipe.training
        check_memory(config, auto_class_of(recipe), model_name(recipe), True, training.use_cpu, training.world_size)
    return config


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Any:
    """Return a model with random weights from `preset`, or the one that `model_name_or_path` names; see `trained_config`."""
    given, attention, auto_class = recipe.model, recipe.model.attn_implementation, auto_class_of(recipe)
    quantized = quantization(recipe)
    config = trained_config(recipe, tokenizer)
    if given.model_name_or_path is None:
        model = build_new(auto_class, config, model_name(recipe), attn_implementation=attention)
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
    # Of a tokenizer that is the model's own, what is beyond its table has been added.
    needed, is_own = vocabulary_size(tokenizer), given.model_name_or_path is not None and recipe.data.tokenizer is None
    has_new_tokens = is_own and needed > model.config.vocab_size
    if has_new_tokens:
        model.resize_token_embeddings(needed)
    check_vocabulary(tokenizer, model.config.vocab_size)
    if isinstance(model.config, GPTConfig):
        model.config.fused_loss = recipe.model.config.get("fused_loss", True)
    return with_adapter(recipe, model, objective(recipe).auto_class, has_new_tokens)


def check_direction(recipe: Recipe, config: GPTConfig) -> None:
    """Raise `InputError` when a model would see the answer, or half of what it may see."""
    needed = objective(recipe).is_causal
    if config.is_causal != needed:
        wrong = "each position would see the token that it predicts" if needed else "a mask would see only what is before it"
        raise InputError(
            f"objective={recipe.run.objective!r} with is_causal={str(config.is_causal).lower()}: {wrong}. Set "
            f"config.is_causal={str(needed).lower()}, or choose the other objective."
        )


# -------------------------------------------------------------------------------------------------------- training


def as_arrays(rows: Any) -> Any:
    """Have rows come as arrays: as lists of Python's numbers, a batch for a GPU takes as long as the GPU needs for it."""
    return rows.with_format("numpy") if isinstance(rows, Dataset) else rows


def build_trainer(
    recipe: Recipe, launch: Launch, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, language_data: LanguageData
) -> GuardedTrainer:
    """Return the stock `Trainer`, guarded, with the optimizer of the recipe through its factory argument."""
    arguments = recipe.training
    validation = language_data.blocks["validation"]
    if recipe.data.max_eval_blocks is not None:
        validation = validation.select(range(min(len(validation), recipe.data.max_eval_blocks)))
    per_step = arguments.train_batch_size * arguments.gradient_accumulation_steps * launch.batches
    train_blocks = language_data.blocks["train"]
    trainer = (StreamTrainer if isinstance(train_blocks, PackedStream) else GuardedTrainer)(
        model=model,
        args=arguments,
        train_dataset=as_arrays(train_blocks),
        eval_dataset=as_arrays(validation),
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
    """Return what tells how fast the run is; and, on a device whose peak is known, how much of it that is."""
    device = named_device(torch.cuda.get_device_name()) if torch.cuda.is_available() and not recipe.training.use_cpu else None
    if device is None or not isinstance(model.config, GPTConfig) or not (recipe.training.bf16 or recipe.training.fp16):
        return ProgressRecorder(tokens_per_step)
    flops = training_flops(model.config, recipe.data.block_size).total
    return ProgressRecorder(tokens_per_step, flops, device.peak_flops * recipe.training.world_size)


def handful(recipe: Recipe, language_data: LanguageData) -> LanguageData:
    """A few blocks of each split, with n-grams of each order in them; a stream as it is, which none may read ahead of the run."""
    count = max(ROWS, *(-(-order // recipe.data.block_size) for order in recipe.run.ngram_orders), 1)
    few = {
        name: blocks if isinstance(blocks, PackedStream) else blocks.select(range(min(count, len(blocks))))
        for name, blocks in language_data.blocks.items()
    }
    return replace(language_data, blocks=few)
