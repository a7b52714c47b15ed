"""Checkpoint to bundle: the graphs are built straight from safetensors, shard by shard, without torch."""

from __future__ import annotations

from ..runtime.errors import PaliJetError

try:
    from .calibration import Calibration, Example, load_calibration, split
    from .exporter import ExportOptions, Progress, export
    from .precision import PRECISIONS
except ModuleNotFoundError as error:
    if error.name is None or error.name.startswith("palijet"):
        raise
    raise PaliJetError(
        f"export needs the package {error.name}, which is not installed; run: pip install 'palijet[export]'"
    ) from None

__all__ = [
    "PRECISIONS",
    "Calibration",
    "Example",
    "ExportOptions",
    "Progress",
    "export",
    "load_calibration",
    "split",
]
