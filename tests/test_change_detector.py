"""The change detector sees a small part move, and sees nothing in the noise of a still scene."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from palijet.demo.clip import Clip, views
from palijet.demo.drawing import draw
from palijet.demo.scene import Part, Scene, random_scene
from palijet.runtime.cameras.change_detector import BLOCKS, ChangeDetector

SIZES = [(320, 240), (640, 480)]


def remembering(image: np.ndarray) -> ChangeDetector:
    detector = ChangeDetector()
    detector.remember(image)
    return detector


def still(scene: Scene, noise: float, noise_seed: int, size: tuple[int, int]) -> np.ndarray:
    return draw(replace(scene, camera=replace(scene.camera, noise=noise, noise_seed=noise_seed)), *size).image


@pytest.mark.parametrize("size", SIZES)
def test_noise_of_a_still_scene_is_no_change(size: tuple[int, int]) -> None:
    for seed in range(5):
        scene = random_scene(seed)
        detector = remembering(still(scene, 7.0, 0, size))
        assert not any(detector.changed(still(scene, 7.0, noise_seed, size)) for noise_seed in range(1, 6))


@pytest.mark.parametrize("size", SIZES)
def test_one_part_that_moves_by_a_hundredth_of_the_height_is_a_change(size: tuple[int, int]) -> None:
    scenes = [scene for seed in range(12) if (scene := random_scene(seed)).parts]
    for scene in scenes:
        moved = replace(scene, parts=(*scene.parts[:-1], replace(scene.parts[-1], x=scene.parts[-1].x + 0.01)))
        assert remembering(still(scene, 7.0, 0, size)).changed(still(moved, 7.0, 1, size))


@pytest.mark.parametrize("size", SIZES)
def test_a_part_that_comes_is_a_change(size: tuple[int, int]) -> None:
    scene = replace(random_scene(3), parts=(), labels=())
    more = replace(scene, parts=(Part("washer", "blue", 0.7, 0.5, 0.04, 0.0),))
    assert remembering(still(scene, 7.0, 0, size)).changed(still(more, 7.0, 1, size))


def test_every_frame_of_the_moving_belt_is_a_change() -> None:
    frames = [view.image for _, view in zip(range(40), views(Clip()), strict=False)]
    assert all(remembering(before).changed(after) for before, after in pairwise(frames))


def test_a_slow_change_adds_up_until_it_is_seen() -> None:
    pictures = [np.full((240, 320, 3), level, np.uint8) for level in range(100, 120)]
    detector = remembering(pictures[0])
    changed = [detector.changed(picture) for picture in pictures]
    assert changed.index(True) == 10
    assert all(changed[10:])


def test_a_colour_that_is_as_bright_is_a_change() -> None:
    # OpenCV's grey of both is the same.
    red, green = np.full((240, 320, 3), (0, 0, 118), np.uint8), np.full((240, 320, 3), (0, 60, 0), np.uint8)
    assert cv2.cvtColor(red, cv2.COLOR_BGR2GRAY)[0, 0] == cv2.cvtColor(green, cv2.COLOR_BGR2GRAY)[0, 0]
    assert remembering(red).changed(green)


def test_a_thing_of_a_block_is_seen_wherever_it_lies() -> None:
    plain = np.full((1080, 1920, 3), 100, np.uint8)
    detector = remembering(plain)
    width, height = 1920 // BLOCKS[0], 1080 // BLOCKS[1]
    for left, top in ((400, 400), (420, 420), (1879, 1039), (0, 0)):
        picture = plain.copy()
        picture[top : top + height, left : left + width] = 150
        assert detector.changed(picture)


def test_the_first_picture_and_another_size_are_changes() -> None:
    picture = np.zeros((240, 320, 3), np.uint8)
    detector = ChangeDetector()
    assert detector.changed(picture)
    detector.remember(picture)
    assert not detector.changed(picture)
    assert detector.changed(np.zeros((480, 640, 3), np.uint8))


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 4000, 3), (4320, 8, 3), (361, 7, 3)])
def test_any_size_can_be_compared(shape: tuple[int, int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    detector = remembering(picture)
    assert not detector.changed(picture)
    assert detector.changed(255 - picture)
