"""A page to try one model or two side by side: they write, say what they expected at each token, and show where they look."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from matplotlib.figure import Figure
from transformers import PreTrainedTokenizerBase

from ..errors import InputError
from ..reports.plots import attention_figure
from . import inspect as inspection
from . import page_parts
from .guesses import expected_at, visible
from .page_parts import CHARACTERS, check_length, check_number, rate, rates


# What one visitor may ask of the machine: tokens of a continuation, visitors that wait.
NEW_TOKENS = 256
LARGEST_SEED = 2**32 - 1
# Bytes of a file: nothing on the page takes one, and Gradio would keep whatever is sent.
UPLOAD = 1
WAITING = 16

# How likely a token was, from a bound on, and the colour of its band; told apart by people with any kind of colour vision.
BANDS = (
    (0.5, "over 50 %", "#4575b4"),
    (0.1, "10 to 50 %", "#91bfdb"),
    (0.01, "1 to 10 %", "#fee090"),
    (0.001, "0.1 to 1 %", "#fc8d59"),
    (0.0, "under 0.1 %", "#d73027"),
)
# Of a field of a row: five stand side by side.
NARROW = 120
FONTS = ("system-ui", "sans-serif")
STYLE = f"""{page_parts.STYLE}
.gradio-container {{ max-width: 1180px !important; margin: auto; }}
.reading .textfield {{ font-size: 1.1rem; line-height: 2.1; }}
.reading .legend-item {{ font-size: 0.8rem; font-weight: 400; padding: 0 8px; }}
.reading .token {{ cursor: pointer; }}
footer {{ display: none !important; }}
"""


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
    def title(self) -> str:
        config = self.network.config
        size = f"{self.network.num_parameters() / 1e6:,.1f} million parameters"
        heads = f"{config.num_hidden_layers} layers of {config.num_attention_heads} heads"
        return f"**{self.name}** has {size} in {heads} and reads up to {config.max_position_embeddings:,} tokens."


@dataclass(frozen=True)
class Column:
    """What one model shows of a text that it was given to look at."""

    model: Model
    text: gr.State
    chosen: gr.State
    pieces: gr.HighlightedText
    summary: gr.Markdown
    guesses: gr.HTML
    layer: gr.Slider
    head: gr.Slider
    picture: gr.Plot


@contextmanager
def messages() -> Iterator[None]:
    """Show what a visitor can fix as a message on the page."""
    try:
        yield
    except InputError as error:
        raise gr.Error(str(error), duration=None, print_exception=False) from error


# ---------------------------------------------------------------------------------------------------- what models say


def write(
    model: Model, prompt: str, new_tokens: float, temperature: float, top_p: float, top_k: float, seed: float
) -> Iterator[str]:
    """Return the prompt and its continuation, word by word."""
    with messages():
        count = int(check_number("New tokens", new_tokens, 1, NEW_TOKENS))
        check_number("Temperature", temperature, 0, 2)
        check_number("Top p", top_p, 0, 1)
        settings = (count, temperature, top_p, int(check_number("Top k", top_k, 0, 200)))
        seed = int(check_number("Seed", seed, 0, LARGEST_SEED))
        prompt = check_length(prompt)
        for written in inspection.stream_text(model.network, model.tokenizer, prompt, *settings, seed):
            yield prompt + written


def band(loss: float | None) -> str | None:
    """Return the name of the band that a token's probability falls into."""
    # A loss that is no number is above no bound.
    return None if loss is None else next((name for bound, name, _ in BANDS if math.exp(-loss) >= bound), BANDS[-1][1])


def look(model: Model, text: str, layer: int, head: int) -> tuple[Any, ...]:
    """Return a text looked at up to its end: itself, the chosen token, and what its column shows."""
    with messages():
        text = check_length(text)
        check_map(model, layer, head)
        if not model.is_language_model:
            pieces, weights = inspection.attention_maps(model.network, model.tokenizer, text)
            plain = [(piece or "·", None) for piece in pieces]
            return text, len(pieces) - 1, plain, f"{len(pieces)} tokens.", None, picture(pieces, weights, layer, head)
        reading = inspection.read_text(model.network, model.tokenizer, text)
    coloured = [(piece or "·", band(loss)) for piece, loss in zip(reading.pieces, reading.losses)]
    perplexity = "" if reading.perplexity is None else f", perplexity **{reading.perplexity:,.1f}**"
    told = f"{len(coloured)} tokens{perplexity}. Expected **after the text**:"
    drawn = draw(model, text, len(coloured) - 1, layer, head)
    return text, len(coloured) - 1, coloured, told, expected(model, text, len(coloured)), drawn


