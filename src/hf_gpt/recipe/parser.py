"""Read a recipe: flat YAML and the overrides of a command line into typed arguments, or one line that says what is wrong."""

import os
import typing
from collections import Counter
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.errors import StrictDataclassError
from transformers import TrainingArguments
from transformers.trainer_utils import SchedulerType

from ..checks.limits import check_ranges, check_refused, check_schedule_keywords, check_training_keys
from ..checks.places import expand_home
from ..data.packages import PACKAGES
from ..data.sources import FILE_FORMATS, TYPES, check_types, folder_lines, text_source
from ..data.text_files import source_of
from ..errors import InputError, did_you_mean, shown
from ..modeling.configuration_hf_gpt import GPTConfig
from ..planning import training_flops
from ..planning.capacity import check_sizes
from ..presets import preset
from ..run_folder.manifest import RECORD_FILE, read_manifest
from ..run_folder.settled import read_settled
from .arguments import PARTS, RECIPE_FILE, DataArguments, ModelArguments, Recipe, RunArguments, TaskArguments
from .identity import LENGTHS, SOURCES, recipe_identity
from .machine import RunSize, settle_machine
from .packaged import RECIPE_SUFFIXES, find_recipe, is_packaged
from .schedule import MOST_EPOCHS
from .strict_yaml import has_comment, plain_text, read_yaml
from .task_keys import EVERY_TASK, check_readers
from .typed import checked, flat_types


# One of them is in every recipe: which model is trained.
MODEL_KEYS = {"preset", "model_type", "model_name_or_path"}


