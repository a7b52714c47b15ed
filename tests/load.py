"""Results at a steady rate, from a thread of its own, as a loop that answers gives them."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from frames_for_sinks import answered_frame

from palijet.runtime.sinks.sink_queue import SinkQueue


class Load:
    """Used in a `with`; `sent` counts."""

    def __init__(self, queue: SinkQueue, per_s: float) -> None:
        self.sent = 0
        self._queue = queue
        self._interval_s = 1 / per_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._done.is_set():
            self._queue.put(answered_frame(self.sent))
            self.sent += 1
            due += self._interval_s
            time.sleep(max(0.0, due - time.monotonic()))
