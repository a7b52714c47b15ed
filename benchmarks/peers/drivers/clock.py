"""Time from one token to the next, in milliseconds."""

import time


class Clock:
    """Starts when it is made; `tick` when a token is there."""

    def __init__(self) -> None:
        self._times = [time.perf_counter()]

    def tick(self) -> None:
        self._times.append(time.perf_counter())

    def laps_ms(self) -> list[float]:
        """The first is the time to the first token."""
        return [(after - before) * 1e3 for before, after in zip(self._times, self._times[1:], strict=False)]
