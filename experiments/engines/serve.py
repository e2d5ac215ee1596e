"""`transformers serve`, an OpenAI-compatible server: does it write the same greedy text?"""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .job import NEW_TOKENS, Job


# What the command `transformers` runs, without hf_gpt in the process.
ALONE = "from transformers.cli.transformers import main; main()"


def measure(job: Job) -> dict[str, Any]:
    return served(job, ALONE, job.models["modern"].native)


def served(job: Job, code: str, folder: Path) -> dict[str, Any]:
    """Start a server and ask it for a greedy continuation."""
    with server(code, folder) as (address, process):
        asked = {"model": str(folder), "prompt": job.facts["prompt"], "max_tokens": NEW_TOKENS, "temperature": 0.0}
        text = ask(f"{address}/v1/completions", asked, process)["choices"][0]["text"]
    return {"compared": {"modern": {"greedy_equal": text.strip() == job.facts["text"].strip()}}}


@contextmanager
def server(code: str, folder: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """A server at a free port of loopback, while it is needed: its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", code, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    process = subprocess.Popen(command)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait()


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
