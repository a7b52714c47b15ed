"""How a checkpoint is quantized: a scheme for each linear layer, the smoothing between them, and what each costs in accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..runtime.bundle import LayerQuality
from .blockwise import per_block
from .checkpoint import Checkpoint
from .input_sample import InputSample
from .layerwise import Stage
from .linear import BlockwiseLinear, FloatLinear, LinearScheme, W8A8Linear, finite
from .linear_layers import LinearLayer, linear_layers, linear_weight
from .precision import BLOCKWISE, PartPrecisions
from .scale_search import Finding, search_blockwise, search_w8a8
from .smoothing import Smoothing

Float = NDArray[np.float32]

HARMFUL_ERROR = {"int8": 0.04, "int4": 0.30}
"""Relative output error above which a layer is kept at FP16, while the budget lasts."""

_SAMPLED_WEIGHTS = 1 << 20


@dataclass(frozen=True)
class Recipe:
    """What the graph builder is given beside the checkpoint."""

    schemes: dict[str, LinearScheme] = field(default_factory=dict)
    smoothing: Smoothing = field(default_factory=Smoothing)
    layers: tuple[LayerQuality, ...] = ()


@dataclass(frozen=True)
class _Choice:
    layer: LinearLayer
    precision: str
    scheme: LinearScheme
    finding: Finding


def is_hurt(layer: LayerQuality) -> bool:
    """Whether quantization hurts the layer more than is borne."""
    limit = HARMFUL_ERROR.get(layer.precision)
    return layer.kept or (layer.snr_db is not None and limit is not None and layer.snr_db < -20 * math.log10(limit))


def plain_recipe(checkpoint: Checkpoint, parts: PartPrecisions, block: int) -> Recipe:
    """A recipe that needs no calibration: floating point, or weights rounded in blocks; errors are those of the weights."""
    choices = []
    for layer in linear_layers(checkpoint.config).values():
        scheme = _weight_scheme(layer, parts.of(layer.part), block)
        error = 0.0
        if isinstance(scheme, BlockwiseLinear):
            error = _weight_error(_pad(_weight(checkpoint, layer, _SAMPLED_WEIGHTS), scheme.block), scheme)
        choices.append(_Choice(layer, scheme.precision, scheme, Finding(error, error, None, None)))
    return _recipe(choices)


def calibrated_recipe(
    checkpoint: Checkpoint,
    parts: PartPrecisions,
    block: int,
    stages: Iterable[Stage],
    *,
    keep_fp16: float,
    smooth: bool = True,
) -> Recipe:
    """A recipe found by measurement on the inputs of the stages; `keep_fp16`: the share of weights that may stay at FP16."""
    choices = []
    for stage in stages:
        for layer, inputs in stage.inputs:
            layer = layer if smooth else replace(layer, producer=None)
            choices.append(_choose(checkpoint, layer, parts.of(layer.part), block, inputs))
    return _recipe(_keep_worst(choices, keep_fp16))


def _choose(checkpoint: Checkpoint, layer: LinearLayer, precision: str, block: int, inputs: InputSample) -> _Choice:
    if precision == "int8":
        finding = search_w8a8(layer, inputs, _weight(checkpoint, layer))
        assert finding.input_scale is not None
        return _Choice(layer, precision, W8A8Linear(finding.input_scale), finding)
    scheme = _weight_scheme(layer, precision, block)
    if not isinstance(scheme, BlockwiseLinear):
        return _Choice(layer, scheme.precision, scheme, Finding(0.0, 0.0, None, None))
    weight = _pad(_weight(checkpoint, layer), scheme.block)
    finding = search_blockwise(layer, inputs.padded(weight.shape[1]), weight, BLOCKWISE[precision], scheme.block)
    return _Choice(layer, precision, scheme, finding)


def _keep_worst(choices: list[_Choice], share: float) -> list[_Choice]:
    """The layers that quantization hurts most, at FP16, until their weights make up the share of all."""
    budget = share * sum(choice.layer.weights for choice in choices)
    kept: set[str] = set()
    for choice in sorted(choices, key=lambda choice: -choice.finding.error):
        limit = HARMFUL_ERROR.get(choice.precision, math.inf)
        if choice.finding.error > limit and choice.layer.weights <= budget:
            budget -= choice.layer.weights
            kept.add(choice.layer.name)
    return [
        replace(choice, scheme=FloatLinear("fp16"), finding=replace(choice.finding, smoothing=None, alpha=None))
        if choice.layer.name in kept
        else choice
        for choice in choices
    ]


def _recipe(choices: list[_Choice]) -> Recipe:
    smoothing = Smoothing()
    for choice in choices:
        if choice.finding.smoothing is not None:
            smoothing.add(choice.layer, choice.finding.smoothing)
    return Recipe(
        {choice.layer.name: choice.scheme for choice in choices},
        smoothing,
        tuple(_quality(choice) for choice in choices),
    )


def _quality(choice: _Choice) -> LayerQuality:
    finding = choice.finding
    return LayerQuality(
        name=choice.layer.name,
        part=choice.layer.part,
        precision=choice.scheme.precision,
        weights=choice.layer.weights,
        snr_db=_decibel(finding.error),
        plain_snr_db=_decibel(finding.plain_error),
        smoothing=finding.alpha,
        clipping=finding.clipping,
        kept=choice.scheme.precision != choice.precision,
    )


def _decibel(error: float) -> float | None:
    return round(-20 * math.log10(error), 2) if error > 0 else None


def _weight_scheme(layer: LinearLayer, precision: str, block: int) -> LinearScheme:
    if precision not in BLOCKWISE:
        return FloatLinear(precision)
    # Others than padded layers need a block that divides their width.
    if layer.is_padded or layer.into % block == 0:
        return BlockwiseLinear(precision, block)
    smaller = [size for size in (64, 32) if size < block and layer.into % size == 0]
    return BlockwiseLinear(precision, smaller[0]) if smaller else FloatLinear("fp16")


def _weight(checkpoint: Checkpoint, layer: LinearLayer, most: int = 1 << 27) -> Float:
    """The layer's weight, [out, in]; of more weights than `most`, as the LM head has, every n-th output channel."""
    stored = linear_weight(checkpoint, layer.name).read()
    return finite(stored[:: -(-stored.size // most)].astype(np.float32), layer.name)


def _pad(weight: Float, block: int) -> Float:
    return np.pad(weight, ((0, 0), (0, -weight.shape[1] % block)))


def _weight_error(weight: Float, scheme: BlockwiseLinear) -> float:
    integers, scale = per_block(weight, BLOCKWISE[scheme.precision], scheme.block)
    restored = integers.reshape(*scale.shape, scheme.block) * scale.astype(np.float32)[:, :, None]
    return float(np.linalg.norm(restored.reshape(weight.shape) - weight) / max(float(np.linalg.norm(weight)), 1e-20))