def choose(model: Model, text: str, chosen: int, layer: int, head: int) -> tuple[Any, ...]:
    """Return what was expected in place of the chosen token, and where it looks."""
    drawn = draw(model, text, chosen, layer, head)
    if not model.is_language_model:
        return chosen, gr.skip(), gr.skip(), drawn
    with messages():
        reading = inspection.read_text(model.network, model.tokenizer, check_length(text))
        chosen = int(check_number("the token", chosen, 0, len(reading.pieces) - 1))
    piece, loss = visible(reading.pieces[chosen]), reading.losses[chosen]
    if loss is None:
        return chosen, f"`{piece}` is the first token: nothing comes before it.", "", drawn
    told = f"In place of `{piece}`, which had {rate(math.exp(-loss))}, was expected:"
    return chosen, told, expected(model, text, chosen), drawn


def draw(model: Model, text: str, chosen: int, layer: int, head: int) -> Figure | None:
    """Return the attention maps of a text up to the chosen token; none before there is a text."""
    if not text:
        return None
    with messages():
        check_map(model, layer, head)
        pieces, weights = inspection.attention_maps(model.network, model.tokenizer, check_length(text))
        chosen = int(check_number("the token", chosen, 0, len(pieces) - 1))
    return picture(pieces[: chosen + 1], weights, layer, head)


def check_map(model: Model, layer: Any, head: Any) -> None:
    """Raise `InputError` for a layer or a head that the model has not."""
    config = model.network.config
    for name, value, count in (("Layer", layer, config.num_hidden_layers), ("Head", head, config.num_attention_heads)):
        if check_number(name, value, 1, count) != int(value):
            raise InputError(f"{name} is {value!r}: give a whole number.")


def picture(pieces: list[str], weights: Any, layer: int, head: int) -> Figure:
    return attention_figure([visible(piece) for piece in pieces], weights, int(layer) - 1, int(head) - 1, len(pieces) - 1)


def expected(model: Model, text: str, place: int) -> str:
    """Return the list of what was expected at a place of a text; tokens that read the same count together."""
    added: dict[str, float] = {}
    for token, probability in expected_at(model.network, model.tokenizer, text, place):
        added[token] = added.get(token, 0) + probability
    return rates(added)


def classify(model: Model, text: str, second: str) -> str:
    """Return the classes of a text, or the number of a model of regression."""
    with messages():
        found = inspection.classify(model.network, model.tokenizer, check_length(text), check_length(second))
    return rates(found) if isinstance(found, dict) else f"{found:.3f}"


# ------------------------------------------------------------------------------------------------------------ the page


def load_model(name: str) -> Model:
    network, tokenizer = inspection.load(name)
    texts = page_parts.first_texts(name, network, tokenizer)
    return Model(Path(name).name if Path(name).is_dir() else name, network, tokenizer, texts)


def build_page(names: list[str]) -> gr.Blocks:
    """Return the page of one model or of two.

    Raises:
        InputError: a model cannot be loaded.
    """
    models = [load_model(name) for name in names]
    with gr.Blocks(title=" and ".join(model.name for model in models), analytics_enabled=False) as page:
        gr.Markdown("\n\n".join(["# " + " · ".join(model.name for model in models), *(model.title for model in models)]))
        writers = [model for model in models if model.is_language_model]
        judges = [model for model in models if not model.is_language_model]
        if writers:
            with gr.Tab("Write"):
                writing_tab(writers)
        if judges:
            with gr.Tab("Classify"):
                classifying_tab(judges)
        with gr.Tab("Look inside"):
            looking_tab(models)
        gr.Markdown(
            f"<small>A text may have {CHARACTERS:,} characters. One request is worked on at a time, and {WAITING} may wait. "
            "These are small models: what they write is invented.</small>"
        )
    return page.queue(max_size=WAITING, default_concurrency_limit=1)


def on(triggers: list[Any], function: Callable[..., Any], inputs: Any, outputs: Any, **options: Any) -> Any:
    """Return an event that waits until the one before it is done, whatever that was: a model does one thing at a time."""
    return gr.on(triggers, function, inputs, outputs, concurrency_id="model", concurrency_limit=1, **options)


def writing_tab(models: list[Model]) -> None:
    prompt = gr.Textbox(models[0].first_texts[0], label="Prompt", lines=3, elem_id="prompt", placeholder="Begin a text")
    with gr.Row(elem_id="settings"):
        settings = [
            gr.Slider(1, NEW_TOKENS, 60, step=1, label="New tokens", min_width=NARROW),
            gr.Slider(0, 2, 0.8, step=0.05, label="Temperature", min_width=NARROW),
            gr.Slider(0.05, 1, 0.95, step=0.05, label="Top p", min_width=NARROW),
            gr.Slider(0, 200, 50, step=1, label="Top k", min_width=NARROW),
            gr.Number(0, label="Seed", precision=0, minimum=0, maximum=LARGEST_SEED, min_width=NARROW),
        ]
    gr.Markdown(
        "<small>Each token is drawn from the *top k* likeliest (0: from all), of which the likeliest that make up *top p* stay; "
        "a lower *temperature* prefers the likely ones, 0 always takes the likeliest. Another *seed*, another text.</small>"
    )
    with gr.Row():
        start = gr.Button("Write", variant="primary", elem_id="write")
        stop = gr.Button("Stop")
    with gr.Row():
        outputs = [
            gr.Textbox(label=model.name, lines=6, buttons=["copy"], interactive=False, elem_id=f"written-{index}")
            for index, model in enumerate(models)
        ]
    started = [
        on([start.click, prompt.submit], partial(write, model), [prompt, *settings], output, api_name="write")
        for model, output in zip(models, outputs)
    ]
    stop.click(None, cancels=started)


