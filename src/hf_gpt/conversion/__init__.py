"""Checkpoints of other architectures, read and written: one table a layout, used in both directions."""

from .convert import EXPORT_LAYOUTS, convert_folder, export_checkpoint, import_checkpoint, to_foreign
from .layouts import LAYOUTS


__all__ = ["EXPORT_LAYOUTS", "LAYOUTS", "convert_folder", "export_checkpoint", "import_checkpoint", "to_foreign"]
