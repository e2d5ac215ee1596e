"""The page as a Space: one commit beside the model, which runs with what its requirements name and nothing else."""

import re
import subprocess
import sys

import yaml
from huggingface_hub import ModelCard
from tests.conftest import ROOT

from hf_gpt import space


NAME = "spaces/alice/small"


def test_a_push_writes_a_space_in_one_commit_and_repeats_nothing(hub, folder, told):
    code, printed = told("push", folder, "--space")
    assert code == 0, printed
    files = hub.files(NAME)
    assert {"app.py", "requirements.txt", "README.md", "hf_gpt/demo.py", "hf_gpt/modeling/modeling_hf_gpt.py"} <= set(files)
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
    absent = ("datasets", "accelerate", "evaluate", "peft", "trl", "sklearn", "gguf")
    code = f"""
import sys, types
sys.modules.update(dict.fromkeys({absent}))
gradio = sys.modules["gradio"] = types.ModuleType("gradio")
for name in ("State", "HighlightedText", "Markdown", "Label", "Slider", "Plot", "Blocks", "SelectData"):
    setattr(gradio, name, object)
import hf_gpt.demo
print(hf_gpt.demo.__file__)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, env={"PATH": ""}
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.strip().startswith(str(tmp_path))
    assert yaml.safe_load((tmp_path / "README.md").read_text().split("---")[1])["tags"] == ["hf-gpt"]
