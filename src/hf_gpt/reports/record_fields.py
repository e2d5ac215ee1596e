"""The fields of a record that cards, pictures and comparisons read, each with its type: what another hand has changed is named."""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import InputError, shown


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value)


TYPES: dict[str, Callable[[Any], bool]] = {
    "a number": _is_number,
    "a number above 0": lambda value: _is_number(value) and value > 0,
    "a whole number": lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63,
    "text": lambda value: isinstance(value, str),
    "a name of Python": lambda value: isinstance(value, str) and value.isidentifier(),
    "true or false": lambda value: isinstance(value, bool),
    "a mapping": lambda value: isinstance(value, dict),
    "a list": lambda value: isinstance(value, list),
}
NUMBER, POSITIVE, COUNT, TEXT, NAME, FLAG, MAPPING, LIST = TYPES
# A path names keys. `[]` stands for every entry of a list, `{}` for every value of a mapping; a final `?` means that the field may be
# missing, `??` that it may be null, too. What would be inside of a missing mapping is not missed.
_COMMON = {
    "name": TEXT,
    "auto_class?": NAME,
    "adapter??": TEXT,
    "exported?": MAPPING,
    "exported.layout": TEXT,
    "recipe": MAPPING,
    "recipe.model_name_or_path??": TEXT,
    "recipe.license??": TEXT,
    "origin?": MAPPING,
    **{f"origin.{key}?": TEXT for key in ("license", "license_name", "license_link", "base_model")},
    "origin.unpublishable?": LIST,
    "origin.unpublishable[]": TEXT,
    "config": MAPPING,
    "parameters": COUNT,
    "active_parameters?": COUNT,
    "data": MAPPING,
    "data.path": TEXT,
    **{f"data.{key}?": TEXT for key in ("source", "license", "version", "sha256", "caveat")},
    "data.splits?": MAPPING,
    "steps": COUNT,
    "training_seconds": POSITIVE,
    "total_seconds": NUMBER,
    "precision": TEXT,
    "compiled": FLAG,
    "history": LIST,
    "history[]": MAPPING,
    **{
        f"history[].{key}?": NUMBER
        for key in ("loss", "eval_loss", "aux_loss", "learning_rate", "tokens", "tokens_per_second", "elapsed_seconds")
    },
    "history[].expert_use?": LIST,
    "history[].expert_use[]": LIST,
    "history[].expert_use[][]": NUMBER,
    "test": MAPPING,
    "test{}": NUMBER,
    "baselines": LIST,
    "baselines[]": MAPPING,
    "baselines[].name": TEXT,
    "versions": MAPPING,
    "versions{}": TEXT,
    "device": MAPPING,
    "device.accelerator?": TEXT,
    "device.processor": TEXT,
    "device.instructions?": TEXT,
    "device.cores": COUNT,
    "peak_memory": MAPPING,
    "peak_memory.host_bytes": NUMBER,
    "git??": MAPPING,
    "git.commit": TEXT,
    "git.dirty": FLAG,
    "emissions?": MAPPING,
    "emissions.energy_kwh": NUMBER,
    "emissions.co2_kg": NUMBER,
}
_LANGUAGE_MODEL = {
    **_COMMON,
    "recipe.block_size?": COUNT,
    "data.splits{}": MAPPING,
    **{f"data.splits{{}}.{key}": COUNT for key in ("texts", "bytes", "tokens")},
    "data.files?": LIST,
    "data.files[].name": TEXT,
    "data.files[].sha256": TEXT,
    "tokens_seen": COUNT,
    "tokens_per_second?": NUMBER,
    **{f"test.{key}": NUMBER for key in ("loss", "perplexity", "bits_per_byte")},
    "test.tokens": COUNT,
    **{f"baselines[].{key}": NUMBER for key in ("loss", "perplexity", "bits_per_byte")},
    "samples": LIST,
    "samples[]": MAPPING,
    **{f"samples[].{key}": TEXT for key in ("prompt", "text")},
    "samples[].seed": COUNT,
}
FIELDS: dict[str, dict[str, str]] = {
    "train": _LANGUAGE_MODEL,
    "train-masked": _LANGUAGE_MODEL,
    "finetune": {
        **_COMMON,
        "task": TEXT,
        "base": TEXT,
        "random_weights": FLAG,
        "config.num_labels?": COUNT,
        "trainable_parameters": COUNT,
        "saved_bytes": COUNT,
        "epochs": NUMBER,
        "history[].step": COUNT,
        # A run of reinforcement has none.
        "test.loss?": NUMBER,
        "data.splits": MAPPING,
        "data.splits{}": COUNT,
        "data.dropped": MAPPING,
        "data.dropped{}": COUNT,
        "data.counts": MAPPING,
        "data.counts{}": MAPPING,
        "data.counts{}{}": COUNT,
        "details?": MAPPING,
        "details.labels?": MAPPING,
        "details.labels{}": MAPPING,
        **{f"details.labels{{}}.{key}": NUMBER for key in ("precision", "recall", "f1")},
        "details.labels{}.rows": COUNT,
        "details.confusion?": MAPPING,
        "details.confusion.labels": LIST,
        "details.confusion.labels[]": TEXT,
        "details.confusion.counts": LIST,
        "details.confusion.counts[]": LIST,
        "details.confusion.counts[][]": COUNT,
        "details.mistakes?": LIST,
        "details.mistakes[]": MAPPING,
        **{f"details.mistakes[].{key}": TEXT for key in ("text", "label", "predicted")},
        "details.mistakes[].probability": NUMBER,
        "details.answers?": LIST,
        "details.answers[]": MAPPING,
        **{f"details.answers[].{key}": TEXT for key in ("prompt", "answer", "reference", "before?")},
        "details.by_length?": MAPPING,
        "details.by_length{}": MAPPING,
        "details.by_length{}.pairs": COUNT,
        "details.by_length{}.accuracy": NUMBER,
        "details.answer_end?": TEXT,
        "details.answer_tokens?": MAPPING,
        **{f"details.answer_tokens.{key}": NUMBER for key in ("mean", "before?")},
        **{f"details.answer_tokens.{key}": COUNT for key in ("answers", "most")},
        **{f"history[].{key}?": NUMBER for key in ("reward", "kl", "flat_groups")},
    },
}
_STEP = re.compile(r"\.?([^.\[\]{}]+)|(\[\])|(\{\})")
_ABSENT = object()


