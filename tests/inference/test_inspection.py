"""What a page or a notebook reads off a model is what the model computes."""

import copy
import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from tests.conftest import randomize, tiny_config
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    pipeline,
)

import hf_gpt
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.errors import InputError
from hf_gpt.inference import guesses, loading, writing
from hf_gpt.inference import inspect as inspection
from hf_gpt.planning import hardware
from hf_gpt.reports.plots import attention_figure


TEXT = "This movie is a good film"
PAIR = {"num_labels": 2, "id2label": {0: "bad", 1: "good"}}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(iter([["This movie is a good film that I watched twice"]]), 300, 64)


def build(auto, tokenizer, architecture="modern", **overrides):
    torch.manual_seed(0)
    return randomize(auto.from_config(tiny_config(architecture, vocab_size=len(tokenizer), pad_token_id=1, **overrides)))


@torch.no_grad()
def test_losses_are_those_of_the_model_and_guesses_its_distribution(architecture, tokenizer):
    model = build(AutoModelForCausalLM, tokenizer, architecture)
    reading = inspection.read_text(model, tokenizer, TEXT)
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    loss = model(ids, labels=ids).loss.item()
    assert reading.perplexity == pytest.approx(math.exp(loss), rel=1e-4)
    assert "".join(reading.pieces) == TEXT
    assert len(reading.pieces) == len(reading.losses) == ids.shape[1]
    assert guesses.expected_at(model, tokenizer, TEXT, 0) == []
    for place in (1, 3, ids.shape[1]):
        probabilities = model(ids).logits[0, place - 1].softmax(-1)
        found = guesses.expected_at(model, tokenizer, TEXT, place, 5)
        assert [share for _, share in found] == pytest.approx(probabilities.topk(5).values.tolist(), rel=1e-3)


def saved(tokenizer, folder, auto=AutoModelForCausalLM, **overrides):
    build(auto, tokenizer, **overrides).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_what_is_run_is_run_on_the_device_of_this_machine_and_what_is_written_is_not(tokenizer, tmp_path, monkeypatch):
    writer = saved(tokenizer, tmp_path / "writer")
    judge = saved(tokenizer, tmp_path / "judge", AutoModelForSequenceClassification, **PAIR)
    monkeypatch.setattr(hardware, "device_type", lambda: "meta")
    for load, name in ((loading.load_model, writer), (inspection.load, writer), (inspection.load, judge)):
        assert load(name)[0].device.type == "meta"
    assert loading.load_model(writer, as_saved=True)[0].device.type == "cpu"


def test_a_model_that_the_device_has_no_memory_for_is_refused(tokenizer, tmp_path, monkeypatch):
    def has_none(model, device):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(hardware, "device_type", lambda: "cuda")
    monkeypatch.setattr(hf_gpt.GPTForCausalLM, "to", has_none)
    with pytest.raises(
        InputError, match=r"^The model's 0\.0 GB do not fit into the free memory of the device 'cuda': end what"
    ):
        loading.load_model(saved(tokenizer, tmp_path))


class Bigram:
    """A model that knows one letter, whose bytes are tokens of their own."""

    def __init__(self, ids, size):
        self.next, self.size, self.config = dict(pairwise(ids)), size, object()

    def __call__(self, input_ids, **named):
        logits = torch.zeros(1, input_ids.shape[1], self.size)
        for place, token in enumerate(input_ids[0].tolist()):
            logits[0, place, self.next.get(token, 0)] = 9
        return SimpleNamespace(logits=logits)


def test_a_part_of_a_letter_is_read_with_the_rest_of_it(tokenizer):
    ids = tokenizer("福")["input_ids"]
    assert len(ids) == 3
    model, before = Bigram(ids, len(tokenizer)), torch.tensor([tokenizer("a film")["input_ids"]])
    good = tokenizer(" good")["input_ids"][0]
    assert guesses.spelled(model, tokenizer, before, torch.tensor([ids[0], good])) == ["福…", "␣good"]
    # In the middle of the letter.
    begun = torch.cat([before, torch.tensor([ids[:1]])], 1)
    assert guesses.spelled(model, tokenizer, begun, torch.tensor([ids[1]])) == ["福…"]
    begun = torch.cat([begun, torch.tensor([ids[1:2]])], 1)
    assert guesses.spelled(model, tokenizer, begun, torch.tensor([ids[2]])) == ["福"]
    # What even the model makes no letter of.
    (text,) = guesses.spelled(Bigram([0, 0], len(tokenizer)), tokenizer, before, torch.tensor([ids[0]]))
    assert "�" not in text
    assert tokenizer.convert_ids_to_tokens(ids[0]) not in text


