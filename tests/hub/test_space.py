"""The page as a Space: one commit beside the model, which runs with what its requirements name and nothing else."""

import json
import re
import socket
import subprocess
import sys
import urllib.request

import pytest
import yaml
from huggingface_hub import ModelCard
from tests.conftest import ROOT

from hf_gpt.hub import space


NAME = "spaces/alice/small"


def test_a_push_writes_a_space_in_one_commit_and_repeats_nothing(hub, folder, told):
    code, printed = told("push", folder, "--space")
    assert code == 0, printed
    files = hub.files(NAME)
    assert {
        "app.py",
        "requirements.txt",
        "README.md",
        "hf_gpt/inference/demo.py",
        "hf_gpt/modeling/modeling_hf_gpt.py",
    } <= set(files)
    assert len(hub.repos[NAME].log) == 2
    card = ModelCard(files["README.md"].decode())
    assert (card.data.sdk, card.data.app_file, card.data.models) == ("gradio", "app.py", ["alice/small"])
    assert card.data.sdk_version in (ROOT / "Makefile").read_text()
    assert 'serve(["alice/small"]' in files["app.py"].decode()
    hub.requests.clear()
    code, printed = told("push", folder, "--space")
    assert code == 0
    assert printed.count("nothing has changed since commit") == 2
    assert hub.asked("POST", "/commit/") == 0


def test_a_space_of_somebody_else_and_what_cannot_be_shown_are_refused(hub, folder, told):
    hub.put(NAME, {"app.py": b"", "README.md": b"---\nsdk: gradio\n---\n"})
    code, printed = told("push", folder, "--space")
    assert code == 2
    assert "the Space alice/small was not made by hf-gpt" in printed
    assert "alice/small" not in hub.repos, "the model is not pushed before the page is known to be taken"
    assert told("push", folder, "--space", "--force")[0] == 0
    code, printed = told("push", folder, "--space", "--revision", "trial")
    assert code == 2
    assert "--space shows the main branch" in printed
    code, printed = told("push", folder, "--space", "--dry-run")
    assert code == 0
    assert "and a Space small of" in printed


def test_the_code_of_a_space_needs_only_what_it_requires(tmp_path):
    for path, content in space.space_files("alice/small").items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    named = re.findall(r"^([a-z]+)==", (tmp_path / "requirements.txt").read_text(), flags=re.MULTILINE)
    assert named == list(space.REQUIRED)
    # Gradio is there on a Space; here something stands in for it.
    absent = ("datasets", "accelerate", "peft", "trl", "sklearn", "gguf")
    code = f"""
import sys, types
sys.modules.update(dict.fromkeys({absent}))
gradio = sys.modules["gradio"] = types.ModuleType("gradio")
for name in ("State", "HighlightedText", "Markdown", "HTML", "Slider", "Plot", "Blocks", "SelectData"):
    setattr(gradio, name, object)
import hf_gpt.inference.demo
print(hf_gpt.inference.demo.__file__)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, env={"PATH": ""}
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.strip().startswith(str(tmp_path))
    assert yaml.safe_load((tmp_path / "README.md").read_text().split("---")[1])["tags"] == ["hf-gpt"]


def test_the_app_of_a_space_answers(hub, folder, told, environment, tmp_path):
    """As the container of a Space runs it: its own files, the model by its name from the Hub, a request over HTTP."""
    pytest.importorskip("gradio", reason="`make test-browser` installs it")
    code, printed = told("push", folder, "--space")
    assert code == 0, printed
    place = tmp_path / "space"
    for path, content in hub.files(NAME).items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A test listens on loopback only, at a port that nobody else has.
    app = (place / "app.py").read_text().replace('"0.0.0.0"', '"127.0.0.1"').replace("7860", str(port))
    (place / "app.py").write_text(app)
    own = {key: value for key, value in environment.items() if key != "PYTHONPATH"}
    with (tmp_path / "errors.txt").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=place, env=own, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        told_line = process.stdout.readline()
        assert f"alice/small at http://127.0.0.1:{port}" in told_line, (tmp_path / "errors.txt").read_text()[-2000:]
        assert "alice/small" in ask(f"http://127.0.0.1:{port}/")
        written = write(f"http://127.0.0.1:{port}/gradio_api", ["The", 4, 0.0, 1.0, 0, 0])
    finally:
        process.terminate()
        process.communicate()
    assert written.startswith("The")
    assert len(written) > len("The")


def ask(address: str, content: dict | None = None) -> str:
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read().decode()


def write(address: str, values: list) -> str:
    """What the page's first button has written at the end; the answer is a stream of events."""
    event = json.loads(ask(f"{address}/call/write", {"data": values}))["event_id"]
    data = re.findall(r"^event: complete\ndata: (.*)$", ask(f"{address}/call/write/{event}"), flags=re.MULTILINE)
    return json.loads(data[0])[0]
