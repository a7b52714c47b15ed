"""Scales moved from a layer's input into its weights: SmoothQuant (Xiao et al. 2023, arXiv:2211.10438), and AWQ's likewise.

Where x W equals (x / s) (s W), dividing x is left to what makes it, a norm or another linear layer. The model stays what it
was; a checkpoint seen through `SmoothedCheckpoint` is that model with its tensors scaled.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .checkpoint import Checkpoint
from .linear_layers import LinearLayer

Scale = NDArray[np.float32]


@dataclass
class _Scaling:
    """tensor -> (tensor + offset) * rows * columns - offset."""

    rows: Scale | None = None
    columns: Scale | None = None
    offset: float = 0.0


@dataclass
class Smoothing:
    """The scales of all layers that have one, each [channels of its producer]."""

    _tensors: dict[str, _Scaling] = field(default_factory=dict)

    def add(self, layer: LinearLayer, scale: Scale) -> None:
        """Divide the layer's input by `scale` and multiply its weights by it."""
        assert layer.producer is not None
        for name in layer.producer.rows:
            scaling = self._tensors.setdefault(name, _Scaling())
            scaling.rows, scaling.offset = np.float32(1) / scale, layer.producer.offset
        for name in layer.tensors:
            self._tensors.setdefault(name, _Scaling()).columns = layer.producer.spread(scale)

    def apply(self, name: str, tensor: np.ndarray, start: int = 0) -> np.ndarray:
        """Rows of a checkpoint's tensor, from `start` on, as the smoothed model has them: float32 where they are scaled."""
        scaling = self._tensors.get(name)
        if scaling is None:
            return tensor
        scaled = tensor.astype(np.float32)
        if scaling.rows is not None:
            rows = scaling.rows[start : start + len(tensor)]
            rows = rows if tensor.ndim == 1 else rows[:, None]
            scaled = (scaled + np.float32(scaling.offset)) * rows - np.float32(scaling.offset)
        if scaling.columns is not None:
            scaled *= scaling.columns
        return scaled

    def __bool__(self) -> bool:
        return bool(self._tensors)


class SmoothedCheckpoint(Checkpoint):
    """A checkpoint through a smoothing."""

    def __init__(self, checkpoint: Checkpoint, smoothing: Smoothing) -> None:
        self.path, self.config = checkpoint.path, checkpoint.config
        self._checkpoint = checkpoint
        self._smoothing = smoothing

    def read_rows(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        return self._smoothing.apply(name, self._checkpoint.read_rows(name, start, stop), start)

    def dtype(self, name: str) -> str:
        return self._checkpoint.dtype(name)
