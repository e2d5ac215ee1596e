"""`transformers chat` against `transformers serve` of an export with a chat template."""

import os
import re
import subprocess
import sys
from typing import Any

from .job import NEW_TOKENS, Job
from .serve import ALONE, ask, server


def measure(job: Job) -> dict[str, Any]:
    folder, prompt, text = job.folder / "chat" / "native", job.facts["prompt"], job.facts["chat_text"]
    with server(ALONE, folder) as (address, process):
        # The first answer tells that the server is up.
        asked = {"model": str(folder), "messages": [{"role": "user", "content": prompt}], "max_tokens": 1}
        ask(f"{address}/v1/chat/completions", asked, process)
        command = [
            sys.executable,
            "-c",
            ALONE,
            "chat",
            str(folder),
            address,
            f"max_new_tokens={NEW_TOKENS}",
            "do_sample=False",
        ]
        # An answer that is cut off is followed by the question whether it shall go on; without it, `n` is one more message.
        typed = f"{prompt}\nn\n!exit\n"
        place = job.scratch("chat")
        # Its client is the Hub's, which reaches nothing while that is off, the server here neither.
        environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
        ran = subprocess.run(command, input=typed, capture_output=True, text=True, check=False, cwd=place, env=environment)
    if ran.returncode:
        raise SystemExit(f"transformers chat: {ran.stderr.strip()}")
    # The terminal breaks lines where it likes, and shows what it takes for Markdown without its signs.
    said, shown = (re.sub(r"\W|_", "", text) for text in (text, ran.stdout))
    equal = bool(said) and said in shown
    return {"compared": {"modern": {"greedy_equal": equal}}}
