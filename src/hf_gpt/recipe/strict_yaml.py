"""YAML as a recipe may use it: plain values, each key once, nothing that refers to something else."""

import re
from typing import Any

import yaml

from ..errors import InputError, shown


# A recipe is a page of values; what is longer is another file, given by mistake.
MAX_CHARACTERS = 1 << 20
PLAIN = (type(None), bool, int, float, str)


class _Loader(yaml.SafeLoader):
    """Refuses anchors, aliases and repeated keys, and reads `1e-3` as a number, which YAML 1.1 takes for text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, "anchors and aliases are not read: write each value out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        if isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise yaml.constructor.ConstructorError(None, None, "a key is a word or a number", key.start_mark)
                line, written = key.start_mark.line + 1, (key.tag, key.value)
                if written in lines:
                    raise _Repeated(key.value, lines[written], line)
                lines[written] = line
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            keys = [key.value for key, _ in node.value]
            problem = f"two of the keys {', '.join(keys)} are the same value, such as yes and on: put them in quotes"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return found


class _Repeated(yaml.YAMLError):
    def __init__(self, key: str, first: int, line: int):
        super().__init__(f"the key {shown(key)} is in line {first} and again in line {line}: keep one of them")


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def read_yaml(text: str, what: str) -> Any:
    """Return the values of a YAML text.

    Args:
        what: What the text is, for a message.

    Raises:
        InputError: no YAML, more than plain values, a repeated key (with its lines), or text that has no UTF-8.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{what} has {len(text):,} characters: a recipe has a page of them, {MAX_CHARACTERS:,} at most.")
    try:
        return _plain(_Loader(text).get_single_data(), what)
    except _Repeated as error:
        raise InputError(f"{what}: {error}.") from error
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{what} is not YAML of plain values: {error.problem}{line}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{what} is not YAML of plain values: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise InputError(f"{what} is nested too deeply: a recipe is one `key: value` a line.") from error
    except (ValueError, OverflowError) as error:
        # What looks like a date or a number and is none, such as a 13th month or 5,000 digits.
        raise InputError(f"{what} holds a value that cannot be read: {error}") from error


def _plain(value: Any, what: str) -> Any:
    if isinstance(value, str):
        return plain_text(value, what)
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, list):
        return [_plain(item, what) for item in value]
    if isinstance(value, dict):
        return {_plain(key, what): _plain(item, what) for key, item in value.items()}
    raise InputError(f"{what} holds {shown(value)}, a {type(value).__name__}: values are numbers, text, lists and mappings.")


def has_comment(text: str) -> bool:
    """Return whether a YAML text has a comment, which no value is read of."""
    end = 0
    for token in yaml.scan(text, Loader=_Loader):
        if "#" in text[end : token.start_mark.index]:
            return True
        end = token.end_mark.index
    return False


def plain_text(value: str, what: str) -> str:
    """Return the text with letters that JSON wrote as a pair of surrogates put together.

    Raises:
        InputError: a NUL character, or half of a pair.
    """
    if "\0" in value:
        raise InputError(f"{what} holds {shown(value)}, with a NUL character in it: leave it out.")
    try:
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise InputError(f"{what} holds {shown(value)}, which is not UTF-8: half of a pair of surrogates.") from None
