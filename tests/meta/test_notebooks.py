"""The notebooks run, and what is stored of them is what they are in their text form, with outputs and pictures."""

import ast
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


def same_code(one, other, words):
    """Whether two programs differ in nothing but words that the second has translated: each always alike, and in any order in a text.

    Args:
        words: What has been translated, and as what.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(same_code(*parts, words) for parts in zip(one, other))
    if isinstance(one, ast.JoinedStr) and any(CHINESE.search(part.value) for part in other.values if is_word(part)):
        shown = [sorted(ast.dump(part) for part in text.values if not is_word(part)) for text in (one, other)]
        return shown[0] == shown[1]
    if is_word(one) and (one.value == other.value or CHINESE.search(other.value)):
        return words.setdefault(one.value, other.value) == other.value
    if isinstance(one, ast.AST):
        return all(same_code(getattr(one, field, None), getattr(other, field, None), words) for field in one._fields)
    return one == other


def is_word(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


CHINESE = re.compile("[\u3000-\u9fff\uff00-\uffef]")
TRANSLATIONS = [name for name in NAMES if name.endswith("_zh")]


@pytest.mark.parametrize("name", TRANSLATIONS)
def test_a_translation_has_the_same_code(name):
    """So that what runs in one language runs in the other."""
    original = name.removesuffix("_zh")
    assert same_code(*(ast.parse(program(stem, SETTINGS[original])) for stem in (original, name)), {})


@pytest.mark.parametrize(
    ("changed", "is_same"),
    [
        ("print(f'{run}的损失 {loss:.3f}', kept['run'])", True),
        ("print(f'损失 {loss:.3f}，{run}', kept['run'])", True),
        ("print(f'损失 {loss:.3f}，{run}', kept['运行'])", False),
        ("print(f'损失 {loss:.2f}，{run}', kept['run'])", False),
        ("print(f'损失 {loss:.3f}', kept['run'])", False),
        ("print(f'loss {loss:.3f}, {run}', kept['run'])", False),
        ("print('损失', loss, kept['run'])", False),
    ],
)
def test_what_a_translation_may_change(changed, is_same):
    """A key is a word that is always translated alike: here, where it was stored, not at all."""
    original = "print(f'{run}: loss {loss:.3f}', kept['run'])"
    programs = [ast.parse(f"kept = {{'run': 1}}; {line}") for line in (original, changed)]
    assert same_code(*programs, {}) == is_same


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in TRANSLATIONS])
def test_a_notebook_runs(name, real_text, tmp_path):
    rows = [json.loads(line)["body"] for line in real_text.read_text(encoding="utf-8").splitlines()]
    (tmp_path / "my.txt").write_text("\n\n".join(rows), encoding="utf-8")
    lines = [" ".join(row.split()[:12]).replace('"', "") for row in rows if len(row.split()) > 12][:400]
    table = "\n".join(f'"{line}",{"is" in line.split():d}' for line in lines)
    (tmp_path / "rows.csv").write_text(f"text,label\n{table}\n", encoding="utf-8")
    code = program(name, SETTINGS[name])
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-4000:]
