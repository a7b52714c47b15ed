"""The external weight file of a graph: tensors are written one after the other as the graph is built, and hashed on the way.

Nothing is kept in memory but the tensor at hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ..runtime.bundle import FileSpec

ALIGNMENT = 4096  # bytes: a page, so that a reader can map a tensor where it lies
_PIECE = 64 << 20  # bytes written between two reports of progress


class HashedFile:
    """A file that is written front to back and knows its size and SHA-256 at the end."""

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        self.path = path
        self.size = 0
        self._stream = path.open("xb")
        self._digest = hashlib.sha256()
        self._progress = progress

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _PIECE):
            piece = view[start : start + _PIECE]
            self._stream.write(piece)
            self._digest.update(piece)
            self.size += len(piece)
            self._progress(len(piece))

    def write_array(self, array: np.ndarray) -> None:
        """Its elements, row-major and little-endian."""
        self.write(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stream.close()

    @property
    def spec(self) -> FileSpec:
        return FileSpec(bytes=self.size, sha256=self._digest.hexdigest())


class WeightFile:
    """Lays tensors out in a file and hands out the ones that refer to it."""

    def __init__(self, file: HashedFile) -> None:
        self.file = file

    def add(self, name: str, array: np.ndarray) -> ir.ExternalTensor:
        """Append a tensor."""
        return self.add_pieces(name, array.dtype, array.shape, [array])

    def add_pieces(
        self, name: str, dtype: np.dtype, shape: tuple[int, ...], pieces: Iterable[np.ndarray]
    ) -> ir.ExternalTensor:
        """Append a tensor that is too large to be held whole: consecutive pieces along its first axis."""
        self.file.write(bytes(-self.file.size % ALIGNMENT))
        offset = self.file.size
        for piece in pieces:
            self.file.write_array(piece)
        return ir.ExternalTensor(
            self.file.path.name,
            offset,
            self.file.size - offset,
            ir.DataType.from_numpy(dtype),
            shape=ir.Shape(shape),
            name=name,
            base_dir=self.file.path.parent,
        )
