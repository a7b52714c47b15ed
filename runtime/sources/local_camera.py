"""A camera of this machine, by its index."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import numpy as np

from ..errors import SourceError
from .opencv import cv2
from .source import Frame, Source

log = logging.getLogger(__name__)


class Camera(Source):
    """A camera of this machine, by its index."""

    def __init__(self, index: int) -> None:
        self.name = f"/dev/video{index}"
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise SourceError(f"camera {index} cannot be opened; is it plugged in, and is {self.name} yours to read?")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # an old frame is worth less than none

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            read, image = self._capture.read()
            if not read:
                self.ended_early = f"{self.name} gave no frame after {index}; is it still plugged in?"
                log.warning(self.ended_early)
                return
            yield Frame(np.asarray(image, np.uint8), index, time.time(), self.name)
            index += 1

    def close(self) -> None:
        self._capture.release()
