"""Resizing is Pillow's, bit for bit; and what is no picture is refused with what to do."""

from pathlib import Path

import cv2
import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from palijet import InputError
from palijet.runtime import _native
from palijet.runtime.preprocess import as_frame, preprocess

# Before release 13 Pillow always began with the width; for tall pictures the two orders round differently.
WIDTH_FIRST_ALWAYS = int(PIL.__version__.split(".")[0]) < 13


def same_order(width: int, height: int, to_width: int, to_height: int) -> bool:
    return not (WIDTH_FIRST_ALWAYS and height - to_height > max(0, 2 * (width - to_width)))


def pillow(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def random_image(seed: int, height: int, width: int, channels: int) -> np.ndarray:
    shape = (height, width) if channels == 0 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_a_thousand_random_sizes_are_bit_equal_to_pillow() -> None:
    rng = np.random.default_rng(1)
    compared = 0
    while compared < 1000:
        height, width, to_height, to_width = np.exp(rng.uniform(0, 6.2, 4)).astype(int).tolist()
        if not same_order(width, height, to_width, to_height):
            continue
        image = random_image(compared, height, width, [0, 3][compared % 2])
        assert np.array_equal(_native.resize(image, to_width, to_height), pillow(image, to_width, to_height)), (
            f"{width}x{height} -> {to_width}x{to_height}"
        )
        compared += 1


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (20000, 10), (10, 3000), (1920, 1080), (1080, 1920), (224, 224), (224, 500), (3, 224), (2, 2)],
)
def test_extreme_and_usual_sizes_are_bit_equal_to_pillow(width: int, height: int) -> None:
    image = random_image(5, height, width, 3)
    for size in (224, 448, 1):
        if same_order(width, height, size, size):
            assert np.array_equal(_native.resize(image, size, size), pillow(image, size, size))


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    steps=st.tuples(st.sampled_from([-3, -2, -1, 1, 2]), st.sampled_from([-2, -1, 1, 2])),
    fortran=st.booleans(),
    size=st.integers(1, 50),
)
def test_views_of_any_strides_are_read_where_they_lie(
    height: int, width: int, steps: tuple[int, int], fortran: bool, size: int
) -> None:
    image = random_image(9, height, width, 3)
    view = (np.asfortranarray(image) if fortran else image)[:: steps[0], :: steps[1]]
    plain = np.ascontiguousarray(view)
    assert np.array_equal(preprocess(view, size), preprocess(plain, size))


def test_channels_are_read_in_the_order_they_are_given() -> None:
    bgr = random_image(2, 30, 40, 3)
    rgb = np.ascontiguousarray(bgr[:, :, ::-1])
    expected = (pillow(rgb, 16, 16).astype(np.float32) - 127.5) / 127.5
    for pixels in (
        preprocess(bgr, 16),
        _native.preprocess(_native.Frame(rgb, "rgb"), 16),
        preprocess(np.dstack([bgr, random_image(3, 30, 40, 0)]), 16),
        preprocess(Image.fromarray(rgb), 16),
    ):
        assert np.array_equal(pixels, expected.transpose(2, 0, 1))


def test_grey_stands_for_all_three_colours() -> None:
    grey = random_image(4, 30, 40, 0)
    expected = (pillow(grey, 16, 16).astype(np.float32) - 127.5) / 127.5
    for pixels in (
        preprocess(grey, 16),
        preprocess(grey[:, :, None], 16),
        preprocess(Image.fromarray(grey), 16),
    ):
        assert np.array_equal(pixels, np.stack([expected] * 3))


def test_sixteen_bits_become_eight() -> None:
    wide = np.array([[0, 257, 65535, 128 * 257]], dtype=np.uint16)
    frame, _ = as_frame(wide)
    assert frame.tolist() == [[0, 1, 255, 128]]


def test_sixteen_bits_of_pil_are_those_of_an_array() -> None:
    wide = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    assert np.array_equal(preprocess(Image.fromarray(wide), 32), preprocess(wide, 32))
    with pytest.raises(InputError, match="convert it to uint8"):
        preprocess(Image.new("F", (8, 8)), 32)


def test_files_are_read_as_opencv_reads_them(tmp_path: Path) -> None:
    image = random_image(6, 20, 30, 3)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        frame, order = as_frame(path)
        assert order == "bgr"
        assert np.array_equal(frame, image)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.zeros((4, 4, 3), np.float32), "convert it to uint8"),
        (np.zeros((0, 4, 3), np.uint8), "is empty"),
        (np.zeros((4, 4, 2), np.uint8), "is not a picture"),
        (np.zeros((4,), np.uint8), "is not a picture"),
        (np.zeros((2, 4, 4, 3), np.uint8), "is not a picture"),
        ([[1, 2], [3, 4]], "a list is not a picture"),
        (None, "a NoneType is not a picture"),
    ],
)
def test_what_is_no_picture_is_refused(image: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        preprocess(image, 224)


def test_files_that_are_no_picture_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("this is no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, sentence in {
        "text.jpg": "damaged or not a picture",
        "empty.png": "is empty, damaged",
        "none.png": "does not exist",
        ".": "cannot be read",
    }.items():
        with pytest.raises(InputError, match=sentence):
            preprocess(tmp_path / name, 224)
