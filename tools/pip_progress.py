"""Shows what pip does as one line that moves: `pip install --progress-bar raw ... | python tools/pip_progress.py`.

Left to itself pip is either silent for minutes or prints three lines for each of a hundred packages, and it says nothing while it
unpacks them. Where no terminal reads along, the line is printed anew every ten seconds. Errors go past it: pip writes them to stderr.
"""

import queue
import re
import sys
import threading
import time


EVERY = 10.0


def read(lines: "queue.Queue[str]") -> None:
    for told in sys.stdin:
        lines.put(told)
    lines.put("")


def main() -> None:
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=read, args=(lines,), daemon=True).start()
    begun = shown = time.monotonic()
    files, name, text, told = 0, "", "asking the index", "begin"
    while told:
        try:
            told = lines.get(timeout=1)
        except queue.Empty:
            told = "nothing new"
        if found := re.match(r"\s*(?:Downloading|Using cached|Processing) (\S+)(.*)", told):
            files, name = files + 1, found[1].split("/")[-1].split("-")[0] + found[2]
            text = f"file {files}: {name}"
        elif (found := re.match(r"Progress (\d+) of (\d+)", told)) and int(found[2]):
            text = f"file {files}: {name} {100 * int(found[1]) // int(found[2])} %"
        elif told.startswith("Installing collected packages"):
            text = f"unpacking {told.count(',') + 1} packages"
        elif told.startswith("Successfully installed"):
            text = "done"
        now = time.monotonic()
        line = f"     {text}, {now - begun:.0f} s"
        if sys.stdout.isatty():
            print(f"\r\033[K{line[:78]}", end="" if told else "\n", flush=True)
        elif now - shown > EVERY or not told:
            print(line, flush=True)
            shown = now


if __name__ == "__main__":
    main()
