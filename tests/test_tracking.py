"""Ids of objects along the demo's belt, where the truth is known, and what zones and lines count; supervision's as the judge."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from stream_results import stream_result

import palijet
from palijet.demo.clip import Clip, views
from palijet.demo.drawing import View
from palijet.runtime.errors import InputError
from palijet.runtime.result import DetectedObject, StreamResult, ZoneCount
from palijet.runtime.tracking import Line, Tracker, Zone

pytest.importorskip("trackers", reason="trackers is not installed: pip install 'palijet[tracking]'")
supervision = pytest.importorskip(
    "supervision", reason="supervision is not installed: pip install 'palijet[detections]'"
)

Box = tuple[float, float, float, float]
CLIP = Clip(width=320, height=240)
MIDDLE = Line("middle", (0.5, 0), (0.5, 1))  # downwards, so what goes to the left enters
THIRD = Line("third", (0.3, 1), (0.3, 0))  # upwards, so what goes to the left leaves
LEFT = Zone("left", ((0, 0), (0.5, 0), (0.5, 1), (0, 1)))


@dataclass(frozen=True)
class Truth:
    """The parts in a frame: which one it is of those on the belt, its name, its box in pixels."""

    number: int
    name: str
    box: Box


@pytest.fixture(scope="module")
def clip() -> list[tuple[View, list[Truth]]]:
    """Every frame of the demo's clip, with the parts told apart by their places on the belt, whose speed is known."""
    known: list[tuple[str, str, float, float]] = []  # name, colour, place on the belt
    frames = []
    for index, view in enumerate(views(CLIP)):
        truth = []
        for part in view.parts:
            y0, x0, y1, x1 = part.box
            along, across = (x0 + x1) / 2 * CLIP.width / CLIP.height + index * CLIP.speed, (y0 + y1) / 2
            same = [
                number
                for number, (name, colour, x, y) in enumerate(known)
                if (name, colour) == (part.name, part.colour) and abs(x - along) < 0.16 and abs(y - across) < 0.15
            ]
            number = same[-1] if same else len(known)
            place = (part.name, part.colour, along, across)
            if not same:
                known.append(place)
            elif x0 > 0 and x1 < 1:  # whole, so its middle is its place
                known[number] = place
            box = (x0 * CLIP.width, y0 * CLIP.height, x1 * CLIP.width, y1 * CLIP.height)
            truth.append(Truth(number, part.name, box))
        assert len({part.number for part in truth}) == len(truth)
        frames.append((view, truth))
    return frames


def result(index: int, objects: Iterable[DetectedObject], at_s: float | None = None) -> StreamResult:
    at_s = index / CLIP.fps if at_s is None else at_s
    return stream_result(objects=tuple(objects), index=index, at_s=at_s, size=(CLIP.width, CLIP.height))


def thing(*box: float, label: str = "part") -> DetectedObject:
    x0, y0, x1, y1 = box
    return DetectedObject(label, (x0, y0, x1, y1), 0.5)


def true_objects(truth: Sequence[Truth]) -> list[DetectedObject]:
    return [thing(*part.box) for part in truth]


def follow(
    tracker: Tracker, frames: Iterable[tuple[int, list[DetectedObject]]], truth: Callable[[int], Sequence[Truth]]
) -> tuple[dict[int, list[int]], tuple[ZoneCount, ...]]:
    """For each true part the ids of the boxes upon it, frame after frame, and the counts in the end."""
    ids: dict[int, list[int]] = defaultdict(list)
    counts: tuple[ZoneCount, ...] = ()
    for index, objects in frames:
        answer = tracker.update(result(index, objects))
        assert [(one.label, one.box) for one in answer.objects] == [(one.label, one.box) for one in objects]
        counts = answer.zones
        for one in answer.objects:
            best = max(truth(index), key=lambda part: overlap(part.box, one.box), default=None)
            if one.track_id is not None and best is not None and overlap(best.box, one.box) > 0.5:
                ids[best.number].append(one.track_id)
    return ids, counts


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    return float(supervision.box_iou_batch(np.array([one]), np.array([other]))[0, 0])


def crossings(frames: Iterable[Sequence[Truth]], x: float) -> int:
    """True parts that were wholly right of x, a fraction, and are wholly left of it later."""
    right, crossed = set(), set()
    for truth in frames:
        right |= {part.number for part in truth if part.box[0] > x * CLIP.width}
        crossed |= right & {part.number for part in truth if part.box[2] < x * CLIP.width}
    return len(crossed)


@pytest.mark.parametrize("every", [1, 3, 5, 8])
def test_a_part_keeps_its_id_along_the_belt_and_crosses_each_line_once(
    clip: list[tuple[View, list[Truth]]], every: int
) -> None:
    indices = range(0, len(clip), every)
    tracker = Tracker(zones=[LEFT], lines=[MIDDLE, THIRD])
    ids, (left, middle, third) = follow(
        tracker, [(index, true_objects(clip[index][1])) for index in indices], lambda index: clip[index][1]
    )
    assert len(ids) == 10
    assert all(len(set(found)) == 1 for found in ids.values())
    assert len({found[0] for found in ids.values()}) == len(ids)
    shown = [clip[index][1] for index in indices]
    assert (middle.entered, middle.left) == (crossings(shown, 0.5), 0)
    assert (third.entered, third.left) == (0, crossings(shown, 0.3))
    assert crossings(shown, 0.5) == 9
    assert left.inside == left.entered - left.left


