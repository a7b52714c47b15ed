"""Holds back what could be read at once, until the time has come that it is meant for."""

from __future__ import annotations

import time

LATE_S = 1.0  # who is later than this, or is asked to wait this long, begins to count anew


class Pace:
    """Maps positions in a recording to moments, from the first one on."""

    def __init__(self) -> None:
        self._began: float | None = None  # time.monotonic() of position 0

    def wait_until(self, position_s: float) -> None:
        """Return when the recording has come to this position; at once, where that has passed.

        A position that lies more than LATE_S off, as after a jump in the recording or a machine that slept, is the new beginning.
        """
        now = time.monotonic()
        if self._began is None or abs(self._began + position_s - now) > LATE_S:
            self._began = now - position_s
        time.sleep(max(0.0, self._began + position_s - now))
