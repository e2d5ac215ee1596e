"""Runs a trained model in engines that are not ours and compares their logits: benchmarks/records/serving.json, docs/serving.md.

python -m experiments serving [RUN]     runs/quickstart by default
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.frame import ROOT, Section, load_record, table, write_record
from benchmarks.tiny import recipe_values, write_corpus
from transformers import AutoModelForCausalLM

from hf_gpt import export_checkpoint
from hf_gpt.inference.inspect import load
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.reports.records import folder_hash
from hf_gpt.tasks.chat_template import add_chat_template
from hf_gpt.training.run import run as run_recipe


PAGE = ROOT / "docs" / "serving.md"
PROMPT = "This movie is one of the best films I have ever seen"
NEW_TOKENS = 24
# What the command `transformers` runs, without hf_gpt in the process.
ALONE = "from transformers.cli.transformers import main; main()"
# `transformers serve` looks a class up on its own module, where importing hf_gpt puts ours; it has no plugins.
OWN_SERVE = "import hf_gpt; from transformers.cli.transformers import main; main()"


class Reference:
    """Our own model's logits, of shape `(length, vocab_size)`, and the ids that it goes on with when it is greedy."""

    model: Any
    tokenizer: Any

    def __init__(self, run: Path):
        self.model, self.tokenizer = load(str(run))
        self.ids = self.tokenizer(PROMPT, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            self.logits = self.model(self.ids, use_cache=False).logits[0].numpy()
            written = self.model.generate(self.ids, max_new_tokens=NEW_TOKENS, do_sample=False)
        self.new_ids = written[0, self.ids.shape[1] :].tolist()
        self.text = self.tokenizer.decode(self.new_ids, skip_special_tokens=True)

    def difference(self, logits: np.ndarray) -> float:
        return float(np.abs(np.asarray(logits) - self.logits).max())


def native_transformers(reference: Reference, run: Path, folder: Path) -> dict[str, Any]:
    """Return an export, read by transformers' own class."""
    layout = export_checkpoint(reference.model, folder / "native", tokenizer=run)
    native = AutoModelForCausalLM.from_pretrained(folder / "native").eval()
    with torch.inference_mode():
        logits = native(reference.ids, use_cache=False).logits[0].numpy()
    return {"layout": layout, "class": type(native).__name__, "difference": reference.difference(logits)}


def onnx_runtime(reference: Reference, run: Path, folder: Path) -> dict[str, Any]:
    """Return the exporter of transformers, and the file it writes in onnxruntime, with a text of another length than the traced one."""
    import onnxruntime
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    traced: dict[str, Any] = {"input_ids": torch.randint(2, 100, (2, 9)), "attention_mask": torch.ones(2, 9, dtype=torch.long)}
    # Without a cache, so that ids and mask are all that goes in.
    reference.model.config.use_cache = False
    OnnxExporter().export(reference.model, traced, config=OnnxConfig(dynamic=True)).save_pretrained(folder / "onnx")
    session = onnxruntime.InferenceSession(str(folder / "onnx" / "model.onnx"))
    given = {"input_ids": reference.ids.numpy(), "attention_mask": torch.ones_like(reference.ids).numpy()}
    (logits,) = session.run(["logits"], {item.name: given[item.name] for item in session.get_inputs()})
    return {"version": metadata.version("onnxruntime"), "difference": reference.difference(logits[0])}


def llama_cpp(reference: Reference, run: Path, folder: Path) -> dict[str, Any]:
    """Return a GGUF file in llama.cpp: its tokens, its logits, and what it writes."""
    import llama_cpp

    export_checkpoint(reference.model, folder / "gguf", "gguf", tokenizer=run)
    # Its cache is of half precision by default. `logits_all` keeps the logits of every position.
    exact = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32, "logits_all": True}
    llama = llama_cpp.Llama(str(folder / "gguf" / "model.gguf"), n_ctx=256, n_threads=1, verbose=False, **exact)
    ids = llama.tokenize(PROMPT.encode(), add_bos=False)
    llama.eval(ids)
    logits = llama.scores[: len(ids)].copy()
    written = []
    for token in llama.generate(ids, top_k=1, temp=0.0, repeat_penalty=1.0):
        written.append(token)
        if len(written) == NEW_TOKENS or token == llama.token_eos():
            break
    return {
        "version": metadata.version("llama-cpp-python"),
        "tokens_equal": ids == reference.ids[0].tolist(),
        "greedy_ids_equal": written == reference.new_ids,
        "difference": reference.difference(logits),
    }


