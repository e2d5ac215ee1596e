"""Brings transformers' own model tests to this machine: they are in its source distribution, not in its wheel."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory


PACKAGE = "transformers_tests"
WANTED = ("test_modeling_common.py", "test_configuration_common.py", "test_training_mixin.py")

# The wanted files import these modules, which the source distribution lacks.
STUBS = {
    "__init__.py": "",
    "generation/__init__.py": "",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "exporters/__init__.py": "",
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "utils/__init__.py": "",
    "utils/test_configuration_utils.py": (
        "config_common_kwargs = {\n"
        "    'return_dict': False,\n"
        "    'output_hidden_states': True,\n"
        "    'dtype': 'float16',\n"
        "    'chunk_size_feed_forward': 5,\n"
        "    'architectures': ['AModel'],\n"
        "    'id2label': {0: 'a label'},\n"
        "    'label2id': {'a label': 0},\n"
        "    'problem_type': 'regression',\n"
        "}\n"
    ),
}


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hf_gpt" / "conformance"


def download(version: str, folder: Path) -> Path:
    """The source distribution of one version, as `pip` is configured to find it; nothing is built from it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
    command += ["--no-binary", "transformers", "--dest", str(folder), f"transformers=={version}"]
    subprocess.run(command, check=True)
    return folder / f"transformers-{version}.tar.gz"


def fetch(version: str) -> Path:
    """The folder whose package `transformers_tests` holds the tests of that version; downloaded once, then kept."""
    home = cache_folder() / version
    if all((home / PACKAGE / name).is_file() for name in WANTED):
        return home
    (home / PACKAGE).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder, tarfile.open(download(version, Path(folder))) as archive:
        for name in WANTED:
            (home / PACKAGE / name).write_bytes(archive.extractfile(f"transformers-{version}/tests/{name}").read())
    return home


def install(version: str) -> None:
    """Makes `import transformers_tests` work in this process."""
    home = fetch(version)
    for name, text in STUBS.items():
        path = home / PACKAGE / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sys.path.insert(0, str(home))
