"""What the page refuses, whatever it is asked: each field has its limits, and the one slot is given back."""

import json
import shutil
import threading
from pathlib import Path

import peft
import pytest
import torch
from tests.conftest import randomize, tiny_config
from tests.helpers.page import ShownError, events, load_demo
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from hf_gpt.data.tokenizer import load_tokenizer, train_tokenizer
from hf_gpt.errors import InputError
from hf_gpt.inference import page_parts
from hf_gpt.tasks.chat_template import add_chat_template


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
    assert answer(handlers["write"][0], "This movie", 3, 1, 1, 50, 0)[-1][0].startswith("This movie")


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


@pytest.fixture
def stages(folders, tmp_path):
    """A base and two adapters of it that answer, as `align/sft` and `align/grpo` write them."""
    tokenizer = load_tokenizer(folders[0])
    add_chat_template(tokenizer)
    for seed, name in enumerate(("sft", "grpo")):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(folders[0])
        base.resize_token_embeddings(len(tokenizer))
        config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False)
        peft.get_peft_model(base, config).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    return [folders[0], str(tmp_path / "sft"), str(tmp_path / "grpo")]


def test_stages_of_alignment_answer_the_same_prompt_each_as_it_was_taught(page, stages):
    demo, gradio, _ = page
    from hf_gpt.inference import page_writing

    gradio.on.reset_mock()
    demo.build_page(stages[1:])
    writes = [call.args[1] for call in gradio.on.call_args_list if call.kwargs["api_name"] == "write"]
    answers = [answer(write, "This movie", 4, 0, 1, 0, 0)[-1] for write in writes]
    question = "<|im_start|>user\nThis movie<|im_end|>\n<|im_start|>assistant\n"
    for text, pieces, (asked, ids), *_ in answers:
        tokenizer = load_tokenizer(stages[1])
        assert tokenizer.decode(asked) == question
        assert text == tokenizer.decode(ids, skip_special_tokens=True)
        assert not text.startswith("This movie")
        assert "".join(piece for piece, _ in pieces if piece != "·") == tokenizer.decode(ids)
        assert all(shade in page_writing.BAND_COLORS for _, shade in pieces)
    assert answers[0][2] != answers[1][2], "each is its own model"
    base, sft, _ = (demo.load_model(name) for name in stages)
    assert (base.answers, sft.answers) == (False, True)
    assert "It answers" in sft.title
    assert "It answers" not in base.title
    assert answer(page_writing.write, base, "This movie", 4, 0, 1, 0, 0)[-1][0].startswith("This movie")
    # An adapter whose head gives no next token, beside any.
    path = Path(stages[2]) / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "task_type": "SEQ_CLS"}))
    with pytest.raises(InputError, match=r"is an adapter with a head of its own .* its card says how to load it"):
        demo.build_page(stages[1:])


@pytest.mark.parametrize("index", [0, 2, None, -1, 100, "x", float("nan"), [0]])
def test_a_token_that_was_written_tells_what_was_expected_there(index, page, folders):
    demo, gradio, handlers = page
    model = demo.load_model(folders[0])
    *_, (_, _, written, told, guesses) = answer(handlers["write"][0], "This movie", 3, 0, 1, 0, 0)
    assert (told, guesses) == ("", "")
    event = gradio.SelectData()
    event.index = index
    found = answer(handlers["choose_written"][0], written, event)
    if index not in (0, 2):
        assert isinstance(found, ShownError)
        return
    asked, ids = written
    with torch.no_grad():
        logits = model.network(torch.tensor([[*asked, *ids[:index]]])).logits[0, -1]
    # The likeliest was taken.
    share = page_parts.rate(logits.softmax(-1).max().item())
    assert f"which had {share}" in found[0]
    assert found[1].startswith('<div class="rates">')
    assert f">{share}<" in found[1]


@pytest.mark.parametrize("owner", ["generate", "forward"])
def test_a_model_that_fails_gives_the_slot_back(owner, page, folders, monkeypatch):
    demo, _, _ = page
    from hf_gpt.inference import page_writing

    model = demo.Model("writer", *demo.inspection.load(folders[0]))

    def fail(*arguments, **named):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model.network, owner, fail)
    assert isinstance(answer(page_writing.write, model, *USUAL["write"]), RuntimeError)
    monkeypatch.undo()
    assert answer(page_writing.write, model, *USUAL["write"])[-1][0].startswith("This movie")


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
