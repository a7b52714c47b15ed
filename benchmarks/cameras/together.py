"""Frames of 1, 2, 4 and 8 cameras answered together: python -m benchmarks.cameras.together BUNDLE [--rounds 40] [--threads 2]

Each camera is a clip of its own. Answers per second, and milliseconds from taking a frame to its answers; every answer must be that
which the frame gets alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import palijet
from palijet.demo.clip import Clip, write_clip
from palijet.jetson.board import read_board
from palijet.runtime.model import Model
from palijet.runtime.watch.watch import Watch, WatchOptions
from palijet.runtime.watch.watched import Prompt, WatchedCamera

COUNTS = (1, 2, 4, 8)
PROMPTS = ("detect part ; label", "caption en")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cameras.together",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=40, help="frames of each camera")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=None)
    options = parser.parse_args()
    most = max(COUNTS)
    model = palijet.load(options.bundle, "cpu", threads=options.threads, max_batch=most * len(PROMPTS))
    alone = palijet.load(options.bundle, "cpu", threads=options.threads, max_batch=1, drafts=False)
    prompts = tuple(Prompt(text, max_tokens=options.max_tokens) for text in PROMPTS)
    print(f"{read_board()}, {options.threads} threads, {model.engine_version}; {options.bundle}, ", end="")
    print(f"{len(PROMPTS)} prompts on each frame, medians of {options.rounds} frames of each camera\n")
    print("| cameras | answers/s | times one | frame to answers ms | answers unequal to those alone |")
    print("| --- | --- | --- | --- | --- |")
    first = None
    unequal_in_all = 0
    with tempfile.TemporaryDirectory() as folder:
        clips = [Path(folder) / f"{number}.mp4" for number in range(most)]
        for number, clip in enumerate(clips):
            write_clip(clip, Clip(seed=number, frames=options.rounds))
        for count in COUNTS:
            cameras = [WatchedCamera(f"camera {number}", str(clips[number]), prompts) for number in range(count)]
            rate, latency_ms, unequal = measure(model, alone, cameras, options.rounds)
            first = first or rate
            unequal_in_all += unequal
            print(
                f"| {count} | {rate:.1f} | {rate / first:.2f} | {latency_ms:.1f} | {unequal} of {2 * count * options.rounds} |"
            )
    return 1 if unequal_in_all else 0


def measure(model: Model, alone: Model, cameras: list[WatchedCamera], rounds: int) -> tuple[float, float, int]:
    """Answers per second, median latency in ms, and answers that a frame does not get alone."""
    with Watch(model, cameras, WatchOptions(max_frames=len(cameras))) as watch:
        started = time.perf_counter()
        answered = list(islice(watch.answers(), rounds * len(cameras)))
        took = time.perf_counter() - started
    results = [result for one in answered for result in one.results]
    unequal = 0
    for one in answered:
        for result in one.results:
            limit = next(prompt.max_tokens for prompt in cameras[0].prompts if prompt.text == result.prompt)
            unequal += alone.predict(one.frame.image, result.prompt, max_tokens=limit).tokens != result.tokens
    return len(results) / took, statistics.median(result.frame_age_ms for result in results), unequal


if __name__ == "__main__":
    sys.exit(main())
