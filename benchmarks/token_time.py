"""Time per token of bundles beside the memory bandwidth of the same minutes: how much of it each precision uses.

python -m benchmarks.token_time BUNDLE [BUNDLE ...] [--tokens 16] [--rounds 3]

A token reads the decoder's weights once. Bundles are loaded one at a time, since several of 3B do not fit; bandwidth is read
before and after each.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

import palijet
from palijet.jetson.board import read_board

from .bandwidth import bandwidth


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(f"{read_board()}, {options.threads} threads\n")
    print(
        "| bundle | precision | weights GB | load s | vision ms | prefill ms | ms per token | GB/s | bandwidth GB/s | share |"
    )
    print("|" + "---|" * 10)
    for path in options.bundles:
        before = bandwidth(options.threads)
        started = time.perf_counter()
        model = palijet.load(path, backend="cpu", threads=options.threads, verify=False, drafts=False)
        load_s = time.perf_counter() - started
        frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        runs = [model.predict(frame, "caption en", max_tokens=options.tokens) for _ in range(options.rounds + 1)][1:]
        per_token = statistics.median(run.timings.decode / max(1, run.timings.decoder_calls - 1) for run in runs)
        vision = statistics.median(run.timings.vision for run in runs)
        prefill = statistics.median(run.timings.prefill for run in runs)
        weights = model.bundle.manifest.files["decoder.onnx.data"].bytes
        precision = model.bundle.manifest.precision
        del model, runs
        memory = statistics.mean([before, bandwidth(options.threads)])
        rate = weights / per_token * 1000
        print(
            f"| {path.name} | {precision} | {weights / 1e9:.2f} | {load_s:.1f} | {vision:.0f} | {prefill:.0f} | {per_token:.1f} "
            f"| {rate / 1e9:.1f} | {memory / 1e9:.1f} | {100 * rate / memory:.0f} % |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