def load_recipe(name: str, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and the `key=value` overrides that follow it on the command line.

    Args:
        name: A path or the name of a packaged recipe.
        overrides: `key=value`, the value in YAML; `dataset.files=x.txt` and `dataset.validation.files=y.txt` reach into mappings.

    Raises:
        InputError: a file that is no recipe, an unknown key, a value of the wrong type, or values that exclude each other.
    """
    values = read_recipe(name)
    changed = apply_overrides(values, overrides)
    recipe = parse_recipe(values)
    recipe.notices[:0] = [*changed, *folder_lines(recipe.source)]
    if is_packaged(name) and os.path.exists(name):
        recipe.notices.insert(0, f"{name} is the packaged recipe: what lies here under this name is ./{name}.")
    return recipe


def read_recipe(name: str) -> dict[str, Any]:
    """Return the values of a recipe as they are written; see `load_recipe`."""
    path = find_recipe(name)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        _check_suffix(path)
        raise InputError(f"{path} is not a YAML file: {error}") from error
    try:
        values = read_yaml(text, str(path))
    except InputError:
        _check_suffix(path)
        raise
    values = {} if values is None else values
    # Prose may be YAML too, as in `Note: it rained.`
    if not isinstance(values, dict) or not MODEL_KEYS & set(values):
        _check_suffix(path)
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a {type(values).__name__}: a recipe is a mapping, one `key: value` a line.")
    return values


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in RECIPE_SUFFIXES:
        raise InputError(f"{path} is no recipe, which is a YAML file; `hf-gpt train` and `hf-gpt plan` take a text, too.")


# What excludes each other.
OTHER_ADAPTERS = {"adapter": ("lora", "qlora"), "lora": ("adapter", "qlora"), "qlora": ("adapter", "lora")}
# Parts of `dataset` that say nothing of what its labels are.
SAME_LABELS = {"limit", "validation", "test"}


def apply_overrides(values: dict[str, Any], overrides: list[str] | tuple[str, ...]) -> list[str]:
    """Write each `key=value` into the values of a recipe; see `load_recipe`.

    Returns:
        A line for each thing of the recipe that is about its own data and is left out with these, and for a key that comes twice.
    """
    before = values.get("dataset")
    given = Counter(override.partition("=")[0] for override in overrides)
    keys = set(given)
    for override in overrides:
        _apply_override(values, override)
    notices = [
        f"{shown(override)} is used: {key} is given more than once, and the last one counts."
        for key, override in {override.partition("=")[0]: override for override in overrides}.items()
        if given[key] > 1
    ]
    if keys & {"max_steps", "num_train_epochs"} and "max_minutes" not in keys:
        # Who says how many steps it shall be means these, and not as many of them as fit the recipe's minutes.
        values.pop("max_minutes", None)
    notices += _drop_meaningless(values, keys)
    places = [_places(key)[1:] for key in keys if _places(key)[0] == "dataset"]
    named = {".".join(place[:1]) for place in places}
    notices += [*_own_files(values, before, named), *_own_held_out(values, before, places)]
    is_named = any(key.partition(".")[0] == "class_names" for key in keys)
    if named - SAME_LABELS and not is_named and values.pop("class_names", None) is not None:
        notices.append(
            "class_names: those of the recipe are for its own dataset, and left out; class_names={...} names yours."
        )
    return notices


def _drop_meaningless(values: dict[str, Any], keys: set[str]) -> list[str]:
    """Leave out what a recipe says for another optimizer, adapter or output matrix than it is given, and return a line for each."""
    config = values.get("config")
    instead = [
        (values, other, key) for key, others in OTHER_ADAPTERS.items() if values.get(key) is not None for other in others
    ]
    if values.get("optimizer") != "muon":
        instead.append((values, "muon_momentum", "optimizer"))
    if isinstance(config, dict) and config.get("tie_word_embeddings"):
        instead.append((config, "embedding_initializer_range", "config.tie_word_embeddings"))
    given = keys | {key.partition(".")[0] for key in keys if not key.startswith("config.")}
    notices = []
    for place, name, key in instead:
        if key in keys and not {name, f"config.{name}"} & given and place.pop(name, None) is not None:
            notices.append(f"{name}: that of the recipe is left out, since {key} is given.")
    return notices


def _own_files(values: dict[str, Any], before: Any, named: set[str]) -> list[str]:
    """Have `dataset.files`, or another `dataset.path`, take the place of the recipe's data, with whatever else chose rows of these."""
    now = values.get("dataset")
    replaced = before.get("path") if isinstance(before, dict) else before
    if "" in named or not isinstance(replaced, str) or not isinstance(now, dict):
        return []
    has_files = "files" in named and now["files"] and replaced not in FILE_FORMATS
    if not has_files and not _is_another(now["path"], replaced):
        return []
    check_types(now)
    path, what = now["path"], f"path={shown(now['path'])}"
    if has_files:
        first = now["files"] if isinstance(now["files"], str) else now["files"][0]
        path = path if "path" in named else source_of(Path(os.path.expanduser(first)))["path"]
        what = f"files={shown(now['files'])} as {path}"
    values["dataset"] = {"path": path, **{key: now[key] for key in now if key in named}}
    gone = ", ".join(sorted(set(now) - set(values["dataset"])))
    also = f"; {gone} of the recipe is left out" if gone else ""
    return [f"dataset: {what} takes the place of the recipe's {replaced}{also}."]


def _is_another(path: Any, replaced: Any) -> bool:
    """Return whether a path is that of another dataset than the recipe's, and not of a format; one of a format may be misspelt."""
    if not isinstance(path, str) or path == replaced or path in FILE_FORMATS:
        return False
    return replaced not in FILE_FORMATS or "/" in path or path in PACKAGES or os.path.isdir(path)


def _own_held_out(values: dict[str, Any], before: Any, places: list[list[str]]) -> list[str]:
    """Have held-out data, or those of another dataset, take the place of what a recipe holds out of a package or of the Hub."""
    now, was = (data if isinstance(data, dict) else {"path": data} for data in (values.get("dataset"), before))
    notices, is_own = [], ["files"] in places or _is_another(now.get("path"), was.get("path"))
    for name in ("validation", "test"):
        old = before.get(name) if isinstance(before, dict) else None
        replaced = old.get("path") if isinstance(old, dict) else old
        named = {place[1] for place in places if place[0:1] == [name] and len(place) > 1}
        given = now.get(name)
        is_other = "files" in named or ("path" in named and isinstance(given, dict) and _is_another(given["path"], replaced))
        if isinstance(replaced, str) and replaced not in FILE_FORMATS and named and (is_own or is_other):
            values["dataset"][name] = {key: value for key, value in values["dataset"][name].items() if key in named}
            notices.append(f"dataset.{name}: yours takes the place of the recipe's {replaced}.")
    return notices


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"{shown(override)} is not an override: write key=value.")
    value = _override_value(key, text)
    *parents, last = _places(key)
    for place, parent in enumerate(parents, start=1):
        inner = values.get(parent)
        if isinstance(inner, str) and parent in SOURCE_KEYS:
            inner = {"path": inner}
        if inner is not None and not isinstance(inner, dict):
            raise InputError(f"{shown(override)}: {'.'.join(parents[:place])} is not a mapping.")
        values[parent] = {**(inner or {})}
        values = values[parent]
    values[last] = value


# What begins a text of YAML that is not written as it is.
WRITTEN = ('"', "'", "[", "{")


