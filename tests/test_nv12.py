"""NV12 pictures against OpenCV's conversion, and against the definition of their matrices."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import palijet
from palijet import Nv12
from palijet.runtime import preprocess
from palijet.runtime.errors import InputError


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Normalised [3, size, size] as [size, size, 3] from 0 to 255, red, green, blue."""
    return np.rint(pixels.transpose(1, 2, 0) * 127.5 + 127.5).astype(np.int64)


def test_bt601_is_opencvs_within_a_level() -> None:
    size = 96  # the picture's own: nothing is resized
    data = np.random.default_rng(1).integers(0, 256, (size * 3 // 2, size), dtype=np.uint8)
    data[:size] = np.maximum(data[:size], 16)  # what is darker than black OpenCV takes for black first
    ours = as_bytes(preprocess(Nv12(data), size))
    theirs = cv2.cvtColor(data, cv2.COLOR_YUV2RGB_NV12).astype(np.int64)
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(ours - theirs).mean() < 0.1


@pytest.mark.parametrize(("matrix", "red", "blue"), [("bt601", 0.299, 0.114), ("bt709", 0.2126, 0.0722)])
def test_colours_come_back_from_the_matrix_that_made_them(matrix: str, red: float, blue: float) -> None:
    """Even colours to NV12 by the definition of ITU-R BT.601 and BT.709, in floating point, and back."""
    for rgb in np.random.default_rng(2).integers(0, 256, (200, 3)):
        r, g, b = rgb / 255
        luma = red * r + (1 - red - blue) * g + blue * b
        data = np.empty((3, 2), np.uint8)
        data[:2] = round(16 + 219 * luma)
        data[2] = round(128 + 224 * (b - luma) / (2 - 2 * blue)), round(128 + 224 * (r - luma) / (2 - 2 * red))
        assert np.abs(as_bytes(preprocess(Nv12(data, matrix), 2)) - rgb).max() <= 2  # type: ignore[arg-type]


def test_an_nv12_picture_is_answered_as_its_rgb(model: palijet.Model, scene) -> None:
    frame = scene(3)
    height, width = frame.shape[:2]
    planar = cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420)
    luma, chroma = planar[:height], planar[height:].reshape(2, -1)
    data = np.concatenate([luma, chroma.T.reshape(height // 2, width)])
    result = model.predict(Nv12(data), "detect part")
    assert result.image_size == (width, height)
    assert result.text == model.predict(cv2.cvtColor(data, cv2.COLOR_YUV2BGR_NV12), "detect part").text


@pytest.mark.parametrize("shape", [(8, 8), (9, 7), (9, 8, 3), (3, 3)])
def test_what_is_no_nv12_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"an NV12 frame must be"):
        preprocess(Nv12(np.zeros(shape, np.uint8)), 4)
