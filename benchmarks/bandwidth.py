"""The memory bandwidth of this moment: what a token that reads every weight once cannot go faster than."""

from __future__ import annotations

import threading
import time

import numpy as np

_BYTES = 1 << 29  # read by each thread: past the largest cache of a server's socket


def bandwidth(threads: int) -> float:
    """Bytes per second that this many threads read from memory together; the best of five.

    A maximum is the cheapest reduction that numpy has compiled for every vector width, so that reading is all it waits for.
    """
    blocks = [np.ones(_BYTES // 8) for _ in range(threads)]
    best = 0.0
    for _ in range(5):
        workers = [threading.Thread(target=block.max) for block in blocks]  # numpy lets go of the GIL
        started = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = max(best, threads * _BYTES / (time.perf_counter() - started))
    return best
