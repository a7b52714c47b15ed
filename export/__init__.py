"""Checkpoint to bundle: the graphs are built straight from safetensors, shard by shard, without torch."""

from __future__ import annotations

from ..runtime.errors import PaliJetError

try:
    from .exporter import PRECISIONS, ExportOptions, Progress, export
except ModuleNotFoundError as error:
    if error.name is None or error.name.startswith("palijet"):
        raise
    raise PaliJetError(
        f"export needs the package {error.name}, which is not installed; run: pip install 'palijet[export]'"
    ) from None

__all__ = ["PRECISIONS", "ExportOptions", "Progress", "export"]
