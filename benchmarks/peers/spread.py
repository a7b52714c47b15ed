"""The middle of samples and how far they scatter: medians and quartiles, which a few disturbed samples do not move."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Median and quartiles, in the samples' unit."""

    low: float  # first quartile
    median: float
    high: float  # third quartile

    @staticmethod
    def of(samples: Sequence[float]) -> Spread | None:
        """None: there are no samples. Quartiles are interpolated between the samples (as numpy's percentiles are)."""
        if not samples:
            return None
        if len(samples) == 1:
            return Spread(samples[0], samples[0], samples[0])
        low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
        return Spread(low, median, high)

    def text(self, digits: int = 0, factor: float = 1.0) -> str:
        """ "63 (60 - 66)": the median and both quartiles, times a factor."""
        low, median, high = (f"{value * factor:.{digits}f}" for value in (self.low, self.median, self.high))
        return f"{median} ({low} - {high})"
