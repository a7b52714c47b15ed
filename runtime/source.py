"""Where frames come from: a picture, a folder of pictures, a video file, a camera; one interface for all."""

from __future__ import annotations

import logging
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, SourceError
from .preprocess import read_image

# FFmpeg inside OpenCV talks to the terminal by itself; what matters is said by this module.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import cv2

log = logging.getLogger(__name__)

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Frame:
    """One picture of a source."""

    image: NDArray[np.uint8]  # [height, width, 3] BGR
    index: int  # from 0
    captured_at: float  # seconds since 1970
    source: str  # what it came from: a path or a device


class Source(ABC):
    """Yields frames between `with` and its end."""

    ended_early: str | None = None  # why it ended before its time, if it did
    fps: float = 25.0  # frames per second, as the source says or a usual rate

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:  # noqa: B027  (most sources hold nothing)
        """Give back what the source holds; nothing, where it holds nothing."""

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_source(source: str | os.PathLike[str] | int | Source) -> Source:
    """A source by its URI: a path (or file://) of a picture, a video or a folder, a camera's index, /dev/video0.

    Raises:
        SourceError: there is no such thing, or it cannot be read.
    """
    if isinstance(source, Source):
        return source
    if not isinstance(source, str | os.PathLike | int):
        raise SourceError(
            f"a {type(source).__name__} is no source; give a picture, a video, a folder or a camera's index"
        )
    text = str(source)
    if not text:
        raise SourceError("the source is empty; give a picture, a video, a folder or a camera's index")
    if re.fullmatch(r"[0-9]+", text) or re.fullmatch(r"/dev/video\d+", text):
        return Camera(int(re.sub(r"\D", "", text)))
    scheme = re.match(r"(\w+)://", text)
    if scheme and scheme.group(1) != "file":
        raise SourceError(
            f"{scheme.group(1)}:// sources are not known; give a picture, a video, a folder or a camera's index"
        )
    path = Path(text.removeprefix("file://"))
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist; check the path of the source")
    return Pictures([path]) if path.suffix.lower() in PICTURES else VideoFile(path)


class Pictures(Source):
    """Picture files, in their order."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self.paths):
            try:
                image = read_image(path)
            except InputError as error:
                raise SourceError(str(error)) from None
            yield Frame(image, index, time.time(), str(path))


class Folder(Pictures):
    """The picture files of a folder, by name."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
        if not paths:
            raise SourceError(f"{folder} holds no pictures ({', '.join(PICTURES)}); check the path of the folder")
        super().__init__(paths)


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
