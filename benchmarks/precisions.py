"""The demo at every precision: task figures on unseen scenes, answers and tokens that stay FP32's, size, time per frame.

python -m benchmarks.precisions [--scenes 500] [--first-seed 0] [--json]

Bundles are asked in turn, frame by frame, so that a noisy machine slows all of them alike; times are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.progress import track

import palijet
from palijet.demo.calibration import demo_calibration
from palijet.demo.evaluate import MAX_TOKENS, questions_about
from palijet.demo.scores import Scores
from palijet.demo.tour import CHECKPOINT
from palijet.export import PRECISIONS, ExportOptions, export

TASKS = ("counts_exact", "colours_exact", "presence_exact", "detection_f1", "serials_exact", "captions_exact")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), range(options.first_seed, options.first_seed + options.scenes), options.threads)
    if options.json:
        print(json.dumps(figures))
        return 0
    print("| precision | MB | tokens as FP32's | answers as FP32's | ms per frame | " + " | ".join(TASKS) + " |")
    print("|" + "---|" * (5 + len(TASKS)))
    for name, row in figures.items():
        tasks = " | ".join(f"{100 * row[task]:.1f}" for task in TASKS)
        print(
            f"| {name} | {row['mb']:.1f} | {row['tokens']} | {100 * row['answers']:.1f} % | {row['ms']:.1f} | {tasks} |"
        )
    return 0


def measure(folder: Path, seeds: range, threads: int) -> dict[str, dict[str, Any]]:
    """All figures, by precision."""
    calibration = demo_calibration()
    models: dict[str, palijet.Model] = {}
    for precision in PRECISIONS:
        quantized = None if precision in ("fp32", "fp16") else calibration
        export(CHECKPOINT, folder / precision, ExportOptions(precision, calibration=quantized))
        models[precision] = palijet.load(folder / precision, backend="cpu", threads=threads)
    scores = {precision: Scores() for precision in models}
    times: dict[str, list[float]] = {precision: [] for precision in models}
    same = dict.fromkeys(models, 0)
    asked = 0
    for seed in track(seeds, "asking"):
        frame, questions = questions_about(seed)
        answers = {}
        for precision, model in models.items():
            started = time.perf_counter()
            answers[precision] = model.predict(
                frame, [question.prompt for question in questions], max_tokens=MAX_TOKENS
            )
            times[precision].append(1000 * (time.perf_counter() - started))
        asked += len(questions)
        for precision, found in answers.items():
            for question, answer, reference in zip(questions, found, answers["fp32"], strict=True):
                scores[precision].add(question, answer.text)
                same[precision] += answer.tokens == reference.tokens
    return {
        precision: {
            "mb": model.bundle.total_bytes / 1e6,
            "tokens": _agreement(model),
            "answers": same[precision] / asked,
            "ms": statistics.median(times[precision]),
            **scores[precision].figures(),
        }
        for precision, model in models.items()
    }


def _agreement(model: palijet.Model) -> str:
    quality = model.bundle.manifest.quality
    return f"{100 * quality.agreement:.1f} %" if quality and quality.agreement is not None else "-"


if __name__ == "__main__":
    sys.exit(main())
