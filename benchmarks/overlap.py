"""What encoding the next frame while one is decoded brings: python -m benchmarks.overlap BUNDLE [--frames 60] [--rounds 3]

The demo's clip, streamed with and without `pipeline`, by one thread and by more, in turn. Rates count from the first result to the
last; drafts are off, so that there is something to decode. Answers must be equal.
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
from palijet.demo.clip import write_clip
from palijet.jetson.board import read_board

from .streams import PROMPTS


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overlap", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="beside one thread (2)")
    parser.add_argument("--max-tokens", type=int, default=48)
    options = parser.parse_args()
    counts = sorted({1, options.threads})
    models = {threads: palijet.load(options.bundle, "cpu", threads=threads, drafts=False) for threads in counts}
    ways = [(threads, pipeline) for threads in counts for pipeline in (False, True)]
    rates: dict[tuple[int, bool], list[float]] = {way: [] for way in ways}
    answers = set()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip)
        for _ in range(options.rounds):
            for threads, pipeline in ways:
                stream = models[threads].stream(clip, PROMPTS, max_tokens=options.max_tokens, pipeline=pipeline)
                said, times = [], []
                for results in islice(stream, options.frames):
                    times.append(time.perf_counter())
                    said.append(tuple(result.tokens for result in results))
                stream.close()  # type: ignore[attr-defined]  # a generator
                rates[threads, pipeline].append((len(times) - 1) / (times[-1] - times[0]))
                answers.add(tuple(said))
    print(
        f"{read_board()}, {models[counts[0]].engine_version}; {options.bundle}, {len(PROMPTS)} prompts on each frame\n"
    )
    print("| threads | one after the other, frames/s | overlapped | ratio |\n| --- | --- | --- | --- |")
    for threads in counts:
        plain, overlapped = (statistics.median(rates[threads, pipeline]) for pipeline in (False, True))
        print(f"| {threads} | {plain:.2f} | {overlapped:.2f} | {overlapped / plain:.2f} |")
    print("\nanswers: " + ("equal" if len(answers) == 1 else f"{len(answers)} different sets"))
    return 0 if len(answers) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
