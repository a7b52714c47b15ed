"""Log-probabilities of a few tokens from a row of logits."""

from collections.abc import Sequence

import numpy as np


def logprobs(logits: "np.ndarray", targets: Sequence[int]) -> list[float]:
    """logits: [vocabulary], of any float type; natural logarithms, computed in float64."""
    row = np.asarray(logits, np.float64).reshape(-1)
    top = row.max()
    total = top + np.log(np.exp(row - top).sum())
    return [float(row[target] - total) for target in targets]
