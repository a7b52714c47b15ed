"""How old a frame is when a slow model gets it: python -m benchmarks.cameras.freshness BUNDLE [--seconds 300] [--model-ms 300]

A real RTSP camera of 30 frames per second draws into each picture when it was made. PaliJet's stream and cv2.VideoCapture, read in
a plain loop, watch it at once, each with a model that takes --model-ms; ages are by what the pictures say.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from palijet.jetson.board import read_board
from tests.rtsp_server import RtspServer, read_marker

from .slow_model import SlowModel

WARM_UP_S = 5.0  # until connections stand


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cameras.freshness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--model-ms", type=float, default=300)
    parser.add_argument("--plain", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    model_s = options.model_ms / 1e3
    if options.plain:
        print(*plain_loop(options.plain, model_s, options.seconds))
        return 0
    with RtspServer(size=(640, 480), fps=30) as server:
        command = [sys.executable, "-m", "benchmarks.cameras.freshness", "-", "--plain", server.url]
        command += ["--model-ms", str(options.model_ms), "--seconds", str(options.seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as plain:
            started, answered = stream(options.bundle, server.url, model_s, options.seconds)
            said, _ = plain.communicate()
    print(f"{read_board()}; 640x480 at 30 frames per second over RTSP, a model that takes {options.model_ms:.0f} ms\n")
    print("| | frames | median age ms | 99th percentile | worst |\n| --- | --- | --- | --- | --- |")
    print(row("PaliJet, when inference starts", started))
    print(row("PaliJet, at the answer", answered))
    plain_ages = [float(age) for age in said.split()]
    print(row("cv2.VideoCapture in a loop, when inference starts", plain_ages))
    return 0 if statistics.median(started) < statistics.median(plain_ages) else 1


def stream(bundle: Path, url: str, model_s: float, seconds: float) -> tuple[list[float], list[float]]:
    """Ages of the frames in seconds: when inference starts, and when the answer is there."""
    ages: list[float] = []
    at_answer: list[float] = []
    made_at: list[float] = []
    warm = time.monotonic() + WARM_UP_S

    def note(image: object) -> None:
        marker = read_marker(image)
        if marker is not None and time.monotonic() > warm:
            made_at.append(marker.made_at)
            ages.append(time.time() - marker.made_at)

    model = SlowModel(str(bundle), model_s, note)
    results = model.stream(url, "caption en", max_tokens=8)
    for _ in takewhile(lambda _: time.monotonic() < warm + seconds, results):
        if made_at:
            at_answer.append(time.time() - made_at[-1])
    results.close()  # type: ignore[attr-defined]  # a generator
    return ages, at_answer


def plain_loop(url: str, model_s: float, seconds: float) -> list[float]:
    """The same of OpenCV's capture."""
    import cv2

    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    warm = time.monotonic() + WARM_UP_S
    ages = []
    while time.monotonic() < warm + seconds:
        read, image = capture.read()
        if not read:
            break
        marker = read_marker(image)
        if marker is not None and time.monotonic() > warm:
            ages.append(time.time() - marker.made_at)
        time.sleep(model_s)
    return ages


def row(title: str, ages: Sequence[float]) -> str:
    """A line of the table. ages: seconds."""
    ordered = sorted(ages)
    worst, late = ordered[-1], ordered[int(len(ordered) * 0.99)]
    figures = [str(len(ages)), *(f"{age * 1e3:.0f}" for age in (statistics.median(ages), late, worst))]
    return f"| {title} | " + " | ".join(figures) + " |"


if __name__ == "__main__":
    sys.exit(main())
