"""Checkpoints of other architectures, read and written: one table a layout, used in both directions."""

from .checkpoints import new_folder
from .convert import EXPORT_LAYOUTS, convert_folder, export_checkpoint, import_checkpoint, to_foreign, write_foreign
from .layouts import LAYOUTS


__all__ = [
    "EXPORT_LAYOUTS",
    "LAYOUTS",
    "convert_folder",
    "export_checkpoint",
    "import_checkpoint",
    "new_folder",
    "to_foreign",
    "write_foreign",
]
