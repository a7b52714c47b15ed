"""PaliGemma on Jetson: export once, run every frame."""

from __future__ import annotations

from pathlib import Path

_tree = Path(__file__).resolve().parent.parent
if (_tree / "CMakeLists.txt").exists():
    # In the source tree the other parts lie beside this folder, so that `python -m palijet...` works from there too.
    __path__.append(str(_tree))

from . import runtime  # noqa: E402
from .runtime import (  # noqa: E402
    BundleError,
    CheckpointError,
    Choice,
    DetectedObject,
    EngineError,
    InputError,
    Model,
    Nv12,
    PaliJetError,
    Result,
    SourceError,
    StreamResult,
    Timings,
    load,
)

__all__ = [
    "BundleError",
    "CheckpointError",
    "Choice",
    "DetectedObject",
    "EngineError",
    "InputError",
    "Model",
    "Nv12",
    "PaliJetError",
    "Result",
    "SourceError",
    "StreamResult",
    "Timings",
    "load",
    "runtime",
]
