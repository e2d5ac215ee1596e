"""A notebook in its text form, run as a program: each line of a shell as a process, each picture looked at."""

import re
import shlex
import sys

from tests.conftest import ROOT


FOLDER = ROOT / "notebooks"
# In place of IPython, which has no use outside of a notebook.
SHOWN = """
import subprocess
from pathlib import Path
shown = []
def Image(path, **size):
    return Path(path).read_bytes()
HTML, display = str, shown.append
def shell(command):
    subprocess.run(command, shell=True, check=True)
"""


def program(name: str, setting: str) -> str:
    """The code of a notebook with the value at its top replaced."""
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    cells = [cell for cell in re.split(r"^# %%", text, flags=re.MULTILINE)[1:] if not cell.startswith(" [markdown]")]
    code = "\n".join(cell.partition("\n")[2] for cell in cells)
    variable = setting.partition(" = ")[0]
    code, count = re.subn(rf"^{variable} = .*$", setting, code, flags=re.MULTILINE)
    assert count == 1, f"{name} has no {variable} at its top"
    code = re.sub(r"^from IPython.display import .*$", "", code, flags=re.MULTILINE)
    command = f"{shlex.quote(sys.executable)} -m hf_gpt"
    code = re.sub(r"^# !hf-gpt (.*)$", lambda found: f"shell(f{f'{command} {found[1]}'!r})", code, flags=re.MULTILINE)
    return f"{SHOWN}\n{code}\nassert shown"