def _override_value(key: str, text: str) -> Any:
    """Return the value of an override: what YAML reads, or the text as it is where that would be cut or made a mapping of.

    Raises:
        InputError: no YAML, or a comment, where the key takes no text.
    """
    what, kinds = f"the value of {shown(key)}", _kinds(key)
    is_plain = str in kinds and not text.lstrip().startswith(WRITTEN)
    try:
        value = read_yaml(text, what)
    except InputError:
        if not is_plain:
            raise
        return plain_text(text, what)
    # Of several lines, YAML makes one, but behind | and >.
    is_folded = isinstance(value, str) and "\n" in text.strip() and not text.lstrip().startswith(("|", ">"))
    if is_plain and (is_folded or has_comment(text) or type(value) in {dict, list} - kinds):
        return plain_text(text, what)
    if has_comment(text):
        raise InputError(
            f"{what} is {shown(text)}, of which YAML takes what is behind # for a comment: leave it out or put it in quotes."
        )
    return value


def _kinds(key: str) -> set[Any]:
    """Return the types that a value of a key may have; none of a key that is not known."""
    *parents, last = _places(key)
    if parents and parents[-1] in NAMED_BY_DATA:
        return {str, list}
    hints: dict[str, Any] = {}
    if not parents:
        hints = {name: hint for part in PARTS.values() for name, hint in typing.get_type_hints(part).items()}
    elif parents[-1] in SOURCE_KEYS:
        hints = TYPES
    elif parents == ["config"]:
        hints = GPTConfig.__annotations__
    return {typing.get_origin(kind) or kind for kind in flat_types(hints.get(last))}


# What names a source of rows, and may be a word; and whose keys are names of the data, with any sign in them.
SOURCE_KEYS = ("dataset", "validation", "test")
NAMED_BY_DATA = ("class_names", "columns", "where")


def _places(key: str) -> list[str]:
    """Return the keys that a dotted one leads through, the last one too."""
    first, dot, rest = key.partition(".")
    if not dot:
        return [key]
    return [first, rest] if first in NAMED_BY_DATA else [first, *_places(rest)]


def parse_recipe(values: dict[str, Any]) -> Recipe:
    """Check the values of a recipe and sort them into their parts; see `load_recipe`."""
    hints = {name: typing.get_type_hints(part) for name, part in PARTS.items()}
    home = {item.name: name for name, part in PARTS.items() for item in fields(part) if item.init}
    sorted_values: dict[str, dict[str, Any]] = {name: {} for name in PARTS}
    for key, value in values.items():
        if key not in home:
            hint = did_you_mean(str(key)[:100], home, " docs/recipes.md lists the keys.")
            raise InputError(f"{shown(key)} is not a key of a recipe.{hint}")
        check_refused(key, value)
        value = checked(key, value, hints[home[key]][key])
        sorted_values[home[key]][key] = expand_home(value, key) if key in SOURCES and value is not None else value
    check_training_keys(sorted_values["training"])
    for item in fields(DataArguments):
        if item.default is MISSING and item.default_factory is MISSING and item.name not in values:
            raise InputError(f"{item.name} is missing from the recipe.")
    model = ModelArguments(**sorted_values["model"])
    if sum(value is not None for value in (model.preset, model.model_type, model.model_name_or_path)) != 1:
        raise InputError(
            "a recipe has either preset or model_name_or_path: the first for random initialisation, the second to train further; or "
            "model_type, for random initialisation of another architecture."
        )
    # Before a config is made of them, which `run_size` does.
    check_sizes(model.config, "config")
    model.config = checked_fields(model.config)
    check_ranges({key: value for part in sorted_values.values() for key, value in part.items()})
    data = DataArguments(**sorted_values["data"])
    source = text_source(data.dataset)
    if data.validation_share + data.test_share >= 1:
        raise InputError(
            f"validation_share + test_share = {data.validation_share + data.test_share} leaves nothing to train on."
        )
    run = RunArguments(**sorted_values["run"])
    if run.max_minutes is not None and not {"max_steps", "num_train_epochs"} & set(values):
        sorted_values["training"]["num_train_epochs"] = MOST_EPOCHS
    if run.early_stopping_patience is not None:
        if sorted_values["training"].get("eval_strategy", "no") == "no":
            raise InputError(
                f"early_stopping_patience={run.early_stopping_patience} counts evaluations: set eval_strategy to steps or epoch."
            )
        sorted_values["training"] = {
            "load_best_model_at_end": True,
            "metric_for_best_model": "loss",
            **sorted_values["training"],
        }
    if "output_dir" in values and values["output_dir"] is None:
        raise InputError(
            "output_dir is null, which ~ alone is in YAML, too: put it in quotes, or name a folder below it, as ~/run."
        )
    if not values.get("output_dir"):
        raise InputError("output_dir is missing from the recipe: the folder that the run is written to.")
    task = _task_arguments(sorted_values["task"], model)
    check_readers({key: value for part in sorted_values.values() for key, value in part.items() if key in values}, task.task)
    _check_weights(task, model, sorted_values["training"])
    if run.muon_momentum is not None and run.optimizer != "muon":
        raise InputError(
            f"muon_momentum={run.muon_momentum} beside optimizer={run.optimizer!r}: only muon reads it, leave it out."
        )
    # As they were understood: `1e-3` in a text is the number that the run folder's copy of the recipe has.
    read = {key: sorted_values[home[key]][key] for key in values}
    folder = Path(expand_home(values["output_dir"], "output_dir"))
    # `TrainingArguments` would take a folder called `~` for the home folder.
    sorted_values["training"]["output_dir"] = os.path.join(".", folder) if str(folder).startswith("~") else str(folder)
    size = run_size(model, data, run, sorted_values["training"], task.task != "language-modeling")
    settled = settle_machine(settle_safety(sorted_values["training"]), model.attn_implementation, size, kept_by(folder, read))
    model.attn_implementation = settled.attention
    training = _training_arguments(settled.training)
    return Recipe(read, model, data, run, task, training, settled.training, folder, source, settled.notices, settled.values)


