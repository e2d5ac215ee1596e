"""The page as a person meets it, in headless Chromium: typed into, clicked and read.

    make test-browser

`HF_GPT_DEMO_MODEL` names a trained run to look at instead of a small random one; `HF_GPT_SCREENSHOT` a file for its picture.
"""

import os
import shutil
import socket

import peft
import pytest
import torch
from tests.conftest import randomize, tiny_config
from tests.helpers.commands import run_command
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from hf_gpt.data.tokenizer import load_tokenizer, train_tokenizer
from hf_gpt.tasks.chat_template import add_chat_template


pytest.importorskip("gradio", reason="`make test-browser` installs it")
playwright = pytest.importorskip("playwright.sync_api", reason="`make test-browser` installs it")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("Debian's Chromium is not installed: `make test-browser` installs it", allow_module_level=True)

WORDS = ["This movie is a good film that I watched twice and my wife did not like it at all"]


def save(folder, auto, **overrides):
    torch.manual_seed(0)
    tokenizer = train_tokenizer(iter([WORDS]), 320, 64)
    config = tiny_config("modern", vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=1, **overrides)
    randomize(auto.from_config(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("demo") / "writer", AutoModelForCausalLM)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    labels = {"id2label": {0: "bad", 1: "good"}, "num_labels": 2}
    return save(tmp_path_factory.mktemp("demo") / "judge", AutoModelForSequenceClassification, **labels)


@pytest.fixture
def served(monkeypatch):
    """Serves a page in this process, in which nothing but loopback can be reached."""
    import gradio

    from hf_gpt.inference.demo import serve

    asked = []
    connect = socket.socket.connect

    def connect_on_loopback(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            asked.append(address)
            raise OSError(f"the page asked for {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_on_loopback)
    yield lambda *names: serve([str(name) for name in names], "127.0.0.1", 0, wait=False)
    gradio.close_all()
    assert asked == []


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        # The sandbox of Chromium does not start for root, whom containers and CI run as.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A tab that notes what it asks of anybody but this machine."""
    elsewhere = []
    tab = browser.new_page(viewport={"width": 1180, "height": 980}, device_scale_factor=1)
    tab.set_default_timeout(60_000)
    tab.on("request", lambda request: elsewhere.append(request.url) if not is_here(request.url) else None)
    yield tab
    tab.close()
    assert elsewhere == []


def is_here(url):
    return url.startswith(("http://127.0.0.1", "http://localhost", "ws://127.0.0.1", "data:", "blob:"))


def wait_for_value(page, selector, condition):
    """The text of a box once `condition`, a JavaScript expression of `value`, holds for it."""
    script = "([selector, condition]) => { const value = document.querySelector(selector).value; return eval(condition); }"
    page.wait_for_function(script, arg=[selector, condition])
    return page.locator(selector).input_value()


def look(page, text):
    page.get_by_role("tab", name="Look inside").click()
    page.locator("#text-to-look-at textarea").fill(text)
    page.locator("#look").click()
    page.wait_for_selector("#picture-0 img")
    page.wait_for_function("document.querySelector('#picture-0 img').naturalWidth > 300")


def picture(page):
    return page.locator("#picture-0 img").get_attribute("src")


def picture_after(page, action):
    """The picture that takes the place of the one before."""
    before = picture(page)
    action()
    page.wait_for_function("before => document.querySelector('#picture-0 img').src !== before", arg=before)
    return picture(page)


def test_it_writes_word_by_word(page, served, folder):
    page.goto(served(folder))
    page.locator("#prompt textarea").fill("This movie")
    # Every text that the box ever shows.
    page.evaluate(
        """() => { window.seen = new Set(); const box = document.querySelector('#written-0 textarea');
        setInterval(() => window.seen.add(box.value), 5); }"""
    )
    page.locator("#write").click()
    written = wait_for_value(page, "#written-0 textarea", "value.length > 60")
    assert written.startswith("This movie")
    assert len(page.evaluate("[...window.seen]")) > 2


def test_it_tells_what_it_expected_and_shows_where_it_looks(page, served, folder):
    name = os.environ.get("HF_GPT_DEMO_MODEL", str(folder))
    page.goto(served(name))
    look(page, "This movie is a good film that I did not like at all")
    tokens = page.locator("#pieces-0 .token")
    assert tokens.count() >= 12
    assert "perplexity" in page.locator("#summary-0").inner_text()
    listed = page.locator("#guesses-0").inner_text()
    assert 1 <= listed.count("%") <= 8
    assert "\n0%" not in listed
    picture_after(page, lambda: tokens.nth(4).click())
    page.get_by_text("In place of").wait_for()
    assert "was expected" in page.locator("#summary-0").inner_text()
    drawn = page.locator("#picture-0 img")
    assert drawn.bounding_box()["width"] > 300
    number = page.locator("#layer-0 input[type=number]")
    picture_after(page, lambda: (number.fill("2"), number.press("Enter")))
    if "HF_GPT_SCREENSHOT" in os.environ:
        page.wait_for_timeout(1000)
        page.mouse.move(0, 0)
        page.screenshot(path=os.environ["HF_GPT_SCREENSHOT"], full_page=True)


def test_too_long_a_text_is_a_message_and_the_page_lives_on(page, served, folder):
    page.goto(served(folder))
    page.locator("#prompt textarea").fill("long " * 500)
    page.locator("#write").click()
    page.get_by_text("the text has 2,500 characters and this page takes 2,000: shorten it.").wait_for()
    page.locator("#prompt textarea").fill("film " * 20)
    page.locator("#write").click()
    page.get_by_text("are more than the model's max_position_embeddings=64").wait_for()
    page.get_by_role("tab", name="Look inside").click()
    page.locator("#text-to-look-at textarea").fill("")
    page.locator("#look").click()
    page.get_by_text("text='' is empty").wait_for()
    look(page, "This movie is good")
    assert "perplexity" in page.locator("#summary-0").inner_text()


def test_two_models_stand_side_by_side_each_with_what_it_can(page, served, folder, judge):
    page.goto(served(folder, judge))
    page.get_by_role("tab", name="Classify").click()
    page.locator("#text-to-classify textarea").fill("This movie is good")
    page.locator("#classify").click()
    page.wait_for_function("document.querySelector('#classes-0').innerText.includes('%')")
    assert {"good", "bad"} <= set(page.locator("#classes-0").inner_text().split())
    look(page, "This movie is good")
    page.wait_for_selector("#picture-1 img")
    boxes = [page.locator(f"#picture-{index}").bounding_box() for index in range(2)]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    assert page.locator("#guesses-0").is_visible()
    assert not page.locator("#guesses-1").is_visible()


def test_the_same_text_from_two_writers(page, served, folder):
    page.goto(served(folder, folder))
    page.wait_for_selector("#settings input[type=range]")
    # The last has a block inside.
    boxes = page.locator("#settings .block").all()[:5]
    tops = {round(box.bounding_box()["y"]) for box in boxes}
    assert len(tops) == 1, "what can be set stands in one row"
    page.locator("#prompt textarea").fill("This movie is")
    page.locator("#write").click()
    texts = [wait_for_value(page, f"#written-{index} textarea", "value.length > 40") for index in range(2)]
    assert all(text.startswith("This movie is") for text in texts)


def test_two_stages_of_alignment_answer_side_by_side(page, served, folder, tmp_path):
    """Adapters that were taught to answer; `HF_GPT_DEMO_STAGES`, two folders with a comma between, are looked at in their place."""
    stages = [tmp_path / "sft", tmp_path / "grpo"]
    tokenizer = load_tokenizer(str(folder))
    add_chat_template(tokenizer)
    for seed, stage in enumerate(stages):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(folder)
        base.resize_token_embeddings(len(tokenizer))
        peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False)).save_pretrained(stage)
        tokenizer.save_pretrained(stage)
    page.goto(served(*os.environ.get("HF_GPT_DEMO_STAGES", f"{stages[0]},{stages[1]}").split(",")))
    page.get_by_text("sft answers").wait_for()
    page.locator("#prompt textarea").fill("What is 23 + 45?")
    page.locator("#settings input[type=number]").first.fill("12")
    page.locator("#write").click()
    texts = [wait_for_value(page, f"#written-{index} textarea", "value.length > 0") for index in range(2)]
    assert not any(text.startswith("What is") for text in texts)
    for index in range(2):
        page.wait_for_selector(f"#tokens-{index} .token")
        page.locator(f"#tokens-{index} .token").first.click()
        page.locator(f"#told-{index}").get_by_text("was expected").wait_for()
        page.wait_for_function(f"document.querySelector('#expected-{index}').innerText.includes('%')")
    boxes = [page.locator(f"#tokens-{index}").bounding_box() for index in range(2)]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    if "HF_GPT_SCREENSHOT" in os.environ:
        page.wait_for_timeout(1000)
        page.screenshot(path=os.environ["HF_GPT_SCREENSHOT"], full_page=True)


def test_the_command_names_what_cannot_be_shown(monkeypatch, capsys, tmp_path, folder):
    for arguments, message in (
        ((str(tmp_path),), "cannot be loaded"),
        ((str(folder), "--host", "203.0.113.1", "--port", "1"), "give another --port"),
    ):
        code, _, told = run_command(monkeypatch, capsys, "demo", *arguments)
        assert code == 2
        assert message in told
