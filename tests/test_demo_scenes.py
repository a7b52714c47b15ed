"""The drawn scenes: the same everywhere, and true to what they say is in them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from palijet.demo import clip, drawing, evaluate, glyphs, questions, scene
from palijet.demo.clip import Clip


def test_a_seed_always_draws_the_same_frame() -> None:
    first = drawing.draw(scene.random_scene(11))
    again = drawing.draw(scene.random_scene(11))
    assert np.array_equal(first.image, again.image)
    assert first.parts == again.parts
    assert first.labels == again.labels


def test_seeds_draw_unlike_frames() -> None:
    views = [drawing.draw(scene.random_scene(seed)) for seed in range(20)]
    assert len({view.image.tobytes() for view in views}) == 20


@pytest.mark.parametrize("size", [(320, 240), (640, 480), (1280, 960)])
def test_boxes_bound_the_pixels_of_their_object(size: tuple[int, int]) -> None:
    width, height = size
    for seed in range(12):
        view = drawing.draw(scene.random_scene(seed), width, height)
        for index, seen in enumerate(view.parts + view.labels):
            rows, columns = np.nonzero(view.owner == index)
            assert seen.box == pytest.approx(
                (
                    rows.min() / height,
                    columns.min() / width,
                    (rows.max() + 1) / height,
                    (columns.max() + 1) / width,
                )
            )


def test_a_part_shows_its_own_colour() -> None:
    """The middle tone of a part's pixels leans to the named colour, whatever the light."""
    checked = 0
    for seed in range(60):
        view = drawing.draw(scene.random_scene(seed))
        for index, part in enumerate(view.parts):
            blue, green, red = np.median(view.image[view.owner == index].astype(float), axis=0)
            expected = {
                "red": red > 1.8 * max(green, blue),
                "green": green > 1.4 * max(red, blue),
                "blue": blue > 1.4 * max(red, green),
                "yellow": min(red, green) > 1.8 * blue,
                "white": max(red, green, blue) < 1.35 * min(red, green, blue),
            }
            assert expected[part.colour], (seed, part, (blue, green, red))
            checked += 1
    assert checked > 80


def test_painting_a_part_changes_only_its_surroundings() -> None:
    """Where `owner` marks it, the picture differs from the same scene without the part."""
    full = scene.random_scene(5)
    assert full.parts
    without = scene.Scene(full.parts[:-1], full.labels, full.belt, full.light, full.camera)
    with_part, empty = drawing.draw(full), drawing.draw(without)
    difference = np.abs(with_part.image.astype(int) - empty.image.astype(int)).max(axis=2) > 40
    x0 = full.parts[-1].x / scene.FRAME_WIDTH
    number = min(
        range(len(with_part.parts)),
        key=lambda i: abs((with_part.parts[i].box[1] + with_part.parts[i].box[3]) / 2 - x0),
    )
    mask = with_part.owner == number
    assert (difference & mask).sum() > 0.9 * mask.sum()
    rows, columns = np.nonzero(mask)
    outside = difference.copy()
    top, left = max(rows.min() - 12, 0), max(columns.min() - 12, 0)
    outside[top : rows.max() + 13, left : columns.max() + 13] = False
    assert not outside.any()


def test_scenes_vary_as_promised() -> None:
    scenes = [scene.random_scene(seed) for seed in range(300)]
    assert {len(s.parts) for s in scenes} == set(range(scene.MAX_PARTS + 1))
    assert {part.shape for s in scenes for part in s.parts} == set(scene.SHAPES)
    assert {part.colour for s in scenes for part in s.parts} == set(scene.COLOURS)
    serials = [label.serial for s in scenes for label in s.labels]
    assert len(set(serials)) == len(serials)
    assert any(c.isdigit() for c in "".join(serials))
    assert any(c.isalpha() for c in "".join(serials))


def test_every_task_is_asked_and_answers_differ_between_scenes() -> None:
    answers: dict[str, set[str]] = {}
    for seed in range(80):
        for question in evaluate.questions_about(seed)[1]:
            answers.setdefault(question.task, set()).add(question.answer)
    assert set(answers) == set(questions.TASKS)
    assert answers["presence"] == {"yes", "no"}
    assert answers["colour"] == set(scene.COLOURS)
    assert {"0", "1", "2"} <= answers["count"]
    assert all(len(answers[task]) > 20 for task in ("caption", "ocr", "detect", "detect_two"))


def test_objects_are_detected_from_left_to_right_in_loc_tokens() -> None:
    near = drawing.Seen("bolt", "red", "", (0.25, 0.0, 0.5, 0.125))
    far = drawing.Seen("gear", "blue", "", (0.0, 0.5, 1.0, 1.0))
    both = questions.detect((near, far), (), "gear", "bolt")
    assert both.prompt == "detect gear ; bolt"
    assert both.answer == ("<loc0000><loc0512><loc1023><loc1023> gear ; <loc0256><loc0000><loc0512><loc0128> bolt")
    assert questions.detect((near, far), (), "part").answer.count("part") == 2
    assert questions.detect((near,), (), "washer").answer == ""


def test_every_character_of_a_serial_looks_different() -> None:
    dots = {glyphs.text_dots(character).tobytes() for character in glyphs.CHARACTERS}
    assert len(dots) == len(glyphs.CHARACTERS)


def test_parts_of_the_clip_enter_move_and_leave() -> None:
    views = list(clip.views(Clip(frames=300, width=160, height=120)))
    assert len(views) == 300
    counts = [len(view.parts) for view in views]
    assert len(set(counts)) > 2
    assert max(counts) <= scene.MAX_PARTS
    assert max(len(view.labels) for view in views) == 1
    # Of one and the same part in two frames in a row, the middle moves to the left.
    for before, after in pairwise(views):
        if [part.name for part in before.parts] == [part.name for part in after.parts]:
            for old, new in zip(before.parts, after.parts, strict=True):
                assert new.box[1] + new.box[3] <= old.box[1] + old.box[3] + 1e-6