def check_fields(record: dict[str, Any], where: str) -> None:
    """Raise `InputError` when a field that is read of a record is missing, or of another type than a run writes.

    Args:
        where: The file, for the message.
    """
    kind = record.get("kind")
    if not isinstance(kind, str) or kind not in FIELDS:
        raise InputError(f"{where}: kind={shown(kind)} has no card; those that have one are {', '.join(FIELDS)}.")
    for path, wanted in FIELDS[kind].items():
        steps = [match.group(0) for match in _STEP.finditer(path.rstrip("?"))]
        for place, value in _values(record, steps, ""):
            if (path.endswith("?") and value is _ABSENT) or (path.endswith("??") and value is None):
                continue
            if value is _ABSENT:
                raise InputError(f"{where} lacks {place}: restore it, or run again.")
            if not TYPES[wanted](value):
                raise InputError(f"{where}: {place}={shown(value)} must be {wanted}: restore it, or run again.")


def _values(value: Any, steps: list[str], place: str) -> Iterator[tuple[str, Any]]:
    """Return each value at a path, with where it is; `_ABSENT` where its parent lacks it. What has no parent is the parent's fault."""
    if not steps:
        yield place, value
        return
    step, rest = steps[0], steps[1:]
    if step == "[]":
        for index, entry in enumerate(value if isinstance(value, list) else []):
            yield from _values(entry, rest, f"{place}[{index}]")
    elif step == "{}":
        for key, entry in value.items() if isinstance(value, dict) else []:
            yield from _values(entry, rest, f"{place}.{key}")
    elif isinstance(value, dict):
        key = step.removeprefix(".")
        where = f"{place}.{key}" if place else key
        if key in value:
            yield from _values(value[key], rest, where)
        elif not rest:
            yield where, _ABSENT