@contextmanager
def server(command: list[str], served: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """An OpenAI-compatible server at a free port of loopback, while it is needed: its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [*command, "serve", str(served), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    process = subprocess.Popen(arguments)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait()


def serve(command: list[str], reference: Reference, served: Path) -> dict[str, Any]:
    """Start a server and ask it for a greedy continuation."""
    with server(command, served) as (address, process):
        asked = {"model": str(served), "prompt": PROMPT, "max_tokens": NEW_TOKENS, "temperature": 0.0}
        text = ask(f"{address}/v1/completions", asked, process)["choices"][0]["text"]
    return {"version": metadata.version("transformers"), "greedy_text_equal": text.strip() == reference.text.strip()}


def ask(address: str, content: dict[str, Any], process: subprocess.Popen) -> dict[str, Any]:
    """Return the answer of a server, once it is up."""
    request = urllib.request.Request(address, json.dumps(content).encode(), {"Content-Type": "application/json"})
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{address} answers {error.code}: {error.read().decode()[:500]}") from error
        except urllib.error.URLError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(1)


def served_export(reference: Reference, run: Path, folder: Path) -> dict[str, Any]:
    return serve([sys.executable, "-c", ALONE], reference, folder / "native")


def chat(reference: Reference, run: Path, folder: Path) -> dict[str, Any]:
    """`transformers chat` against `transformers serve` of an export with a chat template; what the words are worth is not asked."""
    loaded: tuple[Any, Any] = load(str(run))
    model, tokenizer = loaded
    add_chat_template(tokenizer)
    model.resize_token_embeddings(len(tokenizer))
    tokenizer.save_pretrained(folder / "template")
    served = folder / "chat"
    export_checkpoint(model, served, tokenizer=folder / "template")
    messages = [{"role": "user", "content": PROMPT}]
    asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = asked["input_ids"]
    with torch.inference_mode():
        written = model.generate(ids, max_new_tokens=NEW_TOKENS, do_sample=False)
    text = tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
    with server([sys.executable, "-c", ALONE], served) as (address, process):
        # The first answer tells that the server is up.
        ask(f"{address}/v1/chat/completions", {"model": str(served), "messages": messages, "max_tokens": 1}, process)
        options = [f"max_new_tokens={NEW_TOKENS}", "do_sample=False"]
        command = [sys.executable, "-c", ALONE, "chat", str(served), address, *options]
        # An answer that is cut off is followed by the question whether it shall go on; without it, `n` is one more message.
        typed = f"{PROMPT}\nn\n!exit\n"
        shown = subprocess.run(command, input=typed, capture_output=True, text=True, check=True, cwd=folder).stdout
    # The terminal breaks lines where it likes.
    equal = bool(text.strip()) and "".join(text.split()) in "".join(shown.split())
    return {"version": metadata.version("transformers"), "greedy_text_equal": equal}


def served_own(reference: Reference, run: Path, folder: Path) -> dict[str, Any]:
    return serve([sys.executable, "-c", OWN_SERVE], reference, run)


# Name of each engine, how a person runs it, and what measures it here.
ENGINES = {
    "transformers, its own class": ("`AutoModelForCausalLM.from_pretrained('native')`", native_transformers),
    "`transformers serve`, an export": ("`transformers serve native`", served_export),
    "`transformers serve`, our own folder": (f'`python -c "{OWN_SERVE}" serve runs/quickstart`', served_own),
    "`transformers chat`": ("`transformers chat native http://localhost:8000`, to a server that is up", chat),
    "llama.cpp (`llama-cpp-python`)": ("`llama-cli -m gguf/model.gguf -p 'This movie is'`", llama_cpp),
    "onnxruntime": ("see [ONNX](#onnx)", onnx_runtime),
}


SAID = {
    "tokens_equal": "the same tokens",
    "greedy_ids_equal": "the same greedy ids",
    "greedy_text_equal": "the same greedy text",
}


def page() -> list[str]:
    """Return the table of docs/serving.md."""
    record = load_record("serving")
    rows = []
    for name, (command, _) in ENGINES.items():
        found = record["engines"][name]
        told = "; ".join(said if found[key] else f"not {said}" for key, said in SAID.items() if key in found)
        version = f"{found['version']}" if "version" in found else f"{found['class']}, layout `{found['layout']}`"
        difference = f"{found['difference']:.1e}" if "difference" in found else "not served"
        rows.append([name, command, f"ran: {version}{'; ' + told if told else ''}", difference])
    return table(("engine", "one command", "status", "largest difference of logits"), rows, "lllr")


SECTIONS = [Section(PAGE, "table", page)]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, nargs="?", default=Path("runs/quickstart"), metavar="RUN")


def run(options: argparse.Namespace) -> None:
    """With `--smoke` a model of two steps in transformers alone, since continuous integration has no other engine."""
    model, names = options.model, list(ENGINES)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.smoke:
            model, names = folder / "model", names[:1]
            write_corpus(folder / "corpus.jsonl")
            run_recipe(parse_recipe(recipe_values(folder / "corpus.jsonl", model, max_steps=2)))
        reference = Reference(model)
        engines = {}
        for name in names:
            engines[name] = ENGINES[name][1](reference, model, folder)
            print(name, engines[name], flush=True)
    content = {"model": model.name, "model_sha256": folder_hash(model), "prompt": PROMPT, "new_tokens": NEW_TOKENS}
    write_record("serving", "serving", **content, greedy_text=reference.text, engines=engines)
