"""Writes annotated frames to a video file, which appears under its name when it is whole."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError


class VideoWriter:
    """Frames into an .mp4, all of the size of the first; used in a `with`, which closes the file whatever happens.

    Raises:
        SourceError: the file cannot be written.
    """

    def __init__(self, path: Path, fps: float) -> None:
        if path.is_dir() or path.suffix.lower() != ".mp4":
            raise SourceError(f"{path} cannot be written: give the name of a file that ends in .mp4")
        if not path.parent.is_dir():
            raise SourceError(f"{path} cannot be written: there is no folder {path.parent}")
        self.path = path
        self.fps = fps
        self._partial = path.with_name(f".{path.stem}.partial.mp4")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a frame: [height, width, 3] BGR."""
        if self._writer is None:
            self._open(image)
        height, width = image.shape[:2]
        if (width, height) != self._size:
            image = _fitted(image, self._size)
        assert self._writer is not None
        self._writer.write(image)

    def _open(self, image: NDArray[np.uint8]) -> None:
        self._size = (image.shape[1] // 2 * 2 or 2, image.shape[0] // 2 * 2 or 2)  # codecs halve the colours
        self._writer = cv2.VideoWriter(str(self._partial), cv2.VideoWriter.fourcc(*"mp4v"), self.fps, self._size)
        if not self._writer.isOpened():
            raise SourceError(f"{self.path} cannot be written; check that the folder is writable")

    def close(self) -> None:
        """Finish the file, and give it its name; where nothing was written there is none."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            self._partial.replace(self.path)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _fitted(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The frame cut or padded with black to a size; panels of text grow and shrink from frame to frame."""
    width, height = size
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    part = image[:height, :width]
    canvas[: part.shape[0], : part.shape[1]] = part
    return canvas
