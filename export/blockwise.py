"""Rounding of weights to integers with a scale each: per output channel (INT8 of W8A8) or per block of inputs.

A weight is [out, in] as PyTorch stores it; a block is `block` consecutive inputs of one output channel. Integers times scale
give the weight back: symmetric, no zero point. Scales are chosen among FP16's values, so that FP32 and FP16 graphs share them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
_LEAST_SCALE = np.float32(2.0**-20)  # of a channel of zeros; within FP16's subnormals
_SHRINKS = np.linspace(1.0, 0.72, 8, dtype=np.float32)  # of a block's range


def per_channel(weight: Float, bits: int = 8) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """[out, in] -> integers [out, in] and scales [out] that cover each channel's largest weight."""
    highest = _highest(bits)
    scale = fp16_at_least(np.abs(weight).max(axis=1) / highest)
    return _round(weight / scale.astype(np.float32)[:, None], -highest, highest), scale


def per_block(weight: Float, bits: int, block: int) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """[out, in] -> integers [out, in] and scales [out, in / block] of the least squared error.

    The scale of each block is searched: its range as it is, or clipped by up to 28 % (the search of Shao et al. 2023,
    arXiv:2308.13137, without the gradient). INT4 may use -8, whose twin +8 does not exist.
    """
    out, into = weight.shape
    highest = _highest(bits)
    lowest = -highest - 1 if bits == 4 else -highest
    blocks = weight.reshape(out, into // block, block)
    widest = np.abs(blocks).max(axis=2)
    best_scale = np.empty_like(widest)
    best_error = np.full_like(widest, np.inf)
    steps, rounded = np.empty_like(blocks), np.empty_like(blocks)
    for shrink in _SHRINKS if bits == 4 else _SHRINKS[:1]:  # INT8's steps are too fine for clipping to pay
        scale = fp16_at_least(widest * (shrink / highest)).astype(np.float32)
        np.multiply(blocks, (1 / scale)[:, :, None], out=steps)
        np.clip(np.rint(steps, out=rounded), lowest, highest, out=rounded)
        np.subtract(rounded, steps, out=rounded)
        error = np.einsum("obi,obi->ob", rounded, rounded) * scale**2
        better = error < best_error
        best_scale[better], best_error[better] = scale[better], error[better]
    integers = _round(blocks / best_scale[:, :, None], lowest, highest)
    return integers.reshape(out, into), best_scale.astype(np.float16)


def fp16_at_least(scale: Float) -> NDArray[np.float16]:
    """Scales rounded up to FP16, so that what they are to cover stays covered."""
    floored = np.maximum(scale, _LEAST_SCALE)
    nearest = floored.astype(np.float16)
    return np.where(nearest < floored, np.nextafter(nearest, np.float16(np.inf)), nearest)


def pack_int4(integers: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Row-major elements two to a byte, the first in the low half (ONNX, "4 bit integer types")."""
    flat = integers.reshape(-1)
    if flat.size % 2:
        flat = np.append(flat, np.int8(0))
    low, high = flat[0::2].view(np.uint8), flat[1::2].view(np.uint8)
    return np.bitwise_or(low & np.uint8(0x0F), high << np.uint8(4)).astype(np.uint8)


def _highest(bits: int) -> int:
    return 2 ** (bits - 1) - 1


def _round(steps: Float, lowest: int, highest: int) -> NDArray[np.int8]:
    return np.clip(np.rint(steps), lowest, highest).astype(np.int8)