def classifying_tab(models: list[Model]) -> None:
    _, first, other = models[0].first_texts
    text = gr.Textbox(first, label="Text", lines=4, elem_id="text-to-classify", placeholder="A text to classify")
    second = gr.Textbox(other, label="Second text", info="for a model of pairs of texts", lines=1)
    start = gr.Button("Classify", variant="primary", elem_id="classify")
    with gr.Row():
        outputs = [
            gr.HTML(label=model.name, show_label=True, container=True, elem_id=f"classes-{index}")
            for index, model in enumerate(models)
        ]
    for model, output in zip(models, outputs):
        on([start.click, text.submit], partial(classify, model), [text, second], output, api_name="classify")


def looking_tab(models: list[Model]) -> None:
    gr.Markdown("Colours tell how likely each token was, given those before it. **Click a token** to go back to its place.")
    text = gr.Textbox(
        models[0].first_texts[1], label="Text", lines=3, elem_id="text-to-look-at", placeholder="A text to look at"
    )
    start = gr.Button("Look", variant="primary", elem_id="look")
    with gr.Row():
        columns = [looking_column(model, index) for index, model in enumerate(models)]
    for column in columns:
        map_of = [column.layer, column.head]
        shown = [column.summary, column.guesses, column.picture]
        outputs = [column.text, column.chosen, column.pieces, *shown]
        on([start.click, text.submit], partial(look, column.model), [text, *map_of], outputs, api_name="look")
        on([column.pieces.select], clicked(column.model), [column.text, *map_of], [column.chosen, *shown], api_name="choose")
        again = [column.layer.release, column.head.release, column.layer.input, column.head.input]
        on(
            again,
            partial(draw, column.model),
            [column.text, column.chosen, *map_of],
            column.picture,
            trigger_mode="always_last",
            api_name="draw",
        )


def clicked(model: Model) -> Callable[..., tuple[Any, ...]]:
    """`choose` as Gradio calls it: it finds the click by the annotation, which it does not see in a partial function."""

    def choose_clicked(text: str, layer: int, head: int, event: gr.SelectData) -> tuple[Any, ...]:
        return choose(model, text, event.index, layer, head)

    return choose_clicked


def looking_column(model: Model, index: int) -> Column:
    config = model.network.config
    with gr.Column(min_width=420):
        pieces = gr.HighlightedText(
            label=model.name,
            color_map={name: color for _, name, color in BANDS},
            show_legend=model.is_language_model,
            show_inline_category=False,
            elem_id=f"pieces-{index}",
            elem_classes="reading",
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=260, visible=model.is_language_model):
                summary = gr.Markdown(elem_id=f"summary-{index}")
                guesses = gr.HTML(elem_id=f"guesses-{index}")
            with gr.Column(scale=5, min_width=420):
                with gr.Row():
                    layer = gr.Slider(1, config.num_hidden_layers, 1, step=1, label="Layer", elem_id=f"layer-{index}")
                    head = gr.Slider(1, config.num_attention_heads, 1, step=1, label="Head", elem_id=f"head-{index}")
                plot = gr.Plot(show_label=False, elem_id=f"picture-{index}")
    return Column(model, gr.State(""), gr.State(0), pieces, summary, guesses, layer, head, plot)


def serve(names: list[str], host: str, port: int, wait: bool = True) -> str:
    """Serve the page of one model or of two, and give its address.

    Args:
        host: The address to listen at; with that of loopback only this machine can see the page.
        port: 0 for a free one.
        wait: Whether to serve until the process is interrupted.

    Raises:
        InputError: a model cannot be loaded, or the port is taken.
    """
    page = build_page(names)
    theme = gr.themes.Soft(primary_hue="blue", secondary_hue="blue", font=FONTS, font_mono=("ui-monospace", "monospace"))
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port or None,
            share=False,
            ssr_mode=False,
            enable_monitoring=False,
            footer_links=[],
            theme=theme,
            css=STYLE,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=UPLOAD,
        )
    except OSError as error:
        raise InputError(f"port={port} at host={host!r} cannot be listened at ({error}): give another --port.") from error
    print(f"{' and '.join(names)} at {address}; stop with Ctrl+C", flush=True)
    if wait:
        page.block_thread()
    return address