def checked_fields(config: dict[str, Any]) -> dict[str, Any]:
    """Return fields of a config, those that are of `GPTConfig` as its types; what another config takes, it looks at itself."""
    hints = GPTConfig.__annotations__
    return {key: checked(f"config.{key}", value, hints[key]) if key in hints else value for key, value in config.items()}


def _task_arguments(values: dict[str, Any], model: ModelArguments) -> TaskArguments:
    task = TaskArguments(**values)
    if task.task not in EVERY_TASK:
        hint = did_you_mean(task.task, EVERY_TASK)
        raise InputError(f"task={task.task!r} is unknown.{hint} The tasks are {', '.join(EVERY_TASK)}.")
    for value, name in (task.class_names or {}).items():
        if isinstance(name, bool):
            raise InputError(
                f"class_names: {shown(value)} is called {name}, which may have been yes or no: put the name in quotes."
            )
    if task.lora is not None and task.qlora is not None:
        raise InputError("a recipe has either lora or qlora: the second is the first on a base of 4 bits.")
    if task.adapter is not None and (task.lora is not None or task.qlora is not None):
        raise InputError("adapter trains an adapter further as it is: leave lora and qlora out.")
    if task.task != "language-modeling" and model.model_name_or_path is None:
        raise InputError(
            f"task={task.task!r} starts from a trained model: give model_name_or_path in place of preset, and random_weights=true to "
            "measure what its training is worth."
        )
    return task


def _check_weights(task: TaskArguments, model: ModelArguments, training: dict[str, Any]) -> None:
    """Raise `InputError` for a part of the model's own loss beside weights of classes, which take its place."""
    parts = {
        "label_smoothing_factor": training.get("label_smoothing_factor"),
        "config.auxiliary_lm_weight": model.config.get("auxiliary_lm_weight"),
    }
    for name, value in parts.items():
        if task.class_weights is not None and value:
            raise InputError(f"{name}={value} is a part of the loss whose place class_weights takes: leave one of them out.")


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
    """Return the training arguments with those that a run which must not be lost has in any case."""
    values = {"logging_nan_inf_filter": False, **values}
    if values.get("save_total_limit") == 1:
        # The one before stands in for the newest, should that be found damaged.
        values["save_total_limit"] = 2
    return values


def run_size(
    model: ModelArguments, data: DataArguments, run: RunArguments, training: dict[str, Any], is_task: bool
) -> RunSize:
    """Return how much a run computes, as far as its values tell."""
    rows = training.get("per_device_train_batch_size", TrainingArguments.per_device_train_batch_size)
    config = flops = None
    if model.preset is not None:
        vocab_size = model.config.get("vocab_size", data.tokenizer_vocab_size)
        try:
            config = preset(model.preset, **{"vocab_size": vocab_size, **model.config})
        except (ValueError, TypeError, StrictDataclassError):
            # Told where the model is built, with the tokenizer that it is for.
            config = None
    steps = training.get("max_steps", -1)
    if config is not None and steps > 0:
        accumulated = training.get("gradient_accumulation_steps", 1)
        flops = training_flops(config, data.block_size).total * steps * accumulated * rows * data.block_size
    return RunSize(run.max_minutes, flops, config, rows * data.block_size, is_task)


def kept_by(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Return what the run that a recipe resumes, or extends, has settled; empty where it begins one."""
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


def recipe_text(recipe: Recipe) -> str:
    """Return the recipe as YAML, as it was read with its overrides: what a run folder keeps to be resumed and reproduced."""
    return yaml.safe_dump(recipe.values, sort_keys=False, allow_unicode=True)
