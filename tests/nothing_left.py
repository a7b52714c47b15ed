"""Whether descriptors, threads and processes are as they were, for tests of what starts some."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from until import until


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fails where more, or fewer, are there after the `with` than before; what is about to end may take its time."""
    gc.collect()
    me = psutil.Process()

    def held() -> tuple[int, int, int]:
        return me.num_fds(), threading.active_count(), len(me.children(recursive=True))

    before = held()
    yield
    until(lambda: held() == before)
