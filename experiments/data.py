"""Every data package, fetched and read: what came, how many rows of which columns, how long it took.

Uses the network for what the cache folder does not hold yet (360 MB, most of it one archive that is not kept). Writes
`benchmarks/records/data.json` and the table of `docs/data.md`.
"""

import argparse
import tempfile
import time
from typing import Any

from benchmarks.frame import ROOT, Section, load_record, table, write_record
from datasets import Dataset

from hf_gpt.data.packages import PACKAGES, provenance, read_package


def measure(name: str, folder: str) -> dict[str, Any]:
    """Return what a package gives, through the same door that training takes."""
    start = time.perf_counter()
    rows = Dataset.from_generator(read_package, gen_kwargs={"name": name}, cache_dir=folder)
    seconds = round(time.perf_counter() - start, 1)
    columns = {column: _type_name(feature) for column, feature in rows.features.items()}
    return {"rows": len(rows), "columns": columns, "seconds": seconds, **provenance(PACKAGES[name])}


def _type_name(feature: Any) -> str:
    if isinstance(feature, dict):
        return "{" + ", ".join(f"{name}: {_type_name(part)}" for name, part in feature.items()) + "}"
    inner = getattr(feature, "feature", None)
    return f"list of {_type_name(inner)}" if inner is not None else feature.dtype


def page() -> list[str]:
    """Return the table of `docs/data.md`."""
    rows, packages = [], load_record("data")["packages"]
    for name, package in PACKAGES.items():
        # What is not fetched is counted here and now, and not in what another version has left in a cache.
        with tempfile.TemporaryDirectory() as folder:
            found = measure(name, folder) if package.registry == "none" else packages[name]
        columns = ", ".join(f"`{column}`" for column in found["columns"])
        kept = [found["source"], found["license"], found.get("caveat", "")]
        rows.append([f"`{name}`", f"{found['rows']:,}", columns, *kept])
    return table(("package", "rows", "columns", "what it is", "licence", "caveat"), rows, "lrl")


SECTIONS = [Section(ROOT / "docs" / "data.md", "packages", page)]


def run(options: argparse.Namespace) -> None:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in PACKAGES:
            found[name] = measure(name, folder)
            print(f"{name}: {found[name]['rows']:,} rows, {found[name]['seconds']} s", flush=True)
    write_record("data", "data", packages=found)
