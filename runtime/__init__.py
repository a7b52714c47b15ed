"""A bundle and a frame become a result: the lean part, which needs neither torch nor transformers nor onnx."""

from __future__ import annotations

from .bundle import Bundle, open_bundle
from .errors import (
    BundleError,
    CheckpointError,
    EngineError,
    InputError,
    PaliJetError,
    SourceError,
)
from .model import LoadOptions, Model, load
from .nv12 import Nv12
from .preprocess import preprocess
from .result import Choice, DetectedObject, Result, StreamResult, Timings

__all__ = [
    "Bundle",
    "BundleError",
    "CheckpointError",
    "Choice",
    "DetectedObject",
    "EngineError",
    "InputError",
    "LoadOptions",
    "Model",
    "Nv12",
    "PaliJetError",
    "Result",
    "SourceError",
    "StreamResult",
    "Timings",
    "load",
    "open_bundle",
    "preprocess",
]
