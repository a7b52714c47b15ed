"""The latest-frame slot, depth one: a new frame takes the place of one that nobody took."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from ..capture.capture_process import CaptureProcess
from ..capture.protocol import Captured
from ..sources.source import Frame


@dataclass(frozen=True)
class CapturedFrame:
    """A frame whose pixels still lie in the memory that is shared with its capture process."""

    process: CaptureProcess
    captured: Captured
    index: int
    source: str

    def copy(self) -> Frame:
        """With pixels of its own; the place in the shared memory is given back.

        Raises:
            SourceError: the process named a picture that cannot be.
        """
        try:
            image = self.process.copy(self.captured)
        finally:
            self.release()
        captured = self.captured
        return Frame(image, self.index, captured.captured_at, self.source, captured.captured_monotonic)

    def release(self) -> None:
        """Give the place back unseen."""
        self.process.release(self.captured.place)


class LatestFrame:
    """Filled by the camera's thread, emptied by any. Pixels are copied only when somebody takes them.

    The shared memory has three places: one is written, one waits here, and one may be being copied meanwhile.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: CapturedFrame | Frame | None = None
        self._ended = False
        self._next_index = 0
        self._dropped = 0

    @property
    def waits(self) -> bool:
        """A frame is there to be taken."""
        return self._waiting is not None

    @property
    def waiting_index(self) -> int | None:
        """The number of the frame that is there; None: none is."""
        waiting = self._waiting
        return None if waiting is None else waiting.index

    @property
    def dropped(self) -> int:
        """Frames that were passed over, here or by the capture process."""
        return self._dropped

    def put(self, frame: CapturedFrame) -> None:
        """The newest one; one that waits is passed over."""
        with self._changed:
            before, self._waiting = self._waiting, frame
            self._dropped += frame.index - self._next_index + (before is not None)
            self._next_index = frame.index + 1
            if self._ended:
                before, self._waiting = frame, None
            self._changed.notify_all()
        if isinstance(before, CapturedFrame):
            before.release()

    def take(self) -> Frame | None:
        """The newest frame, if it was not taken yet.

        Raises:
            SourceError: as `CapturedFrame.copy`.
        """
        with self._changed:
            frame, self._waiting = self._waiting, None
            if frame is None:
                return None
            return frame.copy() if isinstance(frame, CapturedFrame) else frame

    def wait(self, timeout_s: float | None) -> bool:
        """Until a frame is there or none comes any more; whether one is there. None: for ever."""
        with self._changed:
            self._changed.wait_for(lambda: self.waits or self._ended, timeout_s)
            return self.waits

    def detach(self) -> None:
        """Copy a frame that waits, for its process is about to go.

        Raises:
            SourceError: as `CapturedFrame.copy`.
        """
        with self._changed:
            frame, self._waiting = self._waiting, None
            if frame is not None:
                self._waiting = frame.copy() if isinstance(frame, CapturedFrame) else frame

    def end(self, *, discard: bool) -> None:
        """No further frame comes; discard: nor is one that waits wanted any more."""
        with self._changed:
            self._ended = True
            if discard:
                self._waiting = None
            self._changed.notify_all()
