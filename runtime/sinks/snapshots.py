"""Snapshots: pictures of frames whose answers meet a condition, each with its results as JSON beside it."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2

from ..errors import InputError, SinkError
from .disk_space import need_space
from .file_name import file_name, moment
from .sink import AnsweredFrame, Sink


def always(answered: AnsweredFrame) -> bool:
    """The condition that every frame meets."""
    return True


@dataclass(frozen=True)
class SnapshotOptions:
    """Which frames are kept, and how many."""

    folder: Path  # of CAMERA-TIME.jpg and CAMERA-TIME.json; made where it is not there
    when: Callable[[AnsweredFrame], bool] = always
    min_interval_s: float = 1.0  # between two of one camera
    annotated: bool = True  # with answers drawn on it; else as the camera gave it
    quality: int = 90  # of the JPEG, 1 to 100
    keep: int | None = 1000  # pictures; the oldest goes
    keep_bytes: int | None = None  # of pictures and JSON together; the oldest go
    least_free_bytes: int = 64 * 1024 * 1024  # of the disk: with less, nothing is written

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise InputError(f"quality is {self.quality}; give 1 to 100")
        for name in ("keep", "keep_bytes"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"{name} is {value}; give 1 or more")


class Snapshots(Sink):
    """Writes the JSON first and each file whole, so whoever finds a picture finds all of it.

    Raises:
        SinkError: the folder cannot be made or written.
    """

    queue_length: ClassVar[int] = 8  # pictures

    def __init__(self, options: SnapshotOptions) -> None:
        self.options = options
        self.name = f"snapshots {options.folder}"
        self._last_at: dict[str, float] = {}  # by time.monotonic(), of each camera
        self._kept: deque[tuple[Path, int]] = deque()  # pictures, oldest first, with the bytes of both files
        self._kept_bytes = 0

    @property
    def place(self) -> str:
        return str(self.options.folder.resolve())

    def open(self) -> None:
        folder = self.options.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found = sorted((path.stat().st_mtime, path, _size(path)) for path in folder.glob("*-*Z.jpg"))
        except OSError as error:
            raise SinkError(
                f"{folder} cannot be used: {error.strerror}; give a folder that is yours to write"
            ) from None
        self._kept = deque((path, size) for _, path, size in found)
        self._kept_bytes = sum(size for _, size in self._kept)

    def prepare(self, answered: AnsweredFrame) -> AnsweredFrame | None:
        at = answered.frame.captured_monotonic
        last_at = self._last_at.get(answered.camera)
        if last_at is not None and 0 <= at - last_at < self.options.min_interval_s:
            return None
        if not self.options.when(answered):
            return None
        self._last_at[answered.camera] = at
        return answered

    def write(self, item: AnsweredFrame) -> None:
        need_space(self.options.folder, self.options.least_free_bytes)
        image = item.annotated if self.options.annotated else item.frame.image
        done, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.options.quality])
        if not done:
            raise SinkError(f"a picture of {item.camera} cannot be encoded as JPEG; its shape is {image.shape}")
        said = {
            "camera": item.camera,
            "captured_at": item.frame.captured_at,
            "results": [result.to_dict() for result in item.results],
        }
        path = self.options.folder / f"{file_name(item.camera)}-{moment(item.frame.captured_at)}.jpg"
        try:
            _write_whole(path.with_suffix(".json"), json.dumps(said, ensure_ascii=False, indent=2).encode() + b"\n")
            _write_whole(path, jpeg.tobytes())
        except OSError as error:
            raise SinkError(f"{path} cannot be written: {error.strerror}; make room or give another folder") from None
        self._kept.append((path, _size(path)))
        self._kept_bytes += self._kept[-1][1]
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        count, size = self.options.keep, self.options.keep_bytes
        while (count and len(self._kept) > count) or (size and self._kept_bytes > size and len(self._kept) > 1):
            path, its_bytes = self._kept.popleft()
            self._kept_bytes -= its_bytes
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)


def _size(picture: Path) -> int:
    """Of a picture and its JSON, in bytes."""
    total = 0
    for path in (picture, picture.with_suffix(".json")):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _write_whole(path: Path, content: bytes) -> None:
    """The file appears under its name when all of it is there."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
