"""Answers the demo's first frames with this Python and with the one whose command is given: the tokens must be the same.

same_tokens.py BUNDLE PYTHON [ARGUMENT ...]
"""

import json
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import cv2

from palijet.demo.clip import Clip, views
from palijet.demo.tour import PROMPTS

FRAMES = 3


def main() -> int:
    bundle, *elsewhere = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        # Lossless pictures, for a video would bring in two builds of FFmpeg.
        for index, view in enumerate(islice(views(Clip()), FRAMES)):
            cv2.imwrite(str(Path(folder) / f"{index}.png"), view.image)
        ours = answers([sys.executable], bundle, folder)
        theirs = answers(elsewhere, bundle, folder)
    if not len(ours) == len(theirs) == FRAMES * len(PROMPTS):
        print(f"{len(ours)} answers here and {len(theirs)} there, not {FRAMES} x {len(PROMPTS)}", file=sys.stderr)
        return 1
    unlike = [(here, there) for here, there in zip(ours, theirs, strict=True) if here["tokens"] != there["tokens"]]
    for here, there in unlike:
        print(
            f"frame {here['frame_index']}, {here['prompt']!r}: {here['text']!r} here, {there['text']!r} there",
            file=sys.stderr,
        )
    if unlike:
        return 1
    tokens = sum(len(answer["tokens"]) for answer in ours)
    apart = max(
        abs(a - b)
        for here, there in zip(ours, theirs, strict=True)
        for a, b in zip(here["logprobs"], there["logprobs"], strict=True)
    )
    print(
        f"{FRAMES} frames x {len(PROMPTS)} prompts, {tokens} tokens equal; log-probabilities at most {apart:.0e} apart"
    )
    return 0


def answers(python: list[str], bundle: str, frames: str) -> list[dict[str, Any]]:
    """What `palijet run` says about the pictures in a folder, as its JSON Lines."""
    run = [*python, "-m", "palijet", "run", bundle, "--source", frames, "--jsonl", "-"]
    for prompt in PROMPTS:
        run += ["--prompt", prompt]
    lines = subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    sys.exit(main())
