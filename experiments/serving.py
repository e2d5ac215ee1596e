"""Runs small models in engines that are not ours and compares what they compute: benchmarks/records/serving/, docs/serving.md.

python -m experiments serving                        every engine, each in an environment of its own in .venv-serving/
python -m experiments serving --engine NAME ...      some of them

An engine that does not install, or that fails, gets a record that says why, and does not stop the others.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.frame import ROOT, Section, find_record, table, write_record
from benchmarks.tiny import recipe_values, write_corpus
from transformers import AutoTokenizer

import hf_gpt
from experiments.engines import ENGINES, Engine
from experiments.engines.job import NEW_TOKENS, RESULT
from hf_gpt.inference.inspect import load
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.reports.records import folder_hash
from hf_gpt.tasks.chat_template import add_chat_template
from hf_gpt.training.run import run as run_recipe


PAGE = ROOT / "docs" / "serving.md"
PROMPT = "The value of an object is the type of the"
SIZE = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 128}
# One of each generation, random where `modern` is trained. With biases of queries, keys and values no layout expresses a GPT-3.
MODELS: dict[str, dict[str, Any]] = {
    "gpt1": {"preset": "gpt1"},
    "gpt2": {"preset": "gpt2"},
    "gpt3": {"preset": "gpt3-125m", "sliding_window": 8, "qkv_bias": False},
    "llama": {"preset": "modern-5m", "num_key_value_heads": 1, "intermediate_size": 256, "qk_norm": False},
}
# Those whose layout a GGUF file can hold.
GGUF = ("gpt2", "llama", "modern")


# ------------------------------------------------------------------------------------------------------ preparation


def prepare(folder: Path, steps: int) -> None:
    """Write the models in every form that an engine reads, and what our own code makes of the prompt."""
    write_documents(folder / "corpus.jsonl")
    size = {**SIZE, "num_key_value_heads": 1, "intermediate_size": 256}
    recipe = recipe_values(folder / "corpus.jsonl", folder / "modern" / "own", config=size, tokenizer_vocab_size=1024)
    changes = {"max_steps": steps, "block_size": 64, "eval_steps": steps, "save_steps": steps, "save_total_limit": 1}
    run_recipe(parse_recipe({**recipe, **changes}))
    tokenizer = AutoTokenizer.from_pretrained(folder / "modern" / "own")
    models = {"modern": load(str(folder / "modern" / "own"))[0]}
    for name, values in MODELS.items():
        models[name] = random_model(len(tokenizer), tokenizer.eos_token_id, **values)
        models[name].save_pretrained(folder / name / "own")
        tokenizer.save_pretrained(folder / name / "own")
    facts = {"prompt": PROMPT, "models": {name: prepare_model(folder / name, model) for name, model in models.items()}}
    facts["text"] = tokenizer.decode(np.load(folder / "modern" / "reference.npz")["new_ids"])
    facts["chat_text"] = prepare_chat(folder / "chat", folder / "modern" / "own")
    (folder / "job.json").write_text(json.dumps(facts), encoding="utf-8")


def write_documents(path: Path) -> None:
    """Python's language reference as documents of fifty sections, in which a text seldom ends."""
    write_corpus(path)
    sections = [json.loads(line)["body"] for line in path.read_text(encoding="utf-8").splitlines()]
    documents = ["\n\n".join(sections[i : i + 50]) for i in range(0, len(sections), 50)]
    path.write_text("".join(json.dumps({"body": document}) + "\n" for document in documents), encoding="utf-8")


def random_model(entries: int, end: int, **values: Any) -> Any:
    """Return a model of large random weights, so that every part shows and its greedy text does not settle on one token."""
    torch.manual_seed(0)
    given: dict[str, Any] = {**SIZE, "vocab_size": entries, "tie_word_embeddings": False, **values}
    config = hf_gpt.preset(given.pop("preset"), **given, bos_token_id=end, eos_token_id=end)
    model = hf_gpt.GPTForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * (0.1 if parameter.ndim == 2 else 0.02))
    return model


