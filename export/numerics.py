"""In which types a graph computes, and the exact rescaling that keeps PaliGemma's residual stream within FP16.

The stream reaches about 5.7e5 and FP16 ends at 65504. An RMSNorm forgets the scale of its input, so the whole stream may be
carried at 1/16: the embeddings' scale, the projector and whatever adds to the stream (Gemma's o_proj and down_proj, Gemma 2's
norms after them) are divided by 16, and the epsilon of every norm that reads the stream by 256. All are powers of two, so in
FP32 nothing changes but the last bit at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

RESCALING = 1 / 16


@dataclass(frozen=True)
class Numerics:
    """How a graph computes: its element type, and the scale its residual stream is carried at."""

    precision: str  # "fp32" or "fp16"
    residual_scale: float = 1.0

    @staticmethod
    def of(precision: str, *, rescale: bool = True) -> Numerics:
        """Of a graph in floating point; `rescale=False` is for showing what FP16 does without it."""
        return Numerics(precision, RESCALING if precision == "fp16" and rescale else 1.0)

    @staticmethod
    def of_quantized(precision: str) -> Numerics:
        """Of a quantized graph in these types: rescaled in both, so that they share weights, embeddings and image rows."""
        return Numerics(precision, RESCALING)

    @property
    def is_fp16(self) -> bool:
        return self.precision == "fp16"

    @property
    def element_type(self) -> ir.DataType:
        return ir.DataType.FLOAT16 if self.is_fp16 else ir.DataType.FLOAT

    @property
    def numpy_type(self) -> np.dtype:
        return np.dtype(np.float16 if self.is_fp16 else np.float32)

    def residual_epsilon(self, epsilon: float) -> float:
        """The epsilon of an RMSNorm that reads the rescaled stream."""
        return epsilon * self.residual_scale**2
