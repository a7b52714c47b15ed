"""Annotated video: a file per camera, or one after the other by time; each appears under its name when it is whole."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..draw import draw
from ..errors import InputError, SinkError, SourceError
from ..sources.source import Frame
from .disk_space import need_space
from .file_name import file_name, moment
from .sink import AnsweredFrame, Sink
from .video_writer import VideoWriter


@dataclass(frozen=True)
class VideoOptions:
    """What is written, and when a file ends.

    Timed files are called FILE-CAMERA-TIME.mp4, those of several cameras FILE-CAMERA.mp4, else the file is FILE.mp4.
    """

    path: Path  # FILE.mp4
    fps: float = 25.0  # of the file
    timed: bool = (
        False  # frames are repeated and left out, so that the file runs as the camera did; else each frame once
    )
    segment_s: float = 600.0  # of a timed file; then the next one begins
    gap_s: float = 10.0  # no frame for so long ends a timed file
    per_camera: bool = False  # there are several
    panel_lines: int = 0  # room for so many lines of text below, so that the frames keep one size
    least_free_bytes: int = 64 * 1024 * 1024  # of the disk: with less, nothing is written

    def __post_init__(self) -> None:
        for name in ("fps", "segment_s", "gap_s"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; give a number above 0")


class Video(Sink):
    """Writes what `draw` makes of each answered frame.

    Raises:
        SourceError, SinkError: a file cannot be written.
    """

    queue_length: ClassVar[int] = 8  # pictures

    def __init__(self, options: VideoOptions) -> None:
        self.options = options
        self.name = str(options.path)
        VideoWriter(options.path, options.fps)  # raises where the name or the folder is none
        self._segments: dict[str, _Segment] = {}

    @property
    def place(self) -> str:
        return str(self.options.path.resolve())

    def write(self, item: AnsweredFrame) -> None:
        need_space(self.options.path.parent, self.options.least_free_bytes)
        at = item.frame.captured_monotonic
        try:
            self._end_those_of_before(at)
            segment = self._segments.get(item.camera)
            if segment is not None and not segment.takes(item.frame):
                self._segments.pop(item.camera).close(until=at)
                segment = None
            if segment is None:
                segment = self._segments[item.camera] = _Segment(self._path(item), self.options, item.frame)
            segment.write(self._picture(item), at)
        except SourceError as error:
            raise SinkError(str(error)) from None

    def idle(self) -> None:
        self._end_those_of_before(time.monotonic())

    def close(self) -> None:
        with ExitStack() as stack:  # all files are finished, whatever becomes of one
            while self._segments:
                stack.callback(self._segments.popitem()[1].close)

    def _end_those_of_before(self, now: float) -> None:
        """Cameras that have gone leave no timed file unfinished. now: by time.monotonic()."""
        for camera, segment in list(self._segments.items()):
            if self.options.timed and now - segment.last_at > self.options.gap_s:
                self._segments.pop(camera).close()

    def _path(self, item: AnsweredFrame) -> Path:
        path = self.options.path
        if self.options.timed:
            return path.with_stem(f"{path.stem}-{file_name(item.camera)}-{moment(item.frame.captured_at)}")
        if self.options.per_camera:
            return path.with_stem(f"{path.stem}-{file_name(item.camera)}")
        return path

    def _picture(self, item: AnsweredFrame) -> NDArray[np.uint8]:
        if self.options.panel_lines:
            return draw(item.frame.image, item.results, panel_lines=self.options.panel_lines)
        return item.annotated


class _Segment:
    """One file. Timed: its picture n is what the camera showed n / fps seconds after the first."""

    def __init__(self, path: Path, options: VideoOptions, first: Frame) -> None:
        self._options = options
        self._writer = VideoWriter(path, options.fps)
        self._shape = first.image.shape
        self._began = self.last_at = first.captured_monotonic
        self._shown: NDArray[np.uint8] | None = None  # what the camera shows since `last_at`
        self._written = 0

    def takes(self, frame: Frame) -> bool:
        """The frame belongs into this file; all do where it is not timed."""
        in_time = frame.captured_monotonic - self._began < self._options.segment_s
        return not self._options.timed or (in_time and frame.image.shape == self._shape)

    def write(self, image: NDArray[np.uint8], at: float) -> None:
        if not self._options.timed:
            self._writer.write(image)
            return
        self._show(until=at)
        self._shown, self.last_at = image, at

    def close(self, until: float | None = None) -> None:
        """until: when the next file begins; else the last picture is written once."""
        try:
            self._show(until=until or self.last_at + 1 / self._options.fps)
        finally:
            self._writer.close()

    def _show(self, until: float) -> None:
        """Write the picture that was shown until then, as often as time has passed."""
        due = round((until - self._began) * self._options.fps)
        while self._shown is not None and self._written < due:
            self._writer.write(self._shown)
            self._written += 1
