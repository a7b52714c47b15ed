"""What is kept of a linear layer's inputs: the largest value of each channel, and some rows to measure errors on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

KEPT_ROWS = 256


class InputSample:
    """Gathers rows [n, width] sequence by sequence."""

    def __init__(self, width: int, sequences: int) -> None:
        self.largest = np.zeros(width, np.float32)  # of each channel's magnitudes
        self._sum = np.zeros(width, np.float64)
        self._count = 0
        self._kept: list[NDArray[np.float32]] = []
        self._share = max(2, KEPT_ROWS // max(1, sequences))
        self._random = np.random.default_rng(0)

    def add(self, rows: NDArray[np.float32], images: int = 0) -> None:
        """Take a sequence's rows into account; some are kept, the one with the largest value always.

        The first `images` of them are an image's: behind them as many are kept of the text's, which are few and decode everything.
        """
        size = np.abs(rows)
        np.maximum(self.largest, size.max(axis=0), out=self.largest)
        self._sum += size.sum(axis=0)
        self._count += len(rows)
        halves = [range(images), range(images, len(rows))]
        kept = {int(size.max(axis=1).argmax())}
        for half in halves:
            share = (self._share - 1) // (2 if images else 1)
            kept.update(self._random.choice(half, min(share, len(half)), replace=False).tolist() if half else [])
        self._kept.append(rows[sorted(kept)])

    @property
    def mean(self) -> NDArray[np.float32]:
        """Of each channel's magnitudes, over all rows."""
        return (self._sum / max(self._count, 1)).astype(np.float32)

    @property
    def rows(self) -> NDArray[np.float32]:
        """[kept rows, width]"""
        return np.concatenate(self._kept)

    def padded(self, width: int) -> InputSample:
        """The same with channels of zeros behind."""
        if width == len(self.largest):
            return self
        wider = InputSample(width, 1)
        wider.largest[: len(self.largest)] = self.largest
        wider._sum[: len(self.largest)], wider._count = self._sum, self._count
        wider._kept = [np.pad(rows, ((0, 0), (0, width - rows.shape[1]))) for rows in self._kept]
        return wider
