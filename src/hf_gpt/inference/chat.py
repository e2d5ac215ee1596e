"""A conversation with a model in a terminal, each answer as it is written."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase, StoppingCriteriaList, set_seed

from ..checks.boundary import refused
from ..data.conversations import template_ids, template_refusals, template_text
from ..errors import InputError, counted, one_line
from .loading import load_model
from .writing import Told, VisibleStreamer, check_settings, endings, id_inputs, prompt_ids, sampling


HELP = "/reset begins anew, /exit or Ctrl-D ends, Ctrl-C stops an answer"


@dataclass
class Conversation:
    """What was said, as a model reads it: by the tokenizer's chat template, or one text after the other where it has none.

    Attributes:
        turns: In turn the user's and the model's, the user's first.
    """

    tokenizer: PreTrainedTokenizerBase
    system: str | None = None
    turns: list[str] = field(default_factory=list)

    @property
    def has_template(self) -> bool:
        return self.tokenizer.chat_template is not None

    def ids(self) -> list[int]:
        """Return the tokens that the next answer follows.

        Raises:
            InputError: the chat template refuses them.
        """
        if not self.has_template:
            return prompt_ids(self.tokenizer, "\n".join([*([self.system] if self.system else []), *self.turns]))
        messages = [{"role": "system", "content": self.system}] if self.system else []
        messages += [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(self.turns)]
        with template_refusals("the conversation", ": leave --system out." if self.system else "."):
            return template_ids(self.tokenizer, template_text(self.tokenizer, messages, True))

    def shorten(self, room: int) -> int:
        """Drop the oldest questions with their answers until the rest has at most `room` tokens; the last question stays.

        Returns:
            How many turns were dropped.
        """
        before = len(self.turns)
        while len(self.turns) > 2 and len(self.ids()) > room:
            del self.turns[:2]
        return before - len(self.turns)


def messages(is_terminal: bool) -> Iterator[str]:
    """Return what a person types, or the lines that are piped in; blank ones are left out."""
    if not is_terminal:
        with refused("stdin cannot be read"):
            yield from (line.strip() for line in sys.stdin if line.strip())
        return
    with suppress(ImportError):
        import readline  # noqa: F401
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print(f"\n({HELP})")
            continue
        if line:
            yield line


@contextmanager
def interrupt_sets(event: Any) -> Iterator[None]:
    """Within it Ctrl-C sets an event and ends nothing."""
    before = signal.signal(signal.SIGINT, lambda *_: event.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupt_raises() -> Iterator[None]:
    """Within it Ctrl-C raises `KeyboardInterrupt` and is not taken for the end of the command."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def write_answer(model: Any, conversation: Conversation, max_new_tokens: int, options: dict[str, Any]) -> str:
    """Return the model's answer, printed as it is written; Ctrl-C stops it where it is."""
    tokenizer, stop = conversation.tokenizer, Told()
    inputs = id_inputs(model, conversation.ids(), max_new_tokens)
    with interrupt_sets(stop.event):
        written = model.generate(
            **inputs,
            **options,
            max_new_tokens=max_new_tokens,
            **endings(model, tokenizer),
            streamer=VisibleStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True),
            stopping_criteria=StoppingCriteriaList([stop]),
        )
    return str(tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


def chat(
    name: str, max_new_tokens: int, temperature: float, top_p: float, seed: int, system: str | None, is_terminal: bool
) -> int:
    """Answer what is typed, or each line that is piped in, until the end; what is no answer goes to stderr.

    Returns:
        How many messages got no answer.

    Raises:
        InputError: the model cannot be loaded, or a setting is none that it may be.
    """
    check_settings(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed)
    model, tokenizer = load_model(name)
    conversation = Conversation(tokenizer, system)
    if not conversation.has_template:
        tell(f"{name} has no chat template: it continues the text. `task: chat` in a recipe teaches it to answer.")
    if is_terminal:
        tell(HELP)
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None:
        max_new_tokens = min(max_new_tokens, max(limit // 2, 1))
    set_seed(seed)
    unanswered = 0
    with interrupt_raises():
        for message in messages(is_terminal):
            if message == "/exit":
                break
            if message == "/reset":
                conversation.turns.clear()
                continue
            conversation.turns.append(message)
            try:
                dropped = 0 if limit is None else conversation.shorten(limit - max_new_tokens)
                if dropped:
                    tell(
                        f"the conversation is longer than {limit} positions: its {counted(dropped, 'oldest turns are')} dropped"
                    )
                with refused(f"model={name!r} cannot generate with its generation_config.json"):
                    answer = write_answer(model, conversation, max_new_tokens, sampling(temperature, top_p))
            except InputError as error:
                # One question that cannot be answered is not the end of a conversation.
                tell(str(error))
                conversation.turns.pop()
                unanswered += 1
            except KeyboardInterrupt:
                # A chat template is a program, and may take for ever.
                tell("interrupted before the answer began")
                conversation.turns.pop()
                if not is_terminal:
                    raise
            else:
                conversation.turns.append(answer)
    return unanswered


def tell(message: str) -> None:
    print(f"({one_line(message)})", file=sys.stderr, flush=True)
