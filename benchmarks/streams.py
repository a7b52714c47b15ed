"""What drafts save on a video: `python -m benchmarks.streams BUNDLE [--frames 400] [--json FILE]`.

Four clips of the demo's world: still (one scene), noisy (the same with a camera's noise), moving (the belt runs) and wild (every
frame another scene). Each frame is answered with drafts and without, in turn; answers must be equal, token for token.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import palijet
from palijet.demo.clip import Clip, views
from palijet.demo.evaluate import questions_about
from palijet.jetson.board import read_board

Frame = NDArray[np.uint8]

PROMPTS = ["detect box ; cup ; gear ; plate", "how many boxes?", "ocr", "caption en"]


def still(noise: int = 0) -> Iterator[Frame]:
    """One picture again and again, with noise of so many grey levels."""
    picture = next(view.image for view in islice(views(Clip(frames=200)), 150, None))
    rng = np.random.default_rng(0)
    while True:
        grain = rng.integers(-noise, noise + 1, picture.shape)
        yield np.clip(picture.astype(np.int16) + grain, 0, 255).astype(np.uint8)


def moving() -> Iterator[Frame]:
    """The belt at the demo's speed, one clip after the other."""
    seed = 18
    while True:
        for view in views(Clip(seed=seed)):
            yield view.image
        seed += 1


def wild() -> Iterator[Frame]:
    """Every frame another scene."""
    seed = 0
    while True:
        yield questions_about(seed)[0]
        seed += 1


CLIPS = {"still": still, "noisy": partial(still, noise=1), "moving": moving, "wild": wild}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=400, help="of each clip")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    models = {
        drafts: palijet.load(options.bundle, "cpu", threads=options.threads, drafts=drafts) for drafts in (True, False)
    }
    rows = []
    for name, clip in CLIPS.items():
        times: dict[bool, list[float]] = {True: [], False: []}
        calls = {True: 0, False: 0}
        answers = unequal = 0
        for number, frame in enumerate(islice(clip(), options.frames)):
            said = {}
            for drafts in (True, False) if number % 2 else (False, True):
                results = models[drafts].predict(frame, PROMPTS, camera=name)
                said[drafts] = [result.tokens for result in results]
                times[drafts].append(results[0].timings.total)
                calls[drafts] += sum(result.timings.decoder_calls for result in results)
            answers += len(PROMPTS)
            unequal += sum(a != b for a, b in zip(said[True], said[False], strict=True))
            if number % 100 == 0:
                print(f"{name}: {number} of {options.frames}", file=sys.stderr)
        rows.append(
            {
                "clip": name,
                "frames": options.frames,
                "answers": answers,
                "unequal": unequal,
                "calls_per_answer": {"drafts": calls[True] / answers, "plain": calls[False] / answers},
                "total_ms": {"drafts": sum(times[True]), "plain": sum(times[False])},
                "median_ms": {"drafts": statistics.median(times[True]), "plain": statistics.median(times[False])},
            }
        )
    machine = f"{read_board()}, {options.threads} threads, {models[True].engine_version}"
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "clips": rows}, indent=2) + "\n")
    print(f"{machine}; {options.bundle}, {len(PROMPTS)} prompts on each frame\n")
    print("| clip | frames | answers unequal | calls per answer | without | time of all frames, with : without |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        per, total = row["calls_per_answer"], row["total_ms"]
        print(
            f"| {row['clip']} | {row['frames']} | {row['unequal']} of {row['answers']} | {per['drafts']:.2f} | "
            f"{per['plain']:.2f} | {total['drafts'] / total['plain']:.3f} |"
        )


if __name__ == "__main__":
    main()
