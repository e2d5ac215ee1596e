"""`transformers chat` against `transformers serve` of an export with a chat template."""

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
        shown = subprocess.run(command, input=typed, capture_output=True, text=True, check=True, cwd=place).stdout
    # The terminal breaks lines where it likes.
    equal = bool(text.strip()) and "".join(text.split()) in "".join(shown.split())
    return {"compared": {"its answer": {"greedy_equal": equal}}}
