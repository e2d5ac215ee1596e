"""How Debian's package descriptions arrive: through apt with state of its own, which leaves the system's alone.

Debian changes these files in place, so their hash cannot be known beforehand. apt checks their signature; we write down what came.
"""

import getpass
import json
from collections.abc import Iterator
from pathlib import Path

from .package import Package, download_failed, sha256_of
from .registries import run_download


# Also of the key of a description in the file that is written.
LANGUAGE = "en"
TARGET_FORMAT = "$(CREATED_BY)|$(ORIGIN)|$(LABEL)|$(CODENAME)|$(COMPONENT)|$(LANGUAGE)|$(FILENAME)"


def release_file(path: Path) -> Path:
    """Return where it is written down of which release a file is."""
    return path.with_name(path.name + ".release.json")


def download_descriptions(package: Package, folder: Path) -> None:
    """One line of JSON for each package: its name, source, section, and its description in English."""
    options = _update(package, folder)
    indices: dict[str, Path] = {}
    for line in run_download(package, ["apt-get", *options, "indextargets", "--format", TARGET_FORMAT]).splitlines():
        created_by, origin, label, codename, component, language, file = line.split("|", 6)
        # The release itself, without updates: those have few packages and no translations.
        if (origin, label, component) != ("Debian", "Debian", "main") or "-" in codename or not Path(file).is_file():
            continue
        if created_by == "Packages":
            indices.setdefault("packages", Path(file))
        elif created_by == "Translations" and language == LANGUAGE:
            indices.setdefault(LANGUAGE, Path(file))
    missing = {"packages", LANGUAGE} - set(indices)
    if missing:
        raise download_failed(package, f"apt's sources have no Debian release with {', '.join(sorted(missing))}")
    release = _release(indices["packages"])
    release["indices"] = {name: sha256_of(path) for name, path in sorted(indices.items())}
    target = folder / package.file
    _write_descriptions(indices, target)
    _write_release(target, release)


def _update(package: Package, folder: Path) -> list[str]:
    """Fetch the indices of apt's own sources into the folder; the options that every further call needs."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    settings = {
        "Dir::State": folder / "state",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": LANGUAGE,
        "Acquire::GzipIndexes": "false",
        # As root, apt would change to a user who may not write into the folder.
        "APT::Sandbox::User": getpass.getuser(),
    }
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    run_download(package, ["apt-get", *options, "--quiet", "update"])
    return options


def _release(packages: Path) -> dict:
    """Name, number and date of the release that an index belongs to."""
    name = packages.name.split("_main_")[0]
    for file in (packages.with_name(f"{name}_InRelease"), packages.with_name(f"{name}_Release")):
        if file.is_file():
            fields = dict(line.split(": ", 1) for line in file.read_text("utf-8").splitlines() if ": " in line)
            return {"version": " ".join(fields[key] for key in ("Codename", "Version", "Date") if key in fields)}
    return {"version": "unknown"}


def _write_release(target: Path, release: dict) -> None:
    content = {"sha256": sha256_of(target), "release": release}
    release_file(target).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def stanzas(path: Path) -> Iterator[dict[str, str]]:
    """Return the records of an index: fields by name, the lines of a field as they stand."""
    fields: dict[str, str] = {}
    name = ""
    with path.open(encoding="utf-8") as file:
        for line in file:
            line = line.rstrip("\n")
            if not line:
                if fields:
                    yield fields
                fields = {}
            elif line.startswith((" ", "\t")):
                fields[name] += "\n" + line
            else:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
    if fields:
        yield fields


def _write_descriptions(indices: dict[str, Path], target: Path) -> None:
    descriptions = {
        (fields["Package"], fields["Description-md5"]): fields[f"Description-{LANGUAGE}"]
        for fields in stanzas(indices[LANGUAGE])
    }
    with target.open("w", encoding="utf-8", newline="\n") as file:
        for fields in stanzas(indices["packages"]):
            text = descriptions.get((fields["Package"], fields.get("Description-md5", "")))
            if text is not None:
                # A source of another version is given as "name (version)".
                source = fields.get("Source", fields["Package"]).split(" ")[0]
                row = {"package": fields["Package"], "source": source, "section": fields.get("Section", ""), LANGUAGE: text}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
