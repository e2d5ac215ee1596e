"""The site as `make docs` builds it."""

import os
import subprocess
import sys
from functools import cache

import pytest
from tests.conftest import ROOT


@cache
def build_site():
    """The folder of the site, built strictly and once; who has not got its packages skips."""
    for package in ("mkdocs", "material", "mkdocstrings", "mkdocs_static_i18n"):
        pytest.importorskip(package, reason="`make docs` installs it")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "SITE_URL": ""}
    built = subprocess.run([sys.executable, "-m", "tools.website"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return ROOT / "build" / "site"
