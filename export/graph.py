"""Building an ONNX graph by calling operators: `graph.op.MatMul(x, w)`; plain ONNX operators only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from .linear import FloatLinear, LinearScheme, Weight
from .numerics import Numerics
from .weights import WeightFile

Dim = int | str
Real = float  # inside Graph, `float` is a method


class Graph:
    """A graph under construction: operators through `op`, weights and constants by value, a set of named inputs and outputs.

    Computation is in the element type of `numerics`; `float32` tensors are made where a comment says why. `schemes` says how
    linear layers are stored, by name; one that it leaves out is stored in the graph's own type.
    """

    def __init__(
        self,
        numerics: Numerics,
        weights: WeightFile,
        opset: int,
        schemes: Mapping[str, LinearScheme] | None = None,
    ) -> None:
        self.numerics = numerics
        self.opset = opset
        self.op = _Operators(self)
        self.schemes = schemes or {}
        self.linear_inputs: dict[str, ir.Value] = {}  # by the linear layer's name
        self._tape = ir.tape.Tape()
        self._weights = weights
        self._constants: dict[tuple[bytes, str, tuple[int, ...]], ir.Value] = {}
        self._inputs: list[ir.Value] = []
        self._outputs: list[ir.Value] = []

    # What flows in and out

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[Dim]) -> ir.Value:
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        self._inputs.append(value)
        return value

    def output(self, name: str, value: ir.Value, dtype: ir.DataType, shape: Sequence[Dim] | None) -> None:
        value.name = name
        value.type = ir.TensorType(dtype)
        value.shape = None if shape is None else ir.Shape(shape)
        self._outputs.append(value)

    # Values

    def weight(self, name: str, array: np.ndarray) -> ir.Value:
        """A weight in the graph's element type, written to the external file at once."""
        return self._tape.initializer(self._weights.add(name, array.astype(self.numerics.numpy_type)))

    def external(self, tensor: ir.ExternalTensor) -> ir.Value:
        """A weight that was written already."""
        return self._tape.initializer(tensor)

    @property
    def weight_file(self) -> WeightFile:
        return self._weights

    def ints(self, values: int | Sequence[int], dtype: type = np.int64) -> ir.Value:
        return self._constant(np.array(values, dtype=dtype))

    def float(self, value: float, dtype: np.dtype | type | None = None) -> ir.Value:
        """A scalar in the graph's element type, or in `dtype`."""
        return self._constant(np.array(value, dtype=dtype or self.numerics.numpy_type))

    def floats(self, values: np.ndarray) -> ir.Value:
        return self._constant(values)

    def _constant(self, array: np.ndarray) -> ir.Value:
        key = (array.tobytes(), array.dtype.str, array.shape)
        if key not in self._constants:
            self._constants[key] = self._tape.initializer(ir.tensor(array, name=f"constant_{len(self._constants)}"))
        return self._constants[key]

    # Linear layers

    def scheme(self, name: str) -> LinearScheme:
        return self.schemes.get(name) or FloatLinear(self.numerics.precision)

    def linear(self, x: ir.Value, name: str, weight: Weight) -> ir.Value:
        """x [..., in] times the weight of this name, as its scheme has it."""
        self.linear_inputs[name] = x
        return self.scheme(name).product(self, x, name, weight)

    def quantized(self, x: ir.Value, scale: Real) -> ir.Value:
        """x rounded to INT8 steps of `scale`."""
        step, zero = self.float(scale), self.ints(0, np.int8)
        return self.op.DequantizeLinear(self.op.QuantizeLinear(x, step, zero), step, zero)

    # Shorthands of more than one operator

    def dim(self, value: ir.Value, axis: int) -> ir.Value:
        """The length of an axis: [1] int64."""
        return self.op.Gather(self.op.Shape(value), self.ints([axis]))

    def cast(self, value: ir.Value, to: ir.DataType) -> ir.Value:
        return self.op.Cast(value, to=to)

    def to_float32(self, value: ir.Value) -> ir.Value:
        return self.cast(value, ir.DataType.FLOAT) if self.numerics.is_fp16 else value

    def from_float16(self, value: ir.Value) -> ir.Value:
        return value if self.numerics.is_fp16 else self.cast(value, ir.DataType.FLOAT)

    def from_float32(self, value: ir.Value) -> ir.Value:
        return self.cast(value, self.numerics.element_type) if self.numerics.is_fp16 else value

    def reduce(self, operator: str, value: ir.Value) -> ir.Value:
        """ReduceMean or ReduceMax over the last axis, which stays.

        Up to opset 17 the axes are an attribute, from 18 on an input; TensorRT 8.6 silently reads the latter as "all axes".
        """
        if self.opset < 18:
            return self._tape.op(operator, [value], {"axes": [-1], "keepdims": 1})
        return self._tape.op(operator, [value, self.ints([-1])], {"keepdims": 1})

    def gelu_tanh(self, x: ir.Value) -> ir.Value:
        """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), Hendrycks and Gimpel 2016; the Gelu operator needs opset 20.

        Written in the order in which onnxruntime finds and fuses it.
        """
        op = self.op
        cubed = op.Mul(op.Pow(x, self.float(3.0)), self.float(0.044715))
        inner = op.Mul(op.Add(x, cubed), self.float(np.sqrt(2 / np.pi)))
        return op.Mul(op.Mul(x, self.float(0.5)), op.Add(op.Tanh(inner), self.float(1.0)))

    def model(self, name: str, producer_version: str) -> ir.Model:
        """The finished model."""
        graph = ir.Graph(
            self._inputs,
            self._outputs,
            nodes=self._tape.nodes,
            initializers=self._tape.initializers,
            opset_imports={"": self.opset},
            name=name,
        )
        ir_version = 8 if self.opset < 19 else 10  # the oldest that allows the opset, so that old parsers read it
        return ir.Model(graph, ir_version=ir_version, producer_name="palijet", producer_version=producer_version)


class _Operators:
    """`op.Name(*inputs, **attributes)`, one output; `_outputs=n` for n of them."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __getattr__(self, operator: str) -> Any:
        def call(*inputs: ir.Value, _outputs: int = 1, **attributes: Any) -> Any:
            tape = self._graph._tape
            if _outputs == 1:
                return tape.op(operator, inputs, attributes)
            return tape.op_multi_out(operator, inputs, attributes, num_outputs=_outputs)

        return call
