"""Drawing works at any size and marks what was found."""

import numpy as np
import pytest
from test_source import some_result

from palijet.runtime.draw import draw


@pytest.mark.parametrize("shape", [(1, 1, 3), (10, 20000, 3), (40, 30), (60, 50, 4), (1080, 1920, 3), (3000, 20, 3)])
def test_pictures_of_any_size_are_drawn_on(shape: tuple[int, ...]) -> None:
    height, width = shape[:2]
    result = some_result((width, height), box=(0, 0, width, height), text="größer 齿轮 ✓")
    canvas = draw(np.full(shape, 90, np.uint8), [result])
    assert canvas.dtype == np.uint8
    assert canvas.shape[2] == 3
    assert canvas.shape[0] >= height
    assert canvas.shape[1] % width == 0


def test_the_box_is_drawn_where_it_is_and_the_picture_is_kept() -> None:
    picture = np.full((400, 400, 3), 90, np.uint8)
    before = picture.copy()
    canvas = draw(picture, [some_result((400, 400), box=(100, 150, 300, 350))])
    assert np.array_equal(picture, before)
    changed = np.argwhere((canvas != 90).any(axis=2))
    assert abs(changed[:, 0].max() - 350) <= 4
    assert abs(changed[:, 1].max() - 300) <= 4
    assert (canvas[200:300, 150:250] == 90).all(), "the inside of a box is left alone"


def test_long_text_is_wrapped_on_a_panel_below() -> None:
    picture = np.full((400, 400, 3), 90, np.uint8)
    short = draw(picture, [some_result((400, 400), text="a bolt")])
    long = draw(picture, [some_result((400, 400), text="a bolt and " * 30)])
    assert 400 < short.shape[0] < long.shape[0]
    assert (short[:400] == 90).all()
