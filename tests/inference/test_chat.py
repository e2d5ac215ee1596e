"""`hf-gpt chat`: a conversation is what the model reads of it, and ends when a person says so."""

import builtins
import errno
import io
import shutil
import signal
import sys
import threading

import pytest
from tests.conftest import randomize, tiny_config
from tests.helpers.commands import run_command
from transformers import TextStreamer
from typer.testing import CliRunner

import hf_gpt
from hf_gpt import cli
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.errors import InputError, visible
from hf_gpt.inference import chat as module
from hf_gpt.inference.chat import Conversation, chat
from hf_gpt.inference.generate import generate_text
from hf_gpt.process import UnreadError
from hf_gpt.tasks.chat_template import add_chat_template


TEXTS = [f"film {i} is " + "very " * (i % 7) + "good" for i in range(300)]


def make(folder, with_template):
    tokenizer = train_tokenizer(iter([TEXTS]), 300, 64)
    if with_template:
        add_chat_template(tokenizer)
    config = tiny_config(
        "modern",
        vocab_size=len(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        max_position_embeddings=256,
    )
    randomize(hf_gpt.GPTForCausalLM(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make(tmp_path_factory.mktemp("plain"), with_template=False)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    return make(tmp_path_factory.mktemp("taught"), with_template=True)


@pytest.fixture
def say(monkeypatch, capsys):
    """Pipe lines into a conversation: what went to stdout and to stderr, and the conversation in the end."""
    kept = []

    class Kept(Conversation):
        def __init__(self, *given):
            super().__init__(*given)
            kept.append(self)

    def piped(model, *lines, max_new_tokens=8, temperature=0.0, seed=0, system=None, is_terminal=False):
        monkeypatch.setattr(module, "Conversation", Kept)
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        chat(model, max_new_tokens, temperature, 0.95, seed, system, is_terminal)
        out, err = capsys.readouterr()
        # Beside the bars of libraries, which the command hides.
        return out, [line for line in err.splitlines() if line.startswith("(")], kept[-1]

    return piped


def test_a_model_without_a_template_goes_on_with_the_text(plain, say, capsys):
    out, err, conversation = say(plain, "film 1 is", "", "and")
    (line,) = err
    assert "has no chat template: it continues the text" in line
    first, answer, second, _ = conversation.turns
    assert (first, second) == ("film 1 is", "and")
    assert answer
    generate_text(plain, "film 1 is", 8, 0.0, 0.95, 0)
    assert visible(answer) in capsys.readouterr().out
    assert visible(answer) in out
    assert conversation.tokenizer.decode(conversation.ids()).startswith(f"film 1 is\n{answer}\nand\n")


def test_the_template_is_given_the_system_and_all_turns(taught, say):
    out, err, conversation = say(taught, "film 1", "film 2", system="very good")
    assert err == []
    _, first, _, second = conversation.turns
    del conversation.turns[3:]
    assert conversation.tokenizer.decode(conversation.ids()) == (
        "<|im_start|>system\nvery good<|im_end|>\n<|im_start|>user\nfilm 1<|im_end|>\n"
        f"<|im_start|>assistant\n{first}<|im_end|>\n<|im_start|>user\nfilm 2<|im_end|>\n<|im_start|>assistant\n"
    )
    assert visible(first) in out
    assert visible(second) in out


HANGS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
REFUSING = {
    "{{ raise_exception('\x1b[2J\x1b]0;owned\x07 a\nb') }}": "a b",
    "{{ 'a' * 10**17 }}": "MemoryError",
    "{{ 'a' * 10**20 }}": "cannot fit",
    "{{ 10 ** 400 / 1 }}": "too large",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "recursion",
    "{{ 1 / 0 }}": "division by zero",
    "{{ messages[9].content.x }}": "no element 9",
    "{{ ''.__class__.__mro__ }}": "is unsafe",
    "{% for %}": "Expected",
}


@pytest.fixture(scope="module")
def with_template(taught, tmp_path_factory):
    """A model whose tokenizer has that chat template."""

    def make(template):
        folder = tmp_path_factory.mktemp("template") / "model"
        shutil.copytree(taught, folder)
        (folder / "chat_template.jinja").write_text(template)
        return str(folder)

    return make


@pytest.mark.parametrize("template", REFUSING)
def test_what_a_template_raises_is_its_own_fault_in_one_line(template, with_template, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("film 1\n"))
    code, out, err = run_command(monkeypatch, capsys, "chat", with_template(template))
    told, end = [line for line in err.splitlines() if line.startswith(("(", "hf-gpt: "))]
    assert code == 2
    assert told.startswith("(the tokenizer's chat template refuses the conversation: ")
    assert REFUSING[template] in told
    assert end == "hf-gpt: 1 message got no answer: the lines above say why."
    assert not {"\x1b", "\x07"} & set(out + err)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_ctrl_c_ends_a_template_that_hangs(is_terminal, with_template, say, monkeypatch, capsys):
    def typed():
        threading.Timer(1, signal.raise_signal, [signal.SIGINT]).start()
        yield "film 1"

    folder = with_template(HANGS)
    monkeypatch.setattr(module, "messages", lambda is_terminal: typed())
    if is_terminal:
        *_, told = say(folder, is_terminal=True)[1]
    else:
        with pytest.raises(KeyboardInterrupt):
            say(folder)
        *_, told = capsys.readouterr().err.splitlines()
    assert told == "(interrupted before the answer began)"


def test_orders_to_the_terminal_are_printed_as_codes(plain, say, monkeypatch, capsys):
    """Whatever is in a prompt or in what a model writes; a text has lines."""
    written = "a\x1b[2J\x1b[31m\x9b1A\u202eb\tc\nd\r\ne\rf"
    shown = "a\\x1b[2J\\x1b[31m\\x9b1A\\u202eb\tc\nd\r\ne\\rf"
    generate_text(plain, "film\x1b[2J", 2, 0.0, 0.95, 0)
    assert "film\\x1b[2J" in capsys.readouterr().out
    monkeypatch.setattr(TextStreamer, "put", lambda self, value: None)
    monkeypatch.setattr(TextStreamer, "end", lambda self: self.on_finalized_text(written, stream_end=True))
    assert say(plain, "film 1")[0].splitlines() == shown.splitlines()


def test_reset_begins_anew_and_exit_ends(plain, say):
    out, _, conversation = say(plain, "film 1 is", "/reset", "film 1 is", "/exit", "never read")
    assert conversation.turns == ["film 1 is", conversation.turns[1]]
    half = len(out) // 2
    assert out[:half] == out[half:]


def test_a_seed_gives_the_same_conversation_again(plain, say):
    first, again, other = (say(plain, "film", "is", temperature=1.0, seed=seed)[0] for seed in (1, 1, 2))
    assert first == again != other


def test_the_oldest_turns_go_when_the_conversation_is_too_long(taught, say):
    _, err, conversation = say(taught, *[f"film {i}" for i in range(12)], max_new_tokens=16)
    assert err[0] == "(the conversation is longer than 256 positions: its 2 oldest turns are dropped)"
    assert conversation.turns[-2] == "film 11"
    del conversation.turns[-1]
    assert 100 < len(conversation.ids()) <= 256 - 16
    assert "film 0" not in conversation.turns


def test_a_message_that_never_fits_is_told_and_the_conversation_goes_on(plain, say):
    _, err, conversation = say(plain, "film " * 600, "film 1", max_new_tokens=4)
    assert "more than the model's max_position_embeddings=256" in err[-1]
    assert conversation.turns[0] == "film 1"
    assert len(conversation.turns) == 2


def test_ctrl_c_stops_an_answer_and_not_the_conversation(plain, say, monkeypatch):
    class Interrupted(TextStreamer):
        parts = 0

        def put(self, value):
            super().put(value)
            Interrupted.parts += 1
            # The prompt is the first part.
            if Interrupted.parts == 3:
                signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(module, "VisibleStreamer", Interrupted)
    say(plain, "film 1 is", max_new_tokens=32)
    assert 3 <= Interrupted.parts <= 4
    _, _, conversation = say(plain, "film 1 is", "film 2 is", max_new_tokens=32)
    assert len(conversation.turns) == 4
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("command", ["chat", "generate"])
def test_nobody_who_reads_ends_it_as_a_closed_pipe_does(command, plain, monkeypatch):
    """Such as `hf-gpt generate ... | head -1`: the model's files are not to blame."""

    def closed(self, text, stream_end=False):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(TextStreamer, "on_finalized_text", closed)
    given = ["generate", plain, "film 1"] if command == "generate" else ["chat", plain]
    ended = CliRunner().invoke(cli.app, given, input="film 1\nfilm 2\n")
    assert isinstance(ended.exception, UnreadError)


def test_at_a_terminal_ctrl_c_says_how_to_end_and_ctrl_d_ends(plain, say, monkeypatch):
    typed = iter([KeyboardInterrupt, "film 1 is", "", EOFError])

    def answer(prompt):
        assert prompt == "> "
        line = next(typed)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr(builtins, "input", answer)
    out, err, conversation = say(plain, is_terminal=True)
    assert out.count("/reset begins anew, /exit or Ctrl-D ends") == 1
    assert "/exit or Ctrl-D ends" in err[-1]
    assert len(conversation.turns) == 2


def test_the_command_takes_the_options_of_generate_and_refuses_what_is_wrong(plain):
    options = ["--max-new-tokens", "4", "--temperature", "0", "--top-p", "0.9", "--seed", "3", "--system", "very good"]
    ended = CliRunner().invoke(cli.app, ["chat", plain, *options], input="film 1 is\n")
    assert ended.exit_code == 0, ended.output
    assert ended.output.strip()
    with pytest.raises(InputError, match="seed=-1 must be a whole number"):
        chat(plain, 4, 0.0, 0.9, -1, None, False)