def test_attention_maps_are_causal_probabilities_and_the_model_is_left_as_it_was(architecture, tokenizer):
    model = build(AutoModelForCausalLM, tokenizer, architecture)
    before = model.config._attn_implementation
    pieces, weights = inspection.attention_maps(model, tokenizer, TEXT)
    assert before == model.config._attn_implementation != "eager"
    assert weights.shape == (2, 4, len(pieces), len(pieces))
    total = weights.sum(-1) if not model.config.attention_sinks else weights.sum(-1).ceil()
    torch.testing.assert_close(total, torch.ones(weights.shape[:-1]))
    assert weights.triu(1).abs().max() == 0
    figure = attention_figure([*pieces[:-1], "$x_1$ 电"], weights, 1, 2, len(pieces) - 1)
    figure.canvas.draw()


def test_a_stream_grows_into_what_generate_writes(tokenizer):
    model = build(AutoModelForCausalLM, tokenizer, eos_token_id=None)
    parts = list(writing.stream_text(model, tokenizer, "This movie", 20, 0.0, 1.0, 50, 0))
    inputs = tokenizer("This movie", return_tensors="pt")
    whole = model.generate(inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=20, do_sample=False)
    assert parts[-1] == tokenizer.decode(whole[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert all(later.startswith(earlier) for earlier, later in pairwise(parts))


@torch.no_grad()
def test_an_answer_has_its_ids_and_each_of_them_its_loss(tokenizer):
    model = build(AutoModelForCausalLM, tokenizer, eos_token_id=None)
    asked = tokenizer("This movie")["input_ids"]
    *_, (text, ids) = writing.stream_answer(model, tokenizer, asked, 20, 0.0, 1.0, 50, 0)
    reading = inspection.read_answer(model, tokenizer, asked, ids)
    assert "".join(reading.pieces) == tokenizer.decode(ids)
    assert text == tokenizer.decode(ids, skip_special_tokens=True)
    row = torch.tensor([[*asked, *ids]])
    logits = model(row).logits[0, len(asked) - 1 : -1]
    torch.testing.assert_close(
        torch.tensor(reading.losses), torch.nn.functional.cross_entropy(logits, row[0, len(asked) :], reduction="none")
    )
    # A letter is with the last of its tokens.
    assert inspection.cut(tokenizer, tokenizer("a福")["input_ids"]) == ["a", "", "", "福"]


def test_a_text_is_over_at_the_end_that_its_tokenizer_names(tokenizer, monkeypatch):
    """An adapter's base names the end of a text, its tokenizer the end of a turn."""
    model = build(AutoModelForCausalLM, tokenizer, eos_token_id=5)
    given = {}
    monkeypatch.setattr(model, "generate", lambda streamer, **named: given.update(named) or named["input_ids"])
    list(writing.stream_text(model, tokenizer, "This", 3, 0.0, 1.0, 0, 0))
    assert given["eos_token_id"] == [tokenizer.eos_token_id, 5]


def test_a_closed_stream_ends_the_generation(tokenizer, monkeypatch):
    model = build(AutoModelForCausalLM, tokenizer, eos_token_id=None, max_position_embeddings=2048)
    calls = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *args, **kwargs: calls.append(1) or forward(*args, **kwargs))
    stream = writing.stream_text(model, tokenizer, "This movie", 2000, 1.0, 1.0, 0, 0)
    next(stream)
    stream.close()
    assert len(calls) < 1000


def test_a_generation_that_fails_says_so_and_nobody_waits(tokenizer, monkeypatch):
    model = build(AutoModelForCausalLM, tokenizer)

    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model, "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(writing.stream_text(model, tokenizer, "This", 5, 0.0, 1.0, 0, 0))


def test_classes_have_the_probabilities_of_the_text_as_tasks_encode_it(tokenizer):
    model = build(AutoModelForSequenceClassification, tokenizer, **PAIR)
    end = tokenizer.eos_token_id
    ids = torch.tensor([[end, *tokenizer(TEXT)["input_ids"], end, *tokenizer("twice")["input_ids"], end]])
    with torch.no_grad():
        expected = model(ids).logits[0].softmax(-1).tolist()
    assert inspection.classify(model, tokenizer, TEXT, "twice") == pytest.approx(dict(zip(("bad", "good"), expected)))
    number = build(AutoModelForSequenceClassification, tokenizer, num_labels=1, problem_type="regression")
    assert isinstance(inspection.classify(number, tokenizer, TEXT), float)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_class_is_the_pipelines_where_the_closing_token_fills_up_rows_too(pooling, tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    model = build(AutoModelForSequenceClassification, tokenizer, **PAIR, classifier_pooling=pooling)
    model.config.pad_token_id = model.config.eos_token_id = end = tokenizer.eos_token_id
    bare = copy.deepcopy(tokenizer)
    # As a training saves it.
    mark = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{mark} $A {mark}", pair=f"{mark} $A {mark} $B {mark}", special_tokens=[(mark, end)]
    )
    answers = pipeline("text-classification", model=model, tokenizer=tokenizer)
    for texts in ([TEXT], [TEXT, "twice"]):
        given = dict(zip(("text", "text_pair"), texts))
        wanted = {answer["label"]: answer["score"] for answer in answers(given, top_k=None)}
        for read in (tokenizer, bare):
            assert inspection.classify(model, read, *texts) == pytest.approx(wanted, abs=1e-5)


def test_what_cannot_be_read_is_named(tokenizer, tmp_path):
    model = build(AutoModelForCausalLM, tokenizer)
    with pytest.raises(InputError, match="is empty"):
        inspection.read_text(model, tokenizer, "")
    with pytest.raises(InputError, match="is more than the model's max_position_embeddings=64: shorten it"):
        inspection.read_text(model, tokenizer, TEXT * 40)
    with pytest.raises(InputError, match=r"max_new_tokens=64 are more than the model's max_position_embeddings=64"):
        list(writing.stream_text(model, tokenizer, TEXT, 64, 0.0, 1.0, 0, 0))
    with pytest.raises(InputError, match="cannot be loaded"):
        inspection.load(str(tmp_path))
    build(AutoModelForTokenClassification, tokenizer).save_pretrained(tmp_path / "tagger")
    with pytest.raises(InputError, match="is a GPTForTokenClassification: a text can be given to a language model"):
        inspection.load(str(tmp_path / "tagger"))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "alice/none"}')
    with pytest.raises(InputError, match=r"the base of model=.*'alice/none' is no folder here"):
        inspection.load(str(tmp_path / "adapter"))
    build(AutoModelForSequenceClassification, tokenizer, **PAIR).save_pretrained(tmp_path / "judge")
    tokenizer.save_pretrained(tmp_path / "judge")
    assert not inspection.is_language_model(inspection.load(str(tmp_path / "judge"))[0])


