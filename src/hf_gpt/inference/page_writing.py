"""The tab of the page of `hf-gpt demo` on which models write: one prompt, each in its way, and how likely each token was."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr
import torch

from .chat import Conversation
from .guesses import expected_after
from .inspect import read_answer
from .page_models import BAND_COLORS, Model, coloured, in_place_of, listed, messages, on
from .page_parts import check_length, check_number
from .writing import stream_answer


# Tokens of a continuation that one visitor may ask for, and the largest seed.
NEW_TOKENS = 256
LARGEST_SEED = 2**32 - 1
# Of a field of a row: five stand side by side.
NARROW = 120

# What a model was asked and what it wrote, as ids.
Written = tuple[list[int], list[int]]


def write(
    model: Model, prompt: str, new_tokens: float, temperature: float, top_p: float, top_k: float, seed: float
) -> Iterator[tuple[Any, ...]]:
    """Return an answer, or a prompt and its continuation, word by word; with the last its tokens and ids, and no guesses yet."""
    with messages():
        count = int(check_number("New tokens", new_tokens, 1, NEW_TOKENS))
        check_number("Temperature", temperature, 0, 2)
        check_number("Top p", top_p, 0, 1)
        settings = (count, temperature, top_p, int(check_number("Top k", top_k, 0, 200)))
        seed = int(check_number("Seed", seed, 0, LARGEST_SEED))
        prompt = check_length(prompt)
        asked = Conversation(model.tokenizer, turns=[prompt]).ids()
        begun = "" if model.answers else prompt
        for text, ids in stream_answer(model.network, model.tokenizer, asked, *settings, seed):
            pieces = coloured(read_answer(model.network, model.tokenizer, asked, ids)) if ids else []
            yield begun + text, pieces, (asked, ids), "", ""


def choose_written(model: Model, written: Written, chosen: Any) -> tuple[str, str]:
    """Return what was expected in place of a token that the model wrote."""
    asked, ids = written
    with messages():
        chosen = int(check_number("the token", chosen, 0, len(ids) - 1))
    reading = read_answer(model.network, model.tokenizer, asked, ids)
    before = torch.tensor([[*asked, *ids[:chosen]]], device=model.network.device)
    told = in_place_of(reading.pieces[chosen], reading.losses[chosen])
    return told, listed(expected_after(model.network, model.tokenizer, before))


def clicked(model: Model) -> Callable[..., tuple[str, str]]:
    """`choose_written` as Gradio calls it: it finds the click by the annotation, which it does not see in a partial function."""

    def choose_clicked(written: Written, event: gr.SelectData) -> tuple[str, str]:
        return choose_written(model, written, event.index)

    return choose_clicked


def writing_tab(models: list[Model]) -> None:
    prompt = gr.Textbox(
        models[0].first_texts[0], label="Prompt", lines=3, elem_id="prompt", placeholder="Begin a text, or ask"
    )
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
        columns = [writing_column(model, index) for index, model in enumerate(models)]
    started = []
    for model, (text, pieces, written, *told) in zip(models, columns):
        outputs = [text, pieces, written, *told]
        started += [on([start.click, prompt.submit], partial(write, model), [prompt, *settings], outputs, api_name="write")]
        on([pieces.select], clicked(model), [written], told, api_name="choose_written")
    stop.click(None, cancels=started)


def writing_column(model: Model, index: int) -> tuple[Any, ...]:
    """Return where one model writes: its text, the tokens, their ids, and what was expected in place of one."""
    with gr.Column(min_width=420):
        name = f"{model.name} {'answers' if model.answers else 'continues'}"
        text = gr.Textbox(label=name, lines=6, buttons=["copy"], interactive=False, elem_id=f"written-{index}")
        pieces = gr.HighlightedText(
            label="How likely each token was: click one",
            color_map=BAND_COLORS,
            show_legend=True,
            show_inline_category=False,
            elem_id=f"tokens-{index}",
            elem_classes="reading",
        )
        told = gr.Markdown(elem_id=f"told-{index}")
        guesses = gr.HTML(elem_id=f"expected-{index}")
    return text, pieces, gr.State(([], [])), told, guesses