def test_frames_may_come_irregularly(clip: list[tuple[View, list[Truth]]]) -> None:
    chance = random.Random(3)
    indices = [index for index in range(len(clip)) if chance.random() < 0.3]
    ids, (count,) = follow(
        Tracker(lines=[MIDDLE]),
        [(index, true_objects(clip[index][1])) for index in indices],
        lambda index: clip[index][1],
    )
    assert all(len(set(found)) == 1 for found in ids.values())
    assert count.entered == crossings([clip[index][1] for index in indices], 0.5)


@pytest.mark.parametrize("missed", [0.1, 0.3])
def test_boxes_that_are_missed_now_and_then_change_neither_ids_nor_counts(
    clip: list[tuple[View, list[Truth]]], missed: float
) -> None:
    chance = random.Random(7)
    frames = [
        (index, [one for one in true_objects(truth) if chance.random() > missed])
        for index, (_, truth) in enumerate(clip)
    ]
    ids, (count,) = follow(Tracker(lines=[MIDDLE]), frames, lambda index: clip[index][1])
    assert all(len(set(found)) == 1 for found in ids.values())
    assert count.entered == crossings([truth for _, truth in clip], 0.5)


def test_zones_and_lines_count_as_supervision_counts_with_the_true_ids(clip: list[tuple[View, list[Truth]]]) -> None:
    size = np.array([CLIP.width, CLIP.height])
    zone = supervision.PolygonZone((np.array(LEFT.polygon) * size).astype(int), [supervision.Position.CENTER])
    ours = Line(
        "ours", (0.503, 0), (0.503, 1)
    )  # between two pixels: supervision has its own view of a box that touches
    line = supervision.LineZone(*(supervision.Point(*(np.array(end) * size)) for end in (ours.start, ours.end)))
    tracker = Tracker(zones=[LEFT], lines=[ours])
    for index, (_, truth) in enumerate(clip):
        inside, crossed = tracker.update(result(index, true_objects(truth))).zones
        boxes = np.array([part.box for part in truth]).reshape(-1, 4)
        detections = supervision.Detections(boxes, tracker_id=np.array([part.number for part in truth], int))
        zone.trigger(detections)
        line.trigger(detections)
        assert (crossed.entered, crossed.left) in [(line.in_count, line.out_count), (line.out_count, line.in_count)]
        recently = {part.number for _, earlier in clip[max(0, index - 30) : index + 1] for part in earlier}
        shown = {part.number for part in truth}
        assert zone.current_count <= inside.inside <= zone.current_count + len(recently - shown)


def test_labels_are_kept_apart() -> None:
    tracker = Tracker()
    for index in range(4):
        tracker.update(result(index, [thing(10, 10, 60, 60, label="bolt")]))
    (bolt,) = tracker.update(result(4, [thing(10, 10, 60, 60, label="bolt")])).objects
    for index in range(5, 9):
        (nut,) = tracker.update(result(index, [thing(10, 10, 60, 60, label="nut")])).objects
    assert bolt.track_id is not None
    assert nut.track_id not in (None, bolt.track_id)


def test_an_object_has_an_id_from_its_second_sight_on() -> None:
    tracker = Tracker()
    (first,) = tracker.update(result(0, [thing(10, 10, 60, 60)])).objects
    (second,) = tracker.update(result(1, [thing(10, 10, 60, 60)])).objects
    assert (first.track_id, second.track_id) == (None, 1)


def test_a_thing_that_an_answer_names_twice_is_followed_once() -> None:
    tracker = Tracker(zones=[LEFT])
    for index in range(6):
        boxes = [thing(10, 10, 60, 60), thing(11, 10, 60, 60)] if index % 2 else [thing(10, 10, 60, 60)]
        answer = tracker.update(result(index, boxes))
        assert len(answer.objects) == len(boxes)
    assert [one.track_id for one in answer.objects if one.track_id] == [1]
    assert answer.zones == (ZoneCount("left", 1, 1, 0),)


@pytest.mark.parametrize("interval_s", [0.04, 0.5, 10.0])
def test_a_missing_object_is_remembered_at_any_rate_and_forgotten_in_the_end(interval_s: float) -> None:
    tracker = Tracker(zones=[LEFT])
    at_s = 0.0

    def look(*objects: DetectedObject) -> StreamResult:
        nonlocal at_s
        at_s += interval_s
        return tracker.update(result(0, objects, at_s))

    for _ in range(10):
        look(thing(10, 10, 60, 60))
    for _ in range(3):
        assert look().zones == (ZoneCount("left", 1, 1, 0),)
    assert look(thing(10, 10, 60, 60)).objects[0].track_id == 1
    for _ in range(round(max(1.0, 5 * interval_s) / interval_s) + 2):
        last = look()
    assert last.zones == (ZoneCount("left", 0, 1, 1),)
    look(thing(10, 10, 60, 60))
    assert look(thing(10, 10, 60, 60)).objects[0].track_id == 2


