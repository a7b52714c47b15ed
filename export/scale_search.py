"""For a linear layer: the smoothing and the clipping that change its output least, found by trying them.

The error of a candidate is measured on sampled inputs, as the quantized layer would compute: the larger of two relative errors,
over all outputs together (which outlier rows dominate) and row by row on average (which they do not).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .blockwise import fp16_at_least, per_block, per_channel
from .input_sample import InputSample
from .linear_layers import LinearLayer

Float = NDArray[np.float32]

ALPHAS = (0.5, 0.65, 0.8, 0.95)
"""How much of the outliers weights take over; SmoothQuant's own choice first. Less than half was never best, and the error is
flat around the best: steps of 0.15 lose under 0.3 dB."""

_AWQ_POWERS = (0.25, 0.5, 0.75, 1.0)
_CLIPPINGS = ("largest", "percentile 99.999", "percentile 99.99", "percentile 99.9", "least squares")
_SEARCH_ROWS = 192
_SEARCH_WEIGHTS = 1 << 23  # more output channels than make so many are sampled
_SEARCH_BLOCK_WEIGHTS = 1 << 21  # likewise, where the rounding of each block is a search of its own


@dataclass(frozen=True)
class Finding:
    """The best candidate for a layer."""

    error: float  # relative, of the output
    plain_error: float  # the same without smoothing and clipping
    smoothing: Float | None  # [channels of the producer]
    alpha: float | None  # how it was made
    input_scale: float | None = None  # of the INT8 activations
    clipping: str | None = None  # how the scale was chosen


def search_w8a8(layer: LinearLayer, inputs: InputSample, weight: Float) -> Finding:
    """The best smoothing and input scale for W8A8. weight: [out, in]."""
    trial = _Trial(inputs, weight)
    best = plain = _w8a8(trial, np.ones(layer.into, np.float32), ("largest",))
    largest_weight = np.abs(weight).max(axis=0)
    for alpha in ALPHAS if layer.producer else ():
        scale = smoothquant_scale(layer, inputs.largest, largest_weight, alpha)
        found = _w8a8(trial, _spread(layer, scale), ("least squares",), scale, alpha)
        best = min(best, found, key=lambda finding: finding.error)
    spread = np.ones(layer.into, np.float32) if best.smoothing is None else _spread(layer, best.smoothing)
    clipped = _w8a8(trial, spread, _CLIPPINGS, best.smoothing, best.alpha)
    best = min(best, clipped, key=lambda finding: finding.error)
    return Finding(best.error, plain.error, best.smoothing, best.alpha, best.input_scale, best.clipping)


def search_blockwise(layer: LinearLayer, inputs: InputSample, weight: Float, bits: int, block: int) -> Finding:
    """The best scaling in AWQ's manner (Lin et al. 2023, arXiv:2306.00978) for weights in blocks."""
    trial = _Trial(inputs, weight, _SEARCH_BLOCK_WEIGHTS)
    plain = best = Finding(_blockwise_error(trial, np.ones(weight.shape[1], np.float32), bits, block), 0.0, None, None)
    for power in _AWQ_POWERS if layer.producer else ():
        assert layer.producer is not None
        size = layer.producer.gather(inputs.mean)
        scale = _normalised(size**power, size > 0)
        error = _blockwise_error(trial, _spread(layer, scale), bits, block)
        best = min(best, Finding(error, 0.0, scale, power), key=lambda finding: finding.error)
    return Finding(best.error, plain.error, best.smoothing, best.alpha)


def smoothquant_scale(layer: LinearLayer, largest_input: Float, largest_weight: Float, alpha: float) -> Float:
    """max|X_j|^alpha / max|W_j|^(1 - alpha) per channel of the producer (SmoothQuant, equation 4)."""
    assert layer.producer is not None
    inputs, weights = layer.producer.gather(largest_input), layer.producer.gather(largest_weight)
    used = (inputs > 0) & (weights > 0)
    scale = np.ones_like(inputs)
    scale[used] = inputs[used] ** alpha / weights[used] ** (1 - alpha)
    return _normalised(scale, used)


