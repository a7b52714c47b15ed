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
    """Lays tensors out in a file and hands out the ones that refer to it.

    Several graphs may share one file: what one has stored under a name, another finds there.
    """

    def __init__(self, file: HashedFile) -> None:
        self.file = file
        self._stored: dict[tuple[str, ir.DataType], ir.ExternalTensor] = {}

    def add(self, name: str, array: np.ndarray) -> ir.ExternalTensor:
        """A tensor that is at hand."""
        return self.once(name, ir.DataType.from_numpy(array.dtype), array.shape, lambda: [array])

    def find(self, name: str) -> list[ir.ExternalTensor]:
        """What is stored under a name, in any type."""
        return [tensor for (stored, _), tensor in self._stored.items() if stored == name]

    def once(
        self, name: str, dtype: ir.DataType, shape: tuple[int, ...], pieces: Callable[[], Iterable[np.ndarray]]
    ) -> ir.ExternalTensor:
        """A tensor made of consecutive pieces along its first axis, which are asked for only if it is not stored yet."""
        key = (name, dtype)
        if key not in self._stored:
            self.file.write(bytes(-self.file.size % ALIGNMENT))
            offset = self.file.size
            for piece in pieces():
                self.file.write_array(piece)
            self._stored[key] = ir.ExternalTensor(
                self.file.path.name,
                offset,
                self.file.size - offset,
                dtype,
                shape=ir.Shape(shape),
                name=name,
                base_dir=self.file.path.parent,
            )
        return self._stored[key]
