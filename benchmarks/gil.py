"""What `predict` leaves of Python to other threads: `python -m benchmarks.gil BUNDLE`.

A thread counts, alone and beside a thread that predicts without pause on one inference thread.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time

import numpy as np

import palijet

SECONDS = 2.0
ROUNDS = 5


def main() -> int:
    model = palijet.load(sys.argv[1], threads=1)
    frame = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    model.predict(frame, "caption en")
    stop = threading.Event()
    answered = 0

    def predict() -> None:
        nonlocal answered
        while not stop.is_set():
            model.predict_batch([(frame, "caption en")], max_tokens=200, ignore_stop=True)
            answered += 1

    shares = []
    for _ in range(ROUNDS):
        alone = _count()
        stop.clear()
        worker = threading.Thread(target=predict)
        worker.start()
        beside = _count()
        stop.set()
        worker.join()
        shares.append(beside / alone)
    print(
        f"a counting thread keeps {statistics.median(shares):.1%} of its lone rate beside predict "
        f"(median of {ROUNDS}, {min(shares):.1%} to {max(shares):.1%}; {answered} answers of 200 tokens meanwhile)"
    )
    return 0


def _count() -> float:
    """Additions per second."""
    end = time.perf_counter() + SECONDS
    total = 0
    while time.perf_counter() < end:
        for _ in range(1000):
            total += 1
    return total / SECONDS


if __name__ == "__main__":
    sys.exit(main())
