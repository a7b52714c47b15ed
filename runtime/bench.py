"""How fast a loaded model is on this machine: medians and tails over repeated answers."""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .model import Model
from .preprocess import Image


@dataclass(frozen=True)
class Spread:
    """Median and 95th percentile, milliseconds."""

    median: float
    p95: float

    @staticmethod
    def of(samples: list[float]) -> Spread:
        return Spread(statistics.median(samples), float(np.percentile(samples, 95)))


@dataclass(frozen=True)
class BenchReport:
    """What `bench` measured; every duration in milliseconds."""

    preprocess: Spread
    vision: Spread
    prefill: Spread
    per_token: Spread  # of a decode step
    total: Spread
    tokens_per_s: float  # decode steps per second, from the median
    peak_memory_bytes: int  # of the process, loading included
    settings: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def bench(
    model: Model, image: Image, prompt: str, *, max_tokens: int = 32, runs: int = 10, warmup: int = 2
) -> BenchReport:
    """Answer the same prompt `runs` times after `warmup` times, always decoding `max_tokens` tokens.

    End tokens are decoded past, so that every run has the same length.
    """
    stages: dict[str, list[float]] = {name: [] for name in ("preprocess", "vision", "prefill", "total")}
    per_token: list[float] = []
    for run in range(warmup + runs):
        arrivals: list[float] = []

        def arrived(sequence: int, token: int, logprob: float, seen: list[float] = arrivals) -> None:
            seen.append(time.perf_counter())

        (result,) = model.predict_batch(
            [(image, prompt)],
            max_tokens=max_tokens,
            on_token=arrived,
            ignore_stop=True,
        )
        if run < warmup:
            continue
        for name, samples in stages.items():
            samples.append(getattr(result.timings, name))
        per_token += [(after - before) * 1e3 for before, after in pairwise(arrivals)]
    step = Spread.of(per_token or [float("nan")])
    frame_size = result.image_size
    return BenchReport(
        **{name: Spread.of(samples) for name, samples in stages.items()},
        per_token=step,
        tokens_per_s=1e3 / step.median,
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        settings={
            "bundle": str(model.bundle.path),
            "precision": model.bundle.manifest.precision,
            "backend": model.backend,
            "engine": model.engine_version,
            "threads": model.options.threads or "one per core",
            "image": f"{frame_size[0]}x{frame_size[1]} -> {model.bundle.manifest.vision.image_size}",
            "prompt": prompt,
            "tokens": len(result.tokens),
            "runs": runs,
        },
    )
