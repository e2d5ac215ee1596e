"""Files that are no text: what each is, told by what it begins with, and how its rows come out of it."""

import zipfile
from pathlib import Path

from ..errors import InputError


SAVE = "save what is in it as text, or as .csv or .jsonl"
PARTS = ("an archive of parts, such as those of Word, Excel or an e-book", SAVE)
PICKLE = (
    "a pickle, which may run code and is never opened",
    "where it was made, save its rows as .csv, .jsonl or .parquet, such as with to_parquet of pandas",
)
ARRAYS = ("an array of NumPy", SAVE)
ARROW = ("a table of Arrow", "save it as .parquet, or give the folder that save_to_disk of datasets wrote as dataset.path")
PARQUET = ("a table of Parquet under another name", "let its name end in .parquet, or set dataset.path to parquet")
PICTURE = ("a picture", "only text is learned, leave it out")
SOUND = ("sound or a film", "only text is learned, leave it out")
UNPACK = ("an archive", "unpack it and give the folder")
DATABASE = ("a database", "save a table of it as .csv, as sqlite3 -header -csv FILE 'select * from TABLE' writes it")
# What is in them is not what a person reads there, or no text at all; by the place of what they have near their beginning.
DOCUMENTS: dict[tuple[int, bytes], tuple[str, str]] = {
    (0, b"%PDF"): ("a PDF", SAVE),
    (0, b"\xd0\xcf\x11\xe0"): ("a document of Word or Excel", SAVE),
    (0, b"{\\rtf"): ("rich text", SAVE),
    (0, b"PAR1"): PARQUET,
    (0, b"SQLite format 3"): DATABASE,
    (0, b"\x93NUMPY"): ARRAYS,
    **{(0, magic): ARROW for magic in (b"ARROW1", b"\xff\xff\xff\xff", b"FEA1")},
    **{(0, bytes((128, protocol))): PICKLE for protocol in range(2, 6)},
    **{(0, magic): PICTURE for magic in (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")},
    (8, b"WEBP"): PICTURE,
    **{(0, magic): SOUND for magic in (b"ID3\x03", b"ID3\x04", b"OggS\0", b"fLaC")},
    **{(8, magic): SOUND for magic in (b"WAVEfmt", b"AVI LIST")},
    **{(0, magic): UNPACK for magic in (b"7z\xbc\xaf'\x1c", b"Rar!\x1a\x07")},
    (257, b"ustar"): UNPACK,
    (0, b"\x89HDF"): ("a table of HDF5", SAVE),
    (0, b"Obj\x01"): ("a table of Avro", SAVE),
    (0, b"\x7fELF"): ("a program", "give a file with text"),
}
# As much as is looked at.
HEAD = max(place + len(magic) for place, magic in DOCUMENTS)
ZIP = b"PK\x03\x04"
# A pickle of the first protocol looks like a text.
PICKLED = (".pkl", ".pickle", ".joblib")
# What packs a single file.
PACKED = (".gz", ".bz2", ".xz", ".zst")


def check_head(path: Path, head: bytes, besides: tuple[str, str] | None = None) -> None:
    """Raise `InputError` with what a file is and how to get rows out of it, where that is no text.

    Args:
        head: What it begins with, packed or not.
        besides: What it may be.
    """
    found = _document(path, head)
    if found is not None and found != besides:
        what, hint = found
        raise InputError(f"dataset: files={str(path)!r} is {what}: {hint}.")


def _document(path: Path, head: bytes) -> tuple[str, str] | None:
    suffix = Path(path.stem if path.suffix.lower() in PACKED else path).suffix.lower()
    if suffix in PICKLED:
        return PICKLE
    if head.startswith(ZIP):
        return _in_zip(path) or (None if suffix in ("", ".zip") else PARTS)
    return next((found for (place, magic), found in DOCUMENTS.items() if head[place:].startswith(magic)), None)


def _in_zip(path: Path) -> tuple[str, str] | None:
    """Return what an archive is that has no other name, `None` where it is one of somebody's files."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        # Named where it is unpacked.
        return None
    if any(name.endswith(("/data.pkl", *PICKLED)) for name in names):
        return PICKLE
    if names and all(name.endswith(".npy") for name in names):
        return ARRAYS
    return PARTS if "[Content_Types].xml" in names or "mimetype" in names else None
