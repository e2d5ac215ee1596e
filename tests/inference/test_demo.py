"""What the page refuses, whatever it is asked: each field has its limits, and the one slot is given back."""

import json
import shutil
import threading

import pytest
import torch
from tests.conftest import randomize, tiny_config
from tests.helpers.page import ShownError, events, load_demo
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.inference import page_parts


def save(folder, auto, **overrides):
    torch.manual_seed(0)
    tokenizer = train_tokenizer(iter([["This movie is a good film that I watched twice"]]), 320, 64)
    config = tiny_config("modern", vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=1, **overrides)
    randomize(auto.from_config(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("demo")
    labels = {"id2label": {0: "bad", 1: "good"}, "num_labels": 2}
    judge = save(place / "judge", AutoModelForSequenceClassification, **labels)
    return [str(save(place / "writer", AutoModelForCausalLM)), str(judge)]


@pytest.fixture
def page(folders, monkeypatch):
    """The page of a writer and of a judge: the module, what stands for Gradio, and the writer's handlers."""
    demo, gradio = load_demo(monkeypatch)
    demo.build_page(folders[:1])
    handlers = events(gradio)
    gradio.on.reset_mock()
    demo.build_page(folders)
    return demo, gradio, {**events(gradio), **handlers}


def answer(handler, *arguments, seconds=60):
    """What a handler gives, all of it where it comes in parts; one that does not end has kept the slot."""
    found = []

    def work():
        try:
            given = handler(*arguments)
            found.append(list(given) if hasattr(given, "__next__") else given)
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "the slot is never given back"
    return found[0]


USUAL = {
    "write": ("This movie", 3, 0.8, 0.95, 50, 0),
    "look": ("This movie is good", 1, 1),
    "draw": ("This movie is good", 2, 1, 1),
    "classify": ("This movie", "is good"),
}
# Of each handler, values that a field may not have, by the number of the field.
TOO_MUCH = {
    "write": {
        0: ["x" * 2001, 5, ["This"], {"a": 1}, "half \ud800"],
        1: [0, -1, 257, 1e9, float("nan"), None, "5", True, 10**400],
        2: [-0.1, 2.1, 1e-320, float("inf"), float("nan"), None, "1"],
        3: [-0.1, 1.1, float("nan"), None, "1"],
        4: [-1, 201, float("nan"), None, 10**400],
        5: [-1, 2**32, 2**64, 1e300, float("nan"), None, "0", [0]],
    },
    "look": {
        0: ["x" * 2001, "", None, 5, "half \ud800"],
        1: [0, 3, 1.5, -1, None, "1", float("nan")],
        2: [0, 5, None],
    },
    "draw": {0: ["x" * 2001, 5, "half \ud800"], 1: [-1, 100, None, "x", float("nan")], 2: [0, 3, None], 3: [0, 5, None]},
    "classify": {0: ["x" * 2001, "", " ", None, 5, "half \ud800"], 1: ["x" * 2001, 5, ["a"], "half \ud800"]},
}


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, fields in TOO_MUCH.items() for field in fields])
def test_a_field_has_its_limits_and_a_refused_request_gives_the_slot_back(name, field, page):
    _, _, handlers = page
    handler, fields, _ = handlers[name]
    assert len(TOO_MUCH[name]) == fields == len(USUAL[name]), "every field has limits"
    for value in TOO_MUCH[name][field]:
        arguments = list(USUAL[name])
        arguments[field] = value
        assert isinstance(answer(handler, *arguments), ShownError), value
    assert not isinstance(answer(handler, *USUAL[name]), BaseException)


def test_a_slider_at_a_whole_number_gives_one(page):
    _, _, handlers = page
    assert answer(handlers["write"][0], "This movie", 3, 1, 1, 50, 0)[-1].startswith("This movie")


