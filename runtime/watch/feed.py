"""A watched source as the answering loop sees it: is a frame there, which one, and how is the source."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from ..cameras.camera import Camera
from ..cameras.status import CameraState, CameraStatus, StateChange
from ..capture.geometry import apply_geometry
from ..capture.reader import CaptureError
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
        return self.camera.status().state is CameraState.ENDED and not self.ready()

    def ready(self) -> bool:
        index = self.camera.waiting_index
        return index is not None and index >= self._next

    def take(self) -> Frame | None:
        frame = self.camera.take()
        if frame is not None:
            self._next = frame.index + self.watched.every
        return frame

    def status(self) -> CameraStatus:
        return self.camera.status()

    def count(self, what: str) -> None:
        self.camera.count(what)

    def close(self) -> None:
        self.camera.close()


class FileFeed(Feed):
    """Every frame of a file, a folder or a user's own source, or each n-th, as fast as they are answered.

    A thread reads ahead by one frame, for a source may take its time: a watched folder in which nothing is, a slow disk.
    """

    def __init__(self, watched: WatchedCamera, source: Source, on_frame: Callable[[], None]) -> None:
        """on_frame: called from the thread when a frame is there, or none will come any more."""
        super().__init__(watched)
        self.source = source
        self.error: Exception | None = None  # what ended it, if something did
        self._on_frame = on_frame
        self._counts: Counter[str] = Counter()
        self._since = time.time()
        self._read = 0  # frames, the skipped ones too
        self._last: Frame | None = None  # that was taken
        self._last_answer_at: float | None = None
        self._changed = threading.Condition()  # of these:
        self._waiting: Frame | None = None
        self._over = False
        self._closed = False
        self._thread = threading.Thread(target=self._read_on, name=f"palijet-source-{self.name}", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return self._over and self._waiting is None

    def ready(self) -> bool:
        return self._waiting is not None

    def take(self) -> Frame | None:
        with self._changed:
            frame, self._waiting = self._waiting, None
            self._changed.notify_all()
        self._last = frame or self._last
        return frame

    def status(self) -> CameraStatus:
        last = self._last
        seen = self._read if self._over and not self._closed else last.index + 1 if last else 0
        given = self._counts["answered"] + self._counts["too_old"]  # repeated ones are answered, too
        state = (CameraState.FAILED if self.error else CameraState.ENDED) if self.ended else CameraState.LIVE
        return CameraStatus(
            name=self.name,
            source=str(self.watched.source) if isinstance(self.watched.source, str) else self.name,
            state=state,
            since=self._since,
            reason=str(self.error or self.source.ended_early or ""),
            frames=seen,
            dropped=max(0, seen - given),
            size=None if last is None else (last.image.shape[1], last.image.shape[0]),
            fps=self.source.fps / self.watched.every,
            last_frame_at=last.captured_at if last else None,
            last_frame_age_s=last.age_s if last else None,
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
        with self._changed:
            self._closed = True
            self._waiting = None
            self._changed.notify_all()
        if not self.source.live:
            self._thread.join(_LEAVE_S)  # a decoder is not to be released while it reads
        self.source.close()
        self._thread.join(_LEAVE_S)  # one that never comes back is left behind

    def _read_on(self) -> None:
        try:
            for frame in self.source:
                self._read = frame.index + 1
                if frame.index % self.watched.every == 0:
                    self._offer(self._shaped(frame))
                if self._closed:
                    break
        except Exception as error:  # told by the loop, on the thread of who iterates
            self.error = error
        finally:
            self._over, self._since = True, time.time()
            self._on_frame()

    def _offer(self, frame: Frame) -> None:
        """Once the frame before is taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None or self._closed)
            if self._closed:
                return
            self._waiting = frame
        self._on_frame()

    def _shaped(self, frame: Frame) -> Frame:
        """Cropped, turned and scaled as the options say; what a user's own source gives is left as it is."""
        if isinstance(self.watched.source, Source):
            return frame
        try:
            return replace(frame, image=apply_geometry(frame.image, self.watched.options, scale=True))
        except CaptureError as error:
            raise SourceError(f"{frame.source}: {error.reason}") from None


_LEAVE_S = 2.0  # for a source to come back from its read


def open_feed(watched: WatchedCamera, on_frame: Callable[[], None], on_change: Callable[[StateChange], None]) -> Feed:
    """A feed of what is watched. on_frame, on_change: called from a camera's thread when a frame is there or its state changes.

    Raises:
        SourceError: the source is none, or a file that cannot be read. A camera that is off is a state.
    """
    source = open_source(watched.source, watched.options, name=watched.name, realtime=watched.realtime)
    if isinstance(source, Camera):
        source.on_frame = _both(source.on_frame, on_frame)
        source.on_change = _both(source.on_change, on_change)
        return LiveFeed(watched, source)
    return FileFeed(watched, source, on_frame)


def _both(first: Callable[..., None] | None, second: Callable[..., None]) -> Callable[..., None]:
    """A user's own callback, and the loop's."""
    if first is None:
        return second
    own = first

    def call(*told: object) -> None:
        second(*told)
        own(*told)

    return call
