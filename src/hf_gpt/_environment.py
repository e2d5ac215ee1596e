"""What the command sets before torch is loaded; `hf_gpt` imports it first. A program that imports the package keeps its own."""

import os
import sys
from pathlib import Path


# `python -m hf_gpt`, while it imports the package, or the console script.
if sys.argv[0] == "-m" or Path(sys.argv[0]).name == "hf-gpt":
    # Threads of OpenMP that wait by spinning make training several times slower beside any other busy program.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
