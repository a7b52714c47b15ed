"""A watched source as the answering loop sees it: is a frame there, which one, and how is the source."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable

from ..cameras.camera import Camera
from ..cameras.status import CameraState, CameraStatus, StateChange
from ..errors import SourceError
from ..sources import Frame, Source, open_source
from .watched import WatchedCamera


class Feed(ABC):
    """Gives frames to the loop, one at a time."""

    def __init__(self, watched: WatchedCamera) -> None:
        self.watched = watched
        self.name = watched.name

    @property
    @abstractmethod
    def ended(self) -> bool:
        """No frame will come any more."""

    @abstractmethod
    def ready(self) -> bool:
        """A frame is there to be taken."""

    @abstractmethod
    def take(self) -> Frame | None:
        """The next frame, or none after all."""

    @abstractmethod
    def status(self) -> CameraStatus: ...

    @abstractmethod
    def count(self, what: str) -> None:
        """Count a frame as "answered", "repeated" or "too_old"."""

    @abstractmethod
    def close(self) -> None: ...


class LiveFeed(Feed):
    """The newest frame of a camera; those in between are dropped."""

    def __init__(self, watched: WatchedCamera, camera: Camera) -> None:
        super().__init__(watched)
        self.camera = camera
        self._next = 0  # the least index that `every` lets through
        camera.start()

    @property
    def ended(self) -> bool:
        return self.camera.status().state is CameraState.ENDED and not self.camera.has_frame()

    def ready(self) -> bool:
        return self.camera.has_frame()

    def take(self) -> Frame | None:
        frame = self.camera.take()
        if frame is None or frame.index < self._next:
            return None
        self._next = frame.index + self.watched.every
        return frame

    def status(self) -> CameraStatus:
        return self.camera.status()

    def count(self, what: str) -> None:
        self.camera.count(what)

    def close(self) -> None:
        self.camera.close()


class FileFeed(Feed):
    """Every frame of a file or a folder, or each n-th, as fast as they are answered."""

    def __init__(self, watched: WatchedCamera, source: Source) -> None:
        super().__init__(watched)
        self.source = source
        self.error: SourceError | None = None  # what ended it, if something did
        self._frames = iter(source)
        self._counts: Counter[str] = Counter()
        self._since = time.time()
        self._last: Frame | None = None
        self._last_answer_at: float | None = None
        self._ended = False

    @property
    def ended(self) -> bool:
        return self._ended

    def ready(self) -> bool:
        return not self._ended

    def take(self) -> Frame | None:
        try:
            for frame in self._frames:
                self._last = frame
                if frame.index % self.watched.every == 0:
                    return frame
        except SourceError as error:
            self.error = error
        self._ended, self._since = True, time.time()
        return None

    def status(self) -> CameraStatus:
        frames = 0 if self._last is None else self._last.index + 1
        given = self._counts["answered"] + self._counts["too_old"]  # repeated ones are answered, too
        state = (CameraState.FAILED if self.error else CameraState.ENDED) if self._ended else CameraState.LIVE
        return CameraStatus(
            name=self.name,
            source=str(self.watched.source) if isinstance(self.watched.source, str) else self.name,
            state=state,
            since=self._since,
            reason=str(self.error or self.source.ended_early or ""),
            frames=frames,
            dropped=max(0, frames - given),
            size=None if self._last is None else (self._last.image.shape[1], self._last.image.shape[0]),
            fps=self.source.fps / self.watched.every,
            last_frame_at=self._last.captured_at if self._last else None,
            last_answer_at=self._last_answer_at,
            answered=self._counts["answered"],
            repeated=self._counts["repeated"],
            too_old=self._counts["too_old"],
        )

    def count(self, what: str) -> None:
        self._counts[what] += 1
        if what != "too_old":
            self._last_answer_at = time.time()

    def close(self) -> None:
        self.source.close()


def open_feed(watched: WatchedCamera, on_frame: Callable[[], None], on_change: Callable[[StateChange], None]) -> Feed:
    """A feed of what is watched. on_frame, on_change: called from a camera's thread when a frame is there or its state changes.

    Raises:
        SourceError: the source is none, or a file that cannot be read. A camera that is off is a state.
    """
    source = open_source(watched.source, watched.options, name=watched.name, realtime=watched.realtime)
    if isinstance(source, Camera):
        source.on_frame, source.on_change = on_frame, on_change
        return LiveFeed(watched, source)
    return FileFeed(watched, source)
