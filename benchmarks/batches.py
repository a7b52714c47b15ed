"""What answering together brings: python -m benchmarks.batches BUNDLE [--tokens 32] [--rounds 3] [--threads 2]

One prompt on a frame, two prompts on it (the picture is encoded once), and four frames with a prompt each, in turn. Every answer
has the same number of tokens; drafts are off. Tokens per second count decode steps alone, as a batch of one has them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import palijet
from palijet.jetson.board import read_board

PROMPTS = ("caption en", "ocr", "describe en", "answer en what is there")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batches", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    model = palijet.load(options.bundle, "cpu", threads=options.threads, max_batch=4, drafts=False, verify=False)
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (480, 640, 3), dtype=np.uint8) for _ in PROMPTS]
    asked: dict[str, list[tuple[NDArray[np.uint8], str]]] = {
        "one prompt on a frame": [(frames[0], PROMPTS[0])],
        "two prompts on a frame": [(frames[0], prompt) for prompt in PROMPTS[:2]],
        "four frames, a prompt each": list(zip(frames, PROMPTS, strict=True)),
    }
    model.predict_batch(asked["one prompt on a frame"], max_tokens=2, ignore_stop=True)
    totals: dict[str, list[float]] = {name: [] for name in asked}
    rates: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(options.rounds):
        for name, questions in asked.items():
            total_s, rate = answer(model, questions, options.tokens)
            totals[name].append(total_s)
            rates[name].append(rate)
    print(
        f"{read_board()}, {options.threads} threads, {model.engine_version}; {options.bundle}, {options.tokens} tokens\n"
    )
    print("| | seconds, all in | times one | decode tokens/s | times one |\n| --- | --- | --- | --- | --- |")
    (one_s, *_), (one_rate, *_) = map(_medians, (totals, rates))
    for name, total_s, rate in zip(asked, _medians(totals), _medians(rates), strict=True):
        print(f"| {name} | {total_s:.2f} | {total_s / one_s:.2f} | {rate:.1f} | {rate / one_rate:.2f} |")
    return 0


def answer(
    model: palijet.Model, questions: Sequence[tuple[NDArray[np.uint8], str]], tokens: int
) -> tuple[float, float]:
    """Seconds in all, and tokens per second between the last prefill and the end."""
    counts = [0] * len(questions)
    steps_began = 0.0

    def count(sequence: int, *_: object) -> None:
        nonlocal steps_began
        counts[sequence] += 1
        if sequence == len(questions) - 1 and counts[sequence] == 1:
            steps_began = time.perf_counter()

    started = time.perf_counter()
    model.predict_batch(list(questions), max_tokens=tokens, ignore_stop=True, on_token=count)
    ended = time.perf_counter()
    return ended - started, len(questions) * (tokens - 1) / (ended - steps_began)


def _medians(values: dict[str, list[float]]) -> list[float]:
    return [statistics.median(laps) for laps in values.values()]


if __name__ == "__main__":
    sys.exit(main())
