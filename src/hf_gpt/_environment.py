"""What has to stand in the environment before torch is loaded; `hf_gpt` imports it first."""

import os


# Threads of OpenMP that wait by spinning make training several times slower beside any other busy program.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