def _normalised(scale: Float, used: NDArray[np.bool_]) -> Float:
    """A scale whose middle is 1 over the channels that are used, within what FP16 weights bear; 1 for the others."""
    middle = np.exp(np.log(scale[used]).mean()) if used.any() else 1.0
    return np.where(used, np.clip(scale / middle, 1e-3, 1e3), 1.0).astype(np.float32)


def _spread(layer: LinearLayer, scale: Float) -> Float:
    assert layer.producer is not None
    return layer.producer.spread(scale)


class _Trial:
    """Inputs and a weight small enough to try candidates on, and the output they should have."""

    def __init__(self, inputs: InputSample, weight: Float, most_weights: int = _SEARCH_WEIGHTS) -> None:
        random = np.random.default_rng(0)
        rows = inputs.rows
        if len(rows) > _SEARCH_ROWS:
            largest = np.abs(rows).max(axis=1).argsort()[-4:]  # what clipping would hurt most is always tried
            rows = rows[np.union1d(largest, random.choice(len(rows), _SEARCH_ROWS - 4, replace=False))]
        most = max(64, most_weights // weight.shape[1])
        if len(weight) > most:
            weight = weight[np.sort(random.choice(len(weight), most, replace=False))]
        self.rows = rows  # [rows, in]
        self.weight = weight  # [out, in]
        self.largest = inputs.largest
        self._exact = rows @ weight.T
        self._row_power = np.maximum((self._exact**2).sum(axis=1), 1e-20)

    def error(self, output: Float) -> float:
        power = ((output - self._exact) ** 2).sum(axis=1)
        return float(np.sqrt(max(power.sum() / self._row_power.sum(), (power / self._row_power).mean())))


def _w8a8(
    trial: _Trial, spread: Float, clippings: Sequence[str], smoothing: Float | None = None, alpha: float | None = None
) -> Finding:
    """The best of these ways to choose the range of the inputs, under this smoothing."""
    rows, largest = trial.rows / spread, float((trial.largest / spread).max())
    integers, scale = per_channel(trial.weight * spread)
    weight = integers.astype(np.float32) * scale.astype(np.float32)[:, None]
    findings = []
    for clipping in clippings:
        clip = max(_clip(clipping, rows, largest, np.linalg.norm(weight, axis=0)), 1e-6)
        step = np.float32(fp16_at_least(np.float32(clip / 127))[()])
        quantized = np.clip(np.rint(rows / step), -128, 127) * step
        findings.append(Finding(trial.error(quantized @ weight.T), 0.0, smoothing, alpha, float(step), clipping))
    return min(findings, key=lambda finding: finding.error)


def _clip(clipping: str, rows: Float, largest: float, importance: Float) -> float:
    """The largest magnitude that INT8 is to cover."""
    if clipping == "largest":
        return largest
    if clipping == "least squares":
        return _least_squares_clip(rows, largest, importance)
    return float(np.percentile(np.abs(rows), float(clipping.removeprefix("percentile "))))


def _least_squares_clip(rows: Float, largest: float, importance: Float) -> float:
    """The clip of the least squared error of the inputs, each channel weighed by its weights."""
    best, least = largest, np.inf
    for share in np.geomspace(1.0, 0.1, 13, dtype=np.float32):
        step = largest * share / 127
        steps = rows * (1 / step)
        error = np.clip(np.rint(steps), -128, 127)
        error -= steps
        power = float(np.einsum("rc,rc,c->", error, error, importance**2, optimize=True)) * float(step) ** 2
        if power < least:
            best, least = float(largest * share), power
    return best


def _blockwise_error(trial: _Trial, spread: Float, bits: int, block: int) -> float:
    integers, scale = per_block(trial.weight * spread, bits, block)
    out, into = integers.shape
    weight = integers.reshape(out, -1, block) * scale.astype(np.float32)[:, :, None]
    return trial.error((trial.rows / spread) @ weight.reshape(out, into).T)
