"""A video file, every frame of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import SourceError
from .opencv import cv2
from .source import Frame, Source

log = logging.getLogger(__name__)


class VideoFile(Source):
    """Every frame of a video file. One that is cut in the middle gives what comes before the cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise SourceError(f"{path} is not a video that OpenCV can read, or it is cut before its index")
        self.promised = max(
            0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        )  # as the container says; 0: it does not
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS)) or 25.0

    def __iter__(self) -> Iterator[Frame]:
        count = 0
        while True:
            read, image = self._capture.read()
            if not read:
                break
            yield Frame(np.asarray(image, np.uint8), count, time.time(), str(self.path))
            count += 1
        if count == 0:
            raise SourceError(f"{self.path} has no frame that OpenCV can decode")
        # Containers estimate their length from time and rate: a frame more or less is no cut.
        if count < self.promised - 2:
            self.ended_early = (
                f"{self.path} ends after frame {count} of {self.promised}: the file is cut or damaged there"
            )
            log.warning(self.ended_early)

    def close(self) -> None:
        self._capture.release()
