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
    return subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=ROOT, env=environment).returncode


sys.exit(main())