def prepare_model(folder: Path, model: Any) -> dict[str, Any]:
    own = folder / "own"
    layout = hf_gpt.export_checkpoint(model, folder / "native", tokenizer=own)
    if folder.name in GGUF:
        hf_gpt.export_checkpoint(model, folder / "gguf", "gguf", tokenizer=own)
        hf_gpt.export_checkpoint(model, folder / "ggufq8_0", "gguf", tokenizer=own, quantize="q8_0")
    ids = AutoTokenizer.from_pretrained(own)(PROMPT, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        log_probs = model(ids, use_cache=False).logits[0].double().log_softmax(-1).numpy()
    np.savez(folder / "reference.npz", ids=ids[0].numpy(), log_probs=log_probs, new_ids=continue_greedily(model, ids))
    return {"layout": layout, "parameters": model.num_parameters()}


def continue_greedily(model: Any, ids: torch.Tensor) -> np.ndarray:
    """Return `NEW_TOKENS` ids, also where one of them ends a text: some engines cannot be told to go on, so none may be among them."""
    with torch.inference_mode():
        written = model.generate(ids, max_new_tokens=NEW_TOKENS, do_sample=False, attention_mask=torch.ones_like(ids))
    new_ids = written[0, ids.shape[1] :].numpy()
    if len(new_ids) != NEW_TOKENS:
        raise SystemExit(f"a model ends its text after {len(new_ids)} of {NEW_TOKENS} tokens: choose another PROMPT.")
    return new_ids


def prepare_chat(folder: Path, own: Path) -> str:
    """Write the model with a chat template, and return its answer; what the words are worth is not asked."""
    loaded: tuple[Any, Any] = load(str(own))
    model, tokenizer = loaded
    add_chat_template(tokenizer)
    model.resize_token_embeddings(len(tokenizer))
    hf_gpt.export_checkpoint(model, folder / "native", tokenizer=tokenizer)
    model.save_pretrained(folder / "own")
    tokenizer.save_pretrained(folder / "own")
    messages = [{"role": "user", "content": PROMPT}]
    asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        written = model.generate(**asked, max_new_tokens=NEW_TOKENS, do_sample=False)
    return tokenizer.decode(written[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)


# ------------------------------------------------------------------------------------------------------ environments


def interpreter(name: str, engine: Engine, environments: Path) -> Path:
    """Return the Python that an engine runs in, with its packages installed.

    An environment that is not alone sees what is installed here behind its own packages, so that only what the engine adds is fetched.

    Raises:
        subprocess.CalledProcessError: pip does not find or cannot install a package.
    """
    if not engine.packages:
        return Path(sys.executable)
    # Engines of the same packages share one.
    first = next(key for key, other in ENGINES.items() if other.packages == engine.packages)
    folder = environments / first
    python = folder / "bin" / "python"
    if not python.is_file():
        venv.create(folder, with_pip=True)
        if not engine.is_alone:
            (site,) = folder.glob("lib/python*/site-packages")
            (site / "zz_beside.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # What was removed would come back with another call.
    if not (folder / "installed").is_file():
        subprocess.run([*pip, "install", *engine.packages], check=True, capture_output=True, text=True)
        if engine.removed:
            subprocess.run([*pip, "uninstall", "--yes", *engine.removed], check=True, capture_output=True, text=True)
        (folder / "installed").touch()
    return python


def measure(name: str, folder: Path, environments: Path) -> dict[str, Any]:
    """Return what one engine says of the models, or under `failed` why it does not."""
    engine = ENGINES[name]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "HF_HUB_OFFLINE": "1"}
    try:
        python = interpreter(name, engine, environments)
        command = [str(python), "-m", "experiments.engines", name, str(folder)]
        ran = subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=60 * engine.minutes
        )
    except subprocess.CalledProcessError as error:
        return {"failed": last_line(error.stderr), "installed": "experiments.engines" in error.cmd}
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {engine.minutes} minutes", "installed": True}
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith(RESULT)]
    return json.loads(line.removeprefix(RESULT))


def last_line(text: str) -> str:
    """Return the line that says what went wrong; of a path only its last name, since folders are this machine's."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"(?:/[\w.+@-]+)+/([\w.+@-]+)", r"\1", lines[-1] if lines else "no message")[:200]


# -------------------------------------------------------------------------------------------------------------- page


def status(found: dict[str, Any] | None) -> list[str]:
    """Return the cells of a row: status, what was compared, the largest difference and the speed."""
    if found is None:
        return ["not measured here", "", "", ""]
    if "failed" in found:
        return [f"{'does not run' if found['installed'] else 'does not install'}: {found['failed']}", "", "", ""]
    compared = found.get("compared", {})
    same = [name for name, values in compared.items() if values.get("greedy_equal")]
    other = [name for name, values in compared.items() if values.get("greedy_equal") is False]
    told = [f"the same greedy text: {', '.join(same)}"] if same else []
    told += [f"another text: {', '.join(other)}"] if other else []
    told += [found["told"]] if "told" in found else []
    differences = [values["difference"] for values in compared.values() if "difference" in values]
    speed = f"{found['tokens_per_second']:,.0f}" if "tokens_per_second" in found else ""
    return [f"{found['version']}", "; ".join(told), f"{max(differences):.1e}" if differences else "", speed]


def page() -> list[str]:
    """Return the table of docs/serving.md."""
    rows = []
    for name, engine in ENGINES.items():
        record = find_record(f"serving/{name}")
        rows.append([engine.title, engine.command, *status(record and record["found"])])
    headings = ("engine", "how", "version", "compared", "largest difference of log-probabilities", "tokens/s")
    return table(headings, rows, "llllrr")


SECTIONS = [Section(PAGE, "table", page)]


# ------------------------------------------------------------------------------------------------------------ runner


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", nargs="+", choices=list(ENGINES), default=list(ENGINES), metavar="NAME")
    parser.add_argument("--environments", type=Path, default=ROOT / ".venv-serving", metavar="FOLDER")


def run(options: argparse.Namespace) -> None:
    """With `--smoke` a model of two steps in transformers alone, since continuous integration has no other engine."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, steps=2 if options.smoke else 400)
        sizes = json.loads((folder / "job.json").read_text(encoding="utf-8"))["models"]
        content = {"models": sizes, "model_sha256": folder_hash(folder / "modern" / "own"), "new_tokens": NEW_TOKENS}
        for name in ["native"] if options.smoke else options.engine:
            found = measure(name, folder, options.environments.resolve())
            print(name, found, flush=True)
            write_record(f"serving/{name}", "serving", **content, found=found)
