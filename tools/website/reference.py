"""The pages that are made of the code: keys of a recipe, commands, fields of the config, presets, and every module."""

import dataclasses
import html
import inspect
import re
from pathlib import Path
from typing import Any

import typer
from benchmarks.figure import draw_blocks
from benchmarks.tree import PACKAGE, first_line, layers

import hf_gpt
from hf_gpt import cli
from hf_gpt.checks.limits import REFUSED
from hf_gpt.planning import parameter_counts
from hf_gpt.recipe.arguments import PARTS


PARTS_SHOWN = {"model": "The model", "data": "The data", "run": "The run", "task": "The task", "training": "Training"}
PUBLIC = [name for name in hf_gpt.__all__ if not name.startswith("_")]


def pages() -> dict[str, str]:
    """Return the text of each generated page by its path on the site."""
    return {
        "recipe-keys.md": recipe_keys(),
        "commands.md": commands(),
        "presets.md": presets(),
        "api.md": public_names(),
        **{f"api/{name}.md": layer(name) for level in layers() for name in level if (PACKAGE / name).is_dir()},
    }


def cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "&#124;")


def code(value: Any) -> str:
    """Return what stands for a value in a cell, where a bar between backticks would end the cell or be shown with what escapes it."""
    return f"<code>{html.escape(str(value), quote=False)}</code>"


def table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(cell, row)) + " |" for row in rows)])


def described(kind: type) -> dict[str, str]:
    """Return what the docstring of a dataclass and of those it inherits from say of each field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        _, _, arguments = (inspect.getdoc(base) or "").partition("Args:\n")
        for names, text in re.findall(r"^    ([\w, ]+?)(?: \([^)]*\))?: (.*(?:\n     .*)*)", arguments, flags=re.MULTILINE):
            found |= dict.fromkeys(re.split(r",\s*", names), text)
    return found


def default(field: dataclasses.Field) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return code(field.default_factory()) if field.default_factory in (dict, list) else ""
    return "" if field.default in (dataclasses.MISSING, None) else code(field.default)


def type_name(field: dataclasses.Field) -> str:
    name = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
    if not isinstance(field.type, (str, type)):
        name = str(field.type).replace("typing.", "")
    return code(name)


def recipe_keys() -> str:
    """Every key that a recipe may have, from the dataclasses that it is read into."""
    parts = [
        "# Recipe keys\n\nEvery key of a recipe with its type and default, made from the dataclasses that a recipe is read into. What "
        "they do together is in [recipes](recipes.md) and [fine-tuning](finetuning.md).\n"
    ]
    for part, kind in PARTS.items():
        texts = described(kind)
        fields = [field for field in dataclasses.fields(kind) if field.init and not field.name.startswith("_")]
        parts.append(f"## {PARTS_SHOWN[part]}\n")
        if part == "training":
            parts.append(
                "The fields of `transformers.TrainingArguments`; what each does is in the documentation of transformers. These are "
                "refused, each for its reason:\n"
            )
            parts.append(
                table(("key", "why it does not belong in a recipe"), [(code(key), why) for key, (_, why) in REFUSED.items()])
            )
            parts.append("\nThese are honoured:\n")
            fields = [field for field in fields if field.name not in REFUSED]
            parts.append(table(("key", "type", "default"), [(code(f.name), type_name(f), default(f)) for f in fields]))
        else:
            rows = [(code(f.name), type_name(f), default(f), texts[f.name]) for f in fields]
            parts.append(table(("key", "type", "default", "what it does"), rows))
        parts.append("")
    return "\n".join(parts)


def commands() -> str:
    """Every command with its arguments and options, from what parses them."""
    group: Any = typer.main.get_command(cli.app)
    parts = [f"# Commands\n\n{group.help}\n\n`python -m hf_gpt` and `accelerate launch -m hf_gpt` take the same.\n"]
    for name, command in group.commands.items():
        parts.append(f"## hf-gpt {name}\n\n{inspect.cleandoc(command.help or '')}\n")
        rows = []
        for parameter in command.params:
            is_argument = parameter.param_type_name == "argument"
            names = (
                [(parameter.metavar or parameter.name).upper()]
                if is_argument
                else [*parameter.opts, *parameter.secondary_opts]
            )
            value = parameter.default
            shown = "" if value in (None, False, ()) or callable(value) or parameter.required else code(value)
            needed = "required" if parameter.required else shown
            rows.append((", ".join(map(code, names)), needed, getattr(parameter, "help", "") or ""))
        parts.append(table(("argument", "default", "what it is"), rows) + "\n")
    return "\n".join(parts)


def presets() -> str:
    """Every preset with its sizes and the picture of its block."""
    parts = [
        "# Presets\n\n`hf_gpt.preset(name)` returns a `GPTConfig`; any field may follow by keyword. Each picture is drawn from the "
        "values of the preset, and what the parts mean is in [the model](model.md).\n"
    ]
    rows = []
    for name in hf_gpt.list_presets():
        config = hf_gpt.preset(name)
        total = sum(parameter_counts(config).values())
        rows.append(
            (
                f"[`{name}`](#{name.replace('.', '')})",
                f"{total / 1e6:,.1f}M",
                config.num_hidden_layers,
                config.hidden_size,
                f"{config.num_attention_heads} / {config.num_key_value_heads or config.num_attention_heads}",
                f"{config.max_position_embeddings:,}",
                f"{config.vocab_size:,}",
            )
        )
    header = ("preset", "parameters", "layers", "width", "heads / kv", "context", "vocabulary")
    parts.append(table(header, rows) + "\n")
    parts += [f"## {name}\n\n![The block of {name}](presets/{name}.svg)\n" for name in hf_gpt.list_presets()]
    return "\n".join(parts)


def draw_presets(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in hf_gpt.list_presets():
        draw_blocks({name: name}, folder / f"{name}.svg")


def public_names() -> str:
    """What `import hf_gpt` gives, in the order of `__all__`."""
    parts = ["# API\n\nWhat `import hf_gpt` gives. The modules below it, by their layer, are on the pages beside this one.\n"]
    return "\n".join([*parts, *(f"::: hf_gpt.{name}\n" for name in PUBLIC)])


def layer(name: str) -> str:
    """Every module of one folder of the package."""
    folder = PACKAGE / name
    parts = [f"# hf_gpt.{name}\n\n{first_line(folder / '__init__.py')}\n"]
    for path in sorted(folder.rglob("*.py")):
        if path.name != "__init__.py":
            parts.append(f"::: hf_gpt.{path.relative_to(PACKAGE).with_suffix('').as_posix().replace('/', '.')}\n")
    return "\n".join(parts)