@pytest.mark.filterwarnings("error")
def test_a_wall_clock_that_is_set_back_or_stands_changes_no_id() -> None:
    tracker = Tracker()
    moments = [0.0, 0.1, 0.2, -3600.0, -3599.9, -3599.9, -3599.8]
    ids = [tracker.update(result(0, [thing(10, 10, 60, 60)], at_s)).objects[0].track_id for at_s in moments]
    assert ids == [None, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_wall_clock_that_is_set_changes_neither_ids_nor_counts(jump_s: float) -> None:
    tracker = Tracker(zones=[LEFT])
    ids = []
    for index in range(20):
        at_s = index * 0.1
        shown = result(index, [thing(10, 10, 60, 60)], at_s + (jump_s if index >= 10 else 0))
        answer = tracker.update(shown, captured_monotonic=at_s)
        ids.append(answer.objects[0].track_id)
    assert ids == [None, *[1] * 19]
    assert answer.zones == (ZoneCount("left", 1, 1, 0),)


@pytest.mark.filterwarnings("error")
def test_answers_without_objects_are_followed_too() -> None:
    tracker = Tracker(zones=[LEFT], lines=[MIDDLE])
    for index in range(3):
        assert tracker.update(result(index, [])).zones == (ZoneCount("left", 0, 0, 0), ZoneCount("middle", 0, 0, 0))


def test_a_crossing_behind_a_gap_is_counted_and_one_past_the_end_of_the_line_is_not() -> None:
    line = Line("short", (0.5, 0.0), (0.5, 0.5))
    tracker = Tracker(lines=[line])
    for index in range(40):
        x = 300 - 6 * index
        seen = [thing(x - 20, 20, x + 20, 80), thing(x - 20, 150, x + 20, 210)]
        answer = tracker.update(result(index, [] if 16 < index < 30 else seen))
    assert answer.zones == (ZoneCount("short", 0, 1, 0),)


def test_what_goes_forth_and_back_has_entered_and_left() -> None:
    tracker = Tracker(zones=[LEFT], lines=[MIDDLE])
    path = [*range(250, 60, -5), *range(60, 250, 5)]
    answers = [tracker.update(result(index, [thing(x - 20, 90, x + 20, 150)])) for index, x in enumerate(path)]
    assert answers[-1].zones == (ZoneCount("left", 0, 1, 1), ZoneCount("middle", 0, 1, 1))
    for before, after in pairwise(answers):
        assert all(
            one.entered <= other.entered and one.left <= other.left
            for one, other in zip(before.zones, after.zones, strict=True)
        )


def test_zones_hold_whatever_the_size_of_the_picture() -> None:
    tracker = Tracker(zones=[Zone("corner", ((0.5, 0.5), (1, 0.5), (1, 1), (0.5, 1)))])
    for index in range(3):
        tracker.update(result(index, [thing(200, 150, 260, 200)]))
    larger = replace(result(3, [thing(400, 300, 520, 400)]), image_size=(640, 480))
    assert tracker.update(larger).zones[0].inside == 1


@pytest.mark.parametrize(("anchor", "inside"), [("center", 0), ("bottom", 1)])
def test_a_zone_looks_at_the_middle_of_a_box_or_at_its_foot(anchor: str, inside: int) -> None:
    floor = Zone("floor", ((0, 0.8), (1, 0.8), (1, 1), (0, 1)), anchor)  # type: ignore[arg-type]
    tracker = Tracker(zones=[floor])
    for index in range(3):
        answer = tracker.update(result(index, [thing(100, 60, 140, 220)]))
    assert answer.zones[0].inside == inside


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Zone("z", ((0, 0), (1, 1))), "polygon of zone z has 2 corners; give three or more"),
        (lambda: Zone("z", ((0, 0), (1, 0), (640, 480))), "has the point 640, 480; give fractions"),
        (lambda: Line("l", (0, 0), (0, 2)), "to of line l has the point 0, 2; give fractions"),
        (lambda: Line("l", (0.5, 0.5), (0.5, 0.5)), "to of line l is where it begins"),
    ],
)
def test_a_zone_or_line_that_is_none_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 5])
def test_the_models_own_boxes_keep_their_ids_and_cross_the_lines_as_often_as_the_truth(
    clip: list[tuple[View, list[Truth]]], model: palijet.Model, every: int
) -> None:
    frames = []
    for index, view in enumerate(views(replace(CLIP, width=640, height=480))):
        if index % every == 0:
            found = model.predict(view.image, "detect part").objects
            frames.append((index, [thing(*(edge / 2 for edge in one.box)) for one in found]))
    ids, counts = follow(Tracker(lines=[MIDDLE, THIRD]), frames, lambda index: clip[index][1])
    assert [count.entered + count.left for count in counts] == [9, 8]
    kept = [Counter(found).most_common(1)[0][1] for found in ids.values()]
    assert sum(kept) >= 0.98 * sum(len(found) for found in ids.values())
    assert len(ids) == 10
