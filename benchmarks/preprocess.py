"""Preprocessing against Pillow, on one thread each, in turn: `python -m benchmarks.preprocess`."""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
import PIL
from PIL import Image

from palijet.jetson.board import read_board
from palijet.runtime import _native

RUNS = 40


def main() -> int:
    print(f"{read_board()}; Pillow {PIL.__version__}; medians of {RUNS} runs in turn")
    rng = np.random.default_rng(0)
    for width, height in ((1920, 1080), (640, 480)):
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        pillow_image = Image.fromarray(image)
        for size in (224, 448):
            ours, theirs = [], []
            preprocessor, out = _native.Preprocessor(size), np.empty((3, size, size), np.float32)
            for _ in range(RUNS):
                start = time.perf_counter()
                pillow_image.resize((size, size), Image.Resampling.BICUBIC)
                middle = time.perf_counter()
                preprocessor.run(_native.Frame(image), out)
                theirs.append(middle - start)
                ours.append(time.perf_counter() - middle)
            resize_only, whole = statistics.median(theirs) * 1e3, statistics.median(ours) * 1e3
            print(
                f"{width}x{height} -> {size}: Pillow's resize alone {resize_only:.2f} ms, "
                f"PaliJet's resize and normalisation {whole:.2f} ms, {resize_only / whole:.2f} times as fast"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
