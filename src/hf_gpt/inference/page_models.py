"""What the tabs of the page of `hf-gpt demo` share: its models, the colours of tokens, lists of what was expected, and messages."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gradio as gr
from transformers import PreTrainedTokenizerBase

from ..errors import InputError, counted
from . import inspect as inspection
from .guesses import visible
from .page_parts import rate, rates


# How likely a token was, from a bound on, and the colour of its band; told apart by people with any kind of colour vision.
BANDS = (
    (0.5, "over 50 %", "#4575b4"),
    (0.1, "10 to 50 %", "#91bfdb"),
    (0.01, "1 to 10 %", "#fee090"),
    (0.001, "0.1 to 1 %", "#fc8d59"),
    (0.0, "under 0.1 %", "#d73027"),
)
BAND_COLORS = {name: color for _, name, color in BANDS}


@dataclass(frozen=True)
class Model:
    """A model on the page."""

    name: str
    network: Any
    tokenizer: PreTrainedTokenizerBase
    first_texts: tuple[str, str, str] = ("", "", "")

    @property
    def is_language_model(self) -> bool:
        return inspection.is_language_model(self.network)

    @property
    def answers(self) -> bool:
        """Whether a prompt is a message to it, as it was for `hf-gpt chat`, and not the beginning of a text."""
        return self.is_language_model and self.tokenizer.chat_template is not None

    @property
    def title(self) -> str:
        config = self.network.config
        size = f"{self.network.num_parameters() / 1e6:,.1f} million parameters"
        heads = f"{counted(config.num_hidden_layers, 'layers')} of {counted(config.num_attention_heads, 'heads')}"
        kind = " It answers: its tokenizer has a chat template." if self.answers else ""
        return (
            f"**{self.name}** has {size} in {heads} and reads up to {counted(config.max_position_embeddings, 'tokens')}.{kind}"
        )


@contextmanager
def messages() -> Iterator[None]:
    """Show what a visitor can fix as a message on the page."""
    try:
        yield
    except InputError as error:
        raise gr.Error(str(error), duration=None, print_exception=False) from error


def band(loss: float | None) -> str | None:
    """Return the name of the band that a token's probability falls into."""
    # A loss that is no number is above no bound.
    return None if loss is None else next((name for bound, name, _ in BANDS if math.exp(-loss) >= bound), BANDS[-1][1])


def coloured(reading: inspection.Reading) -> list[tuple[str, str | None]]:
    """Return the tokens of a text, each with its band."""
    return [(piece or "·", band(loss)) for piece, loss in zip(reading.pieces, reading.losses)]


def in_place_of(piece: str, loss: float) -> str:
    """Return the line over what was expected in place of a token."""
    return f"In place of `{visible(piece)}`, which had {rate(math.exp(-loss))}, was expected:"


def listed(guesses: list[tuple[str, float]]) -> str:
    """Return the list of what was expected; tokens that read the same count together."""
    added: dict[str, float] = {}
    for token, probability in guesses:
        added[token] = added.get(token, 0) + probability
    return rates(added)


def on(triggers: list[Any], function: Callable[..., Any], inputs: Any, outputs: Any, **options: Any) -> Any:
    """Return an event that waits until the one before it is done, whatever that was: a model does one thing at a time."""
    return gr.on(triggers, function, inputs, outputs, concurrency_id="model", concurrency_limit=1, **options)