@pytest.mark.parametrize("text", [None, 5, "", "half \ud800", "This movie"])
@pytest.mark.parametrize("index", [None, -1, 100, "x", float("nan"), [0]])
def test_a_click_on_no_token_is_a_message(text, index, page):
    _, gradio, handlers = page
    event = gradio.SelectData()
    event.index = index
    assert isinstance(answer(handlers["choose"][0], text, 1, 1, event), ShownError)
    event.index = 1
    chosen, *_ = answer(handlers["choose"][0], "This movie", 1, 1, event)
    assert chosen == 1


@pytest.mark.parametrize("owner", ["generate", "forward"])
def test_a_model_that_fails_gives_the_slot_back(owner, page, folders, monkeypatch):
    demo, _, _ = page
    model = demo.Model("writer", *demo.inspection.load(folders[0]))

    def fail(*arguments, **named):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model.network, owner, fail)
    assert isinstance(answer(demo.write, model, *USUAL["write"]), RuntimeError)
    monkeypatch.undo()
    assert answer(demo.write, model, *USUAL["write"])[-1].startswith("This movie")


@pytest.mark.parametrize(
    ("probability", "read"), [(0.999, "100%"), (0.124, "12%"), (0.0421, "4.2%"), (0.0042, "0.42%"), (1e-9, "under 0.01%")]
)
def test_a_rate_is_not_0_however_small_it_is(probability, read):
    assert page_parts.rate(probability) == read


def test_a_list_of_rates_is_text_and_not_markup():
    listed = page_parts.rates({"<b>": 0.004, "good": 0.6})
    assert listed.index("good") < listed.index("&lt;b&gt;") < listed.index("0.40%</span>")
    assert "<b>" not in listed


def test_the_page_begins_with_a_text_that_fits_its_model(folders, tmp_path, page):
    demo, gradio, _ = page
    writer, judge = (demo.load_model(folder) for folder in folders)
    # Nothing says what the judge was trained on, and it writes nothing itself.
    assert judge.first_texts == ("", "", "")
    prompt, text, _ = writer.first_texts
    assert text.startswith(prompt)
    assert "film was so good" not in text
    for folder in folders:
        shutil.copytree(folder, tmp_path / folder[-4:])
    record = {"data": {"path": "text"}, "samples": [{"prompt": "春眠不觉晓", "text": "春眠不觉晓，处处闻啼鸟", "seed": 0}]}
    (tmp_path / folders[0][-4:] / "record.json").write_text(json.dumps(record))
    (tmp_path / folders[1][-4:] / "record.json").write_text(json.dumps({"data": {"path": "movie-reviews"}}))
    prompt, text, _ = demo.load_model(str(tmp_path / folders[0][-4:])).first_texts
    assert prompt == "春眠不觉晓"
    assert text.startswith(prompt)
    assert demo.load_model(str(tmp_path / folders[1][-4:])).first_texts == ("", *page_parts.EXAMPLES["movie-reviews"])
    demo.build_page([str(tmp_path / folders[0][-4:])])
    assert gradio.Textbox.call_args_list[-3].args[0] == "春眠不觉晓"


def test_one_request_at_a_time_and_no_file(page, folders):
    demo, gradio, handlers = page
    for _, _, options in handlers.values():
        assert (options["concurrency_id"], options["concurrency_limit"]) == ("model", 1)
    demo.serve(folders, "127.0.0.1", 0, wait=False)
    blocks = gradio.Blocks.return_value.__enter__.return_value
    assert blocks.queue.call_args.kwargs == {"max_size": demo.WAITING, "default_concurrency_limit": 1}
    options = blocks.queue.return_value.launch.call_args.kwargs
    assert options["max_file_size"] == demo.UPLOAD == 1
    assert (options["share"], options["server_name"]) == (False, "127.0.0.1")
    for kind in ("File", "UploadButton", "Image", "Audio", "Video", "MultimodalTextbox"):
        assert not getattr(gradio, kind).called
