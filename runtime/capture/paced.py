"""Plays a file, or a source that another part has registered, at its own rate, as if it were a camera."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import ClassVar

from ..cameras.options import CameraOptions
from ..errors import PaliJetError
from ..sources.source import Frame, Source
from ..sources.uri import SourceKind, SourceUri
from .geometry import apply_geometry
from .pace import Pace
from .protocol import Ended, Opened
from .reader import CaptureError, Picture, Reader


class PacedReader(Reader):
    """The frames of a Source that could be read at once, each when it is due. A picture counts as captured then."""

    name: ClassVar[str] = "paced"

    def __init__(self, uri: SourceUri, options: CameraOptions) -> None:
        """Raises CaptureError where the source cannot be opened."""
        self._uri, self._options = uri, options
        self._loop = uri.loop or uri.kind == SourceKind.REGISTERED
        self._source, self._frames = self._open()
        self._pace = Pace()
        self._played = 0
        self._size: tuple[int, int] | None = None
        self._waiting: Frame | None = None

    def read(self) -> Opened | Picture | Ended | None:
        frame = self._waiting or self._next()
        if frame is None:
            return Ended()
        image = apply_geometry(frame.image, self._options, scale=True)
        size = image.shape[1], image.shape[0]
        if size != self._size:
            self._size, self._waiting = size, frame
            return Opened(*size, fps=self._source.fps, reader=self.name)
        self._waiting = None
        self._pace.wait_until(self._played / self._source.fps)
        self._played += 1
        return Picture(image)

    def close(self) -> None:
        self._source.close()

    def _next(self) -> Frame | None:
        try:
            frame = next(self._frames, None)
            if frame is None and self._loop:
                self._source.close()
                self._source, self._frames = self._open()
                frame = next(self._frames, None)
        except PaliJetError as error:
            raise CaptureError("decode", str(error)) from None
        return frame

    def _open(self) -> tuple[Source, Iterator[Frame]]:
        try:
            source = _open_source(self._uri)
        except PaliJetError as error:
            raise CaptureError("other", str(error)) from None
        return source, iter(source)


def _open_source(uri: SourceUri) -> Source:
    if uri.kind == SourceKind.REGISTERED:
        module, _, name = uri.factory.partition(":")
        return getattr(importlib.import_module(module), name)(uri.address)
    from ..sources import open_source

    return open_source(uri.path)
