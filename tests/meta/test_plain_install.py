"""What `pip install hf-gpt` without extras can do, and that every other command names the extra that it needs."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from tests.conftest import ROOT, tiny_config

import hf_gpt
from hf_gpt.data.tokenizer import train_tokenizer


# What only the extras of pyproject.toml bring.
EXTRAS = ("accelerate", "datasets", "evaluate", "gguf", "gradio", "matplotlib", "peft", "sklearn", "trl")
# Several commands in one process, since each would import torch anew; a line for each with its exit code.
PLAIN = f"""
import json, sys
for name in {EXTRAS}:
    sys.modules[name] = None
from hf_gpt import cli
for command in json.loads(sys.argv[1]):
    sys.argv = ["hf-gpt", *command]
    try:
        cli.main()
    except SystemExit as end:
        print("ended", end.code, flush=True)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    tokenizer = train_tokenizer(iter([["a film is good"] * 5]), 300, 64)
    hf_gpt.GPTForCausalLM(tiny_config("modern", vocab_size=300)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    shutil.copy(ROOT / "model_cards" / "quickstart" / "record.json", folder / "model")
    (folder / "a.txt").write_text("a film is good\n" * 100)
    return folder


def test_what_needs_an_extra_names_the_right_one_and_nothing_else_needs_any(place):
    commands = (
        ("recipes",),
        ("generate", "model", "a film", "--max-new-tokens", "4"),
        ("chat", "model", "--max-new-tokens", "4"),
        ("card", "model"),
        ("export", "model", "native"),
        ("import", "native", "again"),
    )
    needed = {
        ("export", "model", "file", "--layout", "gguf"): "pip install 'hf-gpt[gguf]'",
        ("train", "pretrain/quickstart"): "pip install 'hf-gpt[train]'",
        ("evaluate", "model", "a.txt"): "pip install 'hf-gpt[train]'",
        ("demo", "model"): "gradio is not installed, which this command needs: pip install 'hf-gpt[demo]'",
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", PLAIN, json.dumps([*commands, *needed])]
    ended = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, input="a film\n")
    codes = [int(line.split()[1]) for line in ended.stdout.splitlines() if line.startswith("ended ")]
    assert codes == [0] * len(commands) + [2] * len(needed), ended.stderr
    assert (place / "native" / "README.md").is_file()
    lines = [line for line in ended.stderr.splitlines() if line.startswith("hf-gpt: ")]
    assert len(lines) == len(needed)
    for line, wanted in zip(lines, needed.values()):
        assert wanted in line
