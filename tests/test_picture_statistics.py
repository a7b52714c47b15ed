"""The digest of a picture knows every byte and its place; mean and deviation are those of the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palijet.runtime.capture.picture_statistics import picture_statistics


@given(st.integers(1, 90), st.integers(1, 90), st.data())
def test_one_changed_byte_anywhere_changes_the_digest(height: int, width: int, data: st.DataObject) -> None:
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    before = picture_statistics(image)
    assert picture_statistics(image.copy()) == before
    place = data.draw(st.integers(0, image.size - 1))
    image.reshape(-1)[place] ^= data.draw(st.integers(1, 255))
    assert picture_statistics(image).digest != before.digest


def test_a_thing_that_moves_changes_the_digest_wherever_it_goes() -> None:
    digests = set()
    for y in range(0, 960, 64):
        for x in range(0, 1792, 128):
            image = np.full((1080, 1920, 3), 90, np.uint8)
            image[y : y + 64, x : x + 128] = 200
            digests.add(picture_statistics(image).digest)
    assert len(digests) == 15 * 14


def test_mean_and_deviation_are_those_of_the_picture() -> None:
    image = np.random.default_rng(1).normal(100, 20, (720, 1280, 3)).clip(0, 255).astype(np.uint8)
    told = picture_statistics(image)
    assert told.mean == pytest.approx(image.mean(), abs=0.5)
    assert told.deviation == pytest.approx(image.std(), abs=0.5)
    assert picture_statistics(np.zeros((480, 640, 3), np.uint8)).deviation == 0
