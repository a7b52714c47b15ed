"""A camera's own frames, given as they are: NV12, luma and chroma in one array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, eq=False)
class Nv12:
    """An NV12 picture, in place of a BGR array.

    data: [height * 3 / 2, width] uint8, rows of luma, then rows of blue and red differences in turn; a numpy array, or memory of
    CUDA as in `palijet.Model.predict`. matrix: of ITU-R BT.601 or BT.709, in limited range; what a camera uses is told by its
    colorimetry ("bt601" or "bt709" in GStreamer's caps).
    """

    data: Any
    matrix: Literal["bt601", "bt709"] = "bt601"
