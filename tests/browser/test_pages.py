"""Three pages of the site as a person meets them, in headless Chromium.

make docs test-browser
"""

import functools
import http.server
import shutil
import threading

import pytest
from tests.conftest import ROOT
from tests.helpers.website import build_site


playwright = pytest.importorskip("playwright.sync_api", reason="`make test-browser` installs it")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("Debian's Chromium is not installed: `make test-browser` installs it", allow_module_level=True)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address():
    handler = functools.partial(Quiet, directory=build_site())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page(address):
    elsewhere = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.on("request", lambda request: elsewhere.append(request.url) if not request.url.startswith(address) else None)
        yield tab
        browser.close()
    assert elsewhere == []


def test_a_reader_changes_the_language_and_stays_on_the_page(page, address):
    page.goto(f"{address}/laptop.html")
    assert page.locator("h1").inner_text().startswith("On a laptop")
    page.locator(".md-select__link[hreflang=zh]").evaluate("link => link.click()")
    page.wait_for_url("**/zh/laptop.html")
    assert page.locator("h1").inner_text().startswith("在笔记本上")
    assert page.locator(".md-tabs__link").all_inner_texts() == ["开始", "指南", "理解", "参考", "项目"]


def test_a_reader_finds_a_key_of_a_recipe(page, address):
    page.goto(f"{address}/index.html")
    page.locator("input[name=query]").click()
    page.locator("input[name=query]").type("tokenizer_vocab_size")
    page.wait_for_selector(".md-search-result__link[href*='recipe-keys.html']")


def test_a_reader_without_a_server_finds_a_key_of_a_recipe(address):
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto((ROOT / "build" / "site" / "zh" / "index.html").as_uri())
        tab.locator("input[name=query]").click()
        tab.locator("input[name=query]").type("tokenizer_vocab_size")
        tab.wait_for_selector(".md-search-result__link[href*='recipe-keys.html']")
        browser.close()


def test_a_preset_shows_its_picture(page, address):
    page.goto(f"{address}/presets.html")
    assert page.locator("img[src='presets/gpt2.svg']").evaluate("image => image.naturalWidth") > 100
