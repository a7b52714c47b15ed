"""How a linear layer's product is written into a graph: in floating point, as W8A8, or with its weights in blocks of integers.

A scheme takes an input value [..., in] and a weight [out, in] and gives back the value [..., out]; what it stores goes to the
weight file once, however many graphs use it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import onnx_ir as ir

from ..runtime.errors import CheckpointError
from .blockwise import pack_int4, per_block, per_channel

if TYPE_CHECKING:
    from .graph import Graph

_PIECE_ELEMENTS = 1 << 17  # of a weight worked on at a time: what stays in a core's cache
_COLUMN_ELEMENTS = 1 << 25  # of a floating-point weight transposed at a time


@dataclass(frozen=True)
class Weight:
    """A weight that is read when it is needed: [out, in] as stored, and what to multiply it by."""

    name: str
    shape: tuple[int, int]
    read: Callable[[], np.ndarray]
    scale: float = 1.0

    def rows(self, stored: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Output channels [start, stop) of what `read` gave, scaled, float32."""
        piece = finite(stored[start:stop].astype(np.float32), self.name)
        return piece if self.scale == 1.0 else piece * np.float32(self.scale)

    def padded(self, out: int, into: int) -> Weight:
        """The same with zeros behind its outputs and inputs."""
        if (out, into) == self.shape:
            return self
        more = (0, out - self.shape[0]), (0, into - self.shape[1])
        return Weight(self.name, (out, into), lambda: np.pad(self.read().astype(np.float32), more), self.scale)


def finite(weight: np.ndarray, name: str) -> np.ndarray:
    """The weight itself.

    Raises:
        CheckpointError: it holds what is no number.
    """
    if not np.isfinite(weight).all():
        raise CheckpointError(
            f"the weights of {name} hold values that are no numbers; the checkpoint is damaged, copy it once more"
        )
    return weight


class LinearScheme(Protocol):
    """A way to store a weight and to multiply by it."""

    @property
    def precision(self) -> str:
        """One of PRECISIONS."""
        ...

    @property
    def least_opset(self) -> int:
        """The opset that has the operators, in FP32 types."""
        ...

    @property
    def block(self) -> int:
        """What the number of inputs must be a multiple of."""
        ...

    def product(self, graph: Graph, x: ir.Value, name: str, weight: Weight) -> ir.Value:
        """x [..., in] times the weight: [..., out]."""
        ...


@dataclass(frozen=True)
class FloatLinear:
    """Weights in FP32 or FP16; a graph of another type casts them, which is done once, when it is loaded."""

    precision: str
    least_opset: int = 17
    block: int = 1

    def product(self, graph: Graph, x: ir.Value, name: str, weight: Weight) -> ir.Value:
        stored = np.dtype(np.float16 if self.precision == "fp16" else np.float32)
        out, into = weight.shape

        def pieces() -> Iterator[np.ndarray]:
            whole = weight.read()
            step = max(1, _COLUMN_ELEMENTS // out)
            for start in range(0, into, step):
                piece = finite(whole[:, start : start + step].T.astype(np.float32), name)
                yield (piece * np.float32(weight.scale)).astype(stored)

        tensor = graph.weight_file.once(f"{name}.weight", ir.DataType.from_numpy(stored), (into, out), pieces)
        value = graph.external(tensor)
        if stored != graph.numerics.numpy_type:
            value = graph.cast(value, graph.numerics.element_type)
        return graph.op.MatMul(x, value)


@dataclass(frozen=True)
class W8A8Linear:
    """INT8 weights, a scale per output channel, times INT8 activations of one scale known beforehand; explicit Q/DQ."""

    input_scale: float  # a value that FP16 has
    precision: str = "int8"
    least_opset: int = 17
    block: int = 1

    def product(self, graph: Graph, x: ir.Value, name: str, weight: Weight) -> ir.Value:
        out, into = weight.shape
        scales = np.empty(out, np.float16)

        def integers() -> Iterator[np.ndarray]:
            turned = np.empty((into, out), np.int8)

            def piece(start: int, stop: int, stored: np.ndarray) -> None:
                quantized, scales[start:stop] = per_channel(weight.rows(stored, start, stop))
                turned[:, start:stop] = quantized.T

            _by_rows(weight, piece)
            yield turned

        file = graph.weight_file
        tensor = file.once(f"{name}.weight", ir.DataType.INT8, (into, out), integers)
        # Constants of the graph's own type, with zero points: TensorRT 8.6 takes no cast and no default here.
        wide = file.once(f"{name}.scale", ir.DataType.FLOAT, (out,), lambda: [scales.astype(np.float32)])
        half = file.once(f"{name}.scale", ir.DataType.FLOAT16, (out,), lambda: [scales])  # our own engine's, always
        scale = graph.external(half if graph.numerics.is_fp16 else wide)
        zeros = file.once(f"{name}.zero_point", ir.DataType.INT8, (out,), lambda: [np.zeros(out, np.int8)])
        dequantized = graph.op.DequantizeLinear(graph.external(tensor), scale, graph.external(zeros), axis=1)
        return graph.op.MatMul(graph.quantized(x, self.input_scale), dequantized)


@dataclass(frozen=True)
class BlockwiseLinear:
    """Weights in INT8 or INT4, a scale per `block` inputs; onnxruntime fuses them to MatMulNBits, TensorRT 10 to its own."""

    precision: str  # "int8-weight" or "int4"
    block: int
    least_opset: int = 21

    def product(self, graph: Graph, x: ir.Value, name: str, weight: Weight) -> ir.Value:
        out, into = weight.shape
        bits = 4 if self.precision == "int4" else 8
        scales = np.empty((into // self.block, out), np.float16)

        def integers() -> Iterator[np.ndarray]:
            turned = np.empty((into, out), np.int8)

            def piece(start: int, stop: int, stored: np.ndarray) -> None:
                quantized, found = per_block(weight.rows(stored, start, stop), bits, self.block)
                turned[:, start:stop] = quantized.T
                scales[:, start:stop] = found.T

            _by_rows(weight, piece)
            yield pack_int4(turned) if bits == 4 else turned

        file = graph.weight_file
        element = ir.DataType.INT4 if bits == 4 else ir.DataType.INT8
        tensor = file.once(f"{name}.weight", element, (into, out), integers)
        stored = file.once(f"{name}.scale", ir.DataType.FLOAT16, scales.shape, lambda: [scales])
        scale = graph.from_float16(graph.external(stored))
        dequantized = graph.op.DequantizeLinear(graph.external(tensor), scale, axis=0, block_size=self.block)
        return graph.op.MatMul(x, dequantized)


def _by_rows(weight: Weight, piece: Callable[[int, int, np.ndarray], None]) -> None:
    """Work through a weight a few output channels at a time, on all cores; numpy lets go of the GIL."""
    stored = weight.read()
    out, into = weight.shape
    step = max(2, _PIECE_ELEMENTS // into & ~1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(piece, start, min(start + step, out), stored) for start in range(0, out, step)]:
            done.result()
