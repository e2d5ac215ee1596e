"""The notebooks run, and what is stored of them is what they are in their text form, with outputs and pictures."""

import json
import os
import re
import subprocess
import sys

import pytest
from tests.helpers.notebooks import FOLDER, program


SETTINGS = {"first-gpt": "MINUTES = 0.1", "from-ngrams": "STEPS = 3", "lora": "MINUTES = 0.1"}
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def test_a_notebook_is_there_in_both_languages():
    assert NAMES == ["first-gpt", "first-gpt_zh", "from-ngrams", "from-ngrams_zh", "lora"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored_is_the_text_form_with_outputs_and_pictures(name):
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    parts = re.split(r"^# %%(.*)\n", text, flags=re.MULTILINE)[1:]
    assert len(parts) == 2 * len(cells)
    for kind, body, cell in zip(parts[::2], parts[1::2], cells):
        is_prose = "[markdown]" in kind
        assert cell["cell_type"] == ("markdown" if is_prose else "code")
        lines = [re.sub(r"^# ?" if is_prose else r"^# (?=(# )?[!%])", "", line) for line in body.strip().split("\n")]
        assert [line.rstrip() for line in lines] == [line.rstrip() for line in "".join(cell["source"]).split("\n")]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output["output_type"] == "error" for output in outputs)
    # Nothing of the machine that they were run on.
    assert not re.search(r"/(tmp|root|home|work|Users)/", str([output.get("text", "") for output in outputs]))


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("_zh")])
def test_a_translation_has_the_same_code(name):
    def code(stem):
        """Without words that are printed and the names of bars, which are translated too, and without comments."""
        lines = program(stem, SETTINGS[name.removesuffix("_zh")]).split("\n")
        return [re.sub(r"""(["']).*\1|#.*""", "", line) for line in lines if re.match(r"\w", line)]

    assert code(name) == code(name.removesuffix("_zh"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name, real_text, tmp_path):
    rows = [json.loads(line)["body"] for line in real_text.read_text(encoding="utf-8").splitlines()]
    (tmp_path / "my.txt").write_text("\n\n".join(rows), encoding="utf-8")
    lines = [" ".join(row.split()[:12]).replace('"', "") for row in rows if len(row.split()) > 12][:400]
    table = "\n".join(f'"{line}",{"is" in line.split():d}' for line in lines)
    (tmp_path / "rows.csv").write_text(f"text,label\n{table}\n", encoding="utf-8")
    code = program(name, SETTINGS[name.removesuffix("_zh")])
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-4000:]
