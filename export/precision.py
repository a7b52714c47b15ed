"""The precisions a bundle can have, and the one that each part of the model is given.

fp32, fp16     weights and arithmetic in floating point
int8           W8A8: weights and activations in INT8, for TensorRT's and onnxruntime's integer kernels
int8-weight    weights in INT8, in blocks; arithmetic in floating point (onnxruntime; TensorRT has no such kernels)
int4           weights in INT4, in blocks; arithmetic in floating point (onnxruntime, TensorRT >= 10)
"""

from __future__ import annotations

from dataclasses import dataclass

from ..runtime.errors import BundleError

PRECISIONS = ("fp32", "fp16", "int8", "int8-weight", "int4")
PARTS = ("vision", "projector", "decoder", "head")
BLOCKWISE = {"int8-weight": 8, "int4": 4}
"""Precisions whose weights alone are integers, in blocks, and the bits of one."""


@dataclass(frozen=True)
class PartPrecisions:
    """What each part's linear layers are stored as; one of PRECISIONS each."""

    vision: str
    projector: str
    decoder: str
    head: str

    @staticmethod
    def resolve(precision: str, **overrides: str | None) -> PartPrecisions:
        """`precision` for every part but those with an override.

        Raises:
            BundleError: an unknown precision, or fp32 beside another.
        """
        chosen = {part: overrides.get(part) or precision for part in PARTS}
        for part, given in chosen.items():
            if given not in PRECISIONS:
                raise BundleError(
                    f"precision {given} of the {part} is not known; choose one of {', '.join(PRECISIONS)}"
                )
        if "fp32" in chosen.values() and set(chosen.values()) != {"fp32"}:
            raise BundleError(
                "fp32 is for a whole bundle; give the parts that matter fp16, as exact as a Jetson computes"
            )
        return PartPrecisions(**chosen)

    def of(self, part: str) -> str:
        return getattr(self, part)

    @property
    def all(self) -> frozenset[str]:
        return frozenset(self.of(part) for part in PARTS)

    @property
    def is_quantized(self) -> bool:
        return not self.all <= {"fp32", "fp16"}
