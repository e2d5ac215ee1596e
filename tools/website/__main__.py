"""`python -m tools.website`: gather the pages, then build them; what MkDocs warns of is an error."""

import os
import shutil
import subprocess
import sys

from .pages import GATHERED, ROOT, gather


def main() -> int:
    shutil.rmtree(GATHERED, ignore_errors=True)
    count = gather(GATHERED)
    print(f"{count} pages in {GATHERED.relative_to(ROOT)}", flush=True)
    # Material says at every build that it goes over to a successor.
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    code = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=ROOT, env=environment).returncode
    if code == 0:
        index_as_script()
    return code


def index_as_script() -> None:
    """Write the words that are searched as a script, which a page that is opened as a file may load.

    Material's plugin for this writes those of the last language alone.
    """
    index = ROOT / "build" / "site" / "search" / "search_index.json"
    index.with_suffix(".js").write_text(f"var __index = {index.read_text(encoding='utf-8')}", encoding="utf-8")


sys.exit(main())
