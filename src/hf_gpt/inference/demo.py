"""A page to try one model or two side by side: they write, say what they expected at each token, and show where they look."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from matplotlib.figure import Figure

from ..errors import InputError, counted
from ..reports.plots import attention_figure
from . import inspect as inspection
from . import page_parts
from .guesses import expected_at, visible
from .page_models import BAND_COLORS, Model, coloured, in_place_of, listed, messages, on
from .page_parts import CHARACTERS, check_length, check_number, rates
from .page_writing import writing_tab


# Bytes of a file: nothing on the page takes one, and Gradio would keep whatever is sent.
UPLOAD = 1
# Visitors that wait.
WAITING = 16
FONTS = ("system-ui", "sans-serif")
STYLE = f"""{page_parts.STYLE}
.gradio-container {{ max-width: 1180px !important; margin: auto; }}
.reading .textfield {{ font-size: 1.1rem; line-height: 2.1; }}
.reading .legend-item {{ font-size: 0.8rem; font-weight: 400; padding: 0 8px; }}
.reading .token {{ cursor: pointer; }}
footer {{ display: none !important; }}
"""


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


# ---------------------------------------------------------------------------------------------------- what models say


def look(model: Model, text: str, layer: int, head: int) -> tuple[Any, ...]:
    """Return a text looked at up to its end: itself, the chosen token, and what its column shows."""
    with messages():
        text = check_length(text)
        check_map(model, layer, head)
        if not model.is_language_model:
            pieces, weights = inspection.attention_maps(model.network, model.tokenizer, text)
            plain = [(piece or "·", None) for piece in pieces]
            return (
                text,
                len(pieces) - 1,
                plain,
                f"{counted(len(pieces), 'tokens')}.",
                None,
                picture(pieces, weights, layer, head),
            )
        reading = inspection.read_text(model.network, model.tokenizer, text)
    count = len(reading.pieces)
    perplexity = "" if reading.perplexity is None else f", perplexity **{reading.perplexity:,.1f}**"
    told = f"{counted(count, 'tokens')}{perplexity}. Expected **after the text**:"
    guesses = listed(expected_at(model.network, model.tokenizer, text, count))
    return text, count - 1, coloured(reading), told, guesses, draw(model, text, count - 1, layer, head)


def choose(model: Model, text: str, chosen: int, layer: int, head: int) -> tuple[Any, ...]:
    """Return what was expected in place of the chosen token, and where it looks."""
    drawn = draw(model, text, chosen, layer, head)
    if not model.is_language_model:
        return chosen, gr.skip(), gr.skip(), drawn
    with messages():
        reading = inspection.read_text(model.network, model.tokenizer, check_length(text))
        chosen = int(check_number("the token", chosen, 0, len(reading.pieces) - 1))
    piece, loss = reading.pieces[chosen], reading.losses[chosen]
    if loss is None:
        return chosen, f"`{visible(piece)}` is the first token: nothing comes before it.", "", drawn
    guesses = listed(expected_at(model.network, model.tokenizer, text, chosen))
    return chosen, in_place_of(piece, loss), guesses, drawn


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
            color_map=BAND_COLORS,
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
