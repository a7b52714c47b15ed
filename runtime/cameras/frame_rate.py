"""How many frames came per second in the last seconds."""

from __future__ import annotations

from collections import deque

WINDOW_S = 5.0


class FrameRate:
    """Told the count of frames when some come; asked at any time. Moments are seconds by time.monotonic()."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, int]] = deque()

    def count(self, frames: int, now: float) -> None:
        """There have been so many frames by now."""
        self._counts.append((now, frames))
        self._forget(now)

    def at(self, now: float) -> float:
        """Frames per second; 0 where fewer than two came in the last seconds."""
        self._forget(now)
        if len(self._counts) < 2:
            return 0.0
        (start, first), (end, last) = self._counts[0], self._counts[-1]
        return (last - first) / (end - start) if end > start else 0.0

    def _forget(self, now: float) -> None:
        while self._counts and self._counts[0][0] < now - WINDOW_S:
            self._counts.popleft()