@pytest.fixture
def writer(tokenizer):
    return build(AutoModelForCausalLM, tokenizer), tokenizer


SETTINGS = {"max_new_tokens": 4, "temperature": 0.8, "top_p": 0.9, "top_k": 5, "seed": 0}
WRONG = [
    *(("seed", value) for value in (2**32, -1, None, float("nan"), 0.5, "1", True, 10**400)),
    *(("temperature", value) for value in (-1, 1e-320, float("inf"), float("nan"), None, 1e300)),
    *(("top_p", value) for value in (-0.1, 1.1, None, float("nan"))),
    *(("top_k", value) for value in (-1, None, 1.5, 10**9)),
    *(("max_new_tokens", value) for value in (0, -1, None, 10**9, float("inf"))),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=str)
def test_a_setting_that_generate_cannot_use_is_named(name, value, writer):
    with pytest.raises(InputError, match=f"{name}="):
        list(writing.stream_text(*writer, "a", **{**SETTINGS, name: value}))


@pytest.mark.parametrize("place", ["set_seed", "generate", "end"])
def test_whatever_fails_ends_the_stream(place, writer, monkeypatch):
    """Who waits for the next word keeps the one slot of the page."""

    def fails(*arguments, **named):
        raise ZeroDivisionError

    owner = {"set_seed": writing, "generate": type(writer[0]), "end": writing.TextIteratorStreamer}[place]
    monkeypatch.setattr(owner, place, fails)
    with pytest.raises(ZeroDivisionError):
        list(writing.stream_text(*writer, "a", **SETTINGS))
