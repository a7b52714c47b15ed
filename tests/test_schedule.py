"""Whose turn it is, by a virtual clock: rates, priorities, fair turns, and which prompts are due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palijet.runtime.watch.condition import parse_condition
from palijet.runtime.watch.schedule import Schedule
from palijet.runtime.watch.watched import Prompt, WatchedCamera

EVERY_FRAME = (Prompt("caption"),)


def camera(
    name: str, fps: float | None = None, priority: int = 0, prompts: tuple[Prompt, ...] = EVERY_FRAME
) -> WatchedCamera:
    return WatchedCamera(name, "0", prompts, fps=fps, priority=priority)


def schedule(*cameras: WatchedCamera) -> Schedule:
    made = Schedule()
    made.watch(cameras)
    return made


def names(count: int) -> list[str]:
    return [f"camera-{number}" for number in range(count)]


def turns(made: Schedule, ready: Sequence[str], rounds: int, most: int, step_s: float) -> Counter[str]:
    """Of so many rounds with frames always there."""
    taken: Counter[str] = Counter()
    for number in range(rounds):
        taken.update(made.due(number * step_s, ready, most))
    return taken


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(1, 20),
    most=st.integers(1, 8),
    steps=st.lists(st.floats(0, 2), min_size=1, max_size=100),
)
def test_cameras_of_one_priority_get_their_share_within_one(count: int, most: int, steps: list[float]) -> None:
    made = schedule(*(camera(name) for name in names(count)))
    taken: Counter[str] = Counter(dict.fromkeys(names(count), 0))
    now = 0.0
    for step_s in steps:
        now += step_s
        chosen = made.due(now, names(count), most)
        assert len(chosen) == len(set(chosen)) == min(most, count)
        taken.update(chosen)
        assert max(taken.values()) - min(taken.values()) <= 1


@settings(deadline=None, max_examples=50)
@given(
    rates=st.lists(st.floats(0.2, 30), min_size=1, max_size=6),
    frame_rate=st.floats(30, 60),
)
def test_each_camera_keeps_its_rate_within_one_percent_over_a_long_time(rates: list[float], frame_rate: float) -> None:
    cameras = [camera(name, fps=fps) for name, fps in zip(names(len(rates)), rates, strict=True)]
    seconds = 120 / min(rates)
    rounds = min(6_000, int(seconds * frame_rate))
    taken = turns(schedule(*cameras), names(len(rates)), rounds, most=len(rates), step_s=1 / frame_rate)
    for one in cameras:
        expected = rounds / frame_rate * float(one.fps or 0)
        assert abs(taken[one.name] - expected) <= 0.01 * expected + 1


def test_a_rate_does_not_drift_when_frames_come_late() -> None:
    made = schedule(camera("a", fps=10))
    moments = [number / 30 + 0.003 for number in range(3000)]  # of frames, 30 per second: no multiple of a tenth
    taken = [now for now in moments if made.due(now, ["a"], 1)]
    assert len(taken) == 1000
    assert max(later - before for before, later in pairwise(taken)) < 0.14


def test_after_a_pause_turns_that_were_missed_are_not_made_up_for() -> None:
    made = schedule(camera("a", fps=2))
    assert made.due(0.0, ["a"], 1) == ["a"]
    assert made.due(60.0, ["a"], 1) == ["a"]
    assert made.due(60.1, ["a"], 1) == []
    assert made.due(60.4, ["a"], 1) == []
    assert made.due(60.5, ["a"], 1) == ["a"]


def test_a_camera_that_is_never_ready_holds_up_nobody_and_gathers_no_claim() -> None:
    made = schedule(camera("dead"), camera("a"), camera("b"))
    assert turns(made, ["a", "b"], rounds=100, most=1, step_s=0.1) == {"a": 50, "b": 50}
    later = [made.due(10 + number / 10, ["dead", "a", "b"], 1) for number in range(9)]
    assert Counter(name for chosen in later for name in chosen) == {"dead": 3, "a": 3, "b": 3}


def test_a_higher_priority_goes_first() -> None:
    made = schedule(camera("low"), camera("high", priority=5), camera("middle", priority=2))
    assert made.due(0.0, ["low", "high", "middle"], 2) == ["high", "middle"]


@pytest.mark.parametrize("difference", [1, 3, 10])
def test_a_low_priority_has_its_turn_after_as_many_seconds_as_the_priorities_differ(difference: int) -> None:
    made = schedule(camera("low"), camera("high", priority=difference))
    moments = [number / 10 for number in range(1000)]
    low = [now for now in moments if made.due(now, ["low", "high"], 1) == ["low"]]
    gaps = [later - before for before, later in pairwise(low)]
    assert len(low) >= 100 / (difference + 0.5) - 1
    assert max(gaps) <= difference + 0.5
    assert min(gaps) >= difference - 0.5


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_no_camera_that_is_ready_waits_for_ever(data: st.DataObject) -> None:
    priorities = data.draw(st.lists(st.integers(-5, 5), min_size=2, max_size=8))
    most = data.draw(st.integers(1, 3))
    made = schedule(*(camera(name, priority=one) for name, one in zip(names(len(priorities)), priorities, strict=True)))
    last = dict.fromkeys(names(len(priorities)), 0.0)
    for number in range(600):
        now = number * 0.2
        for name in made.due(now, names(len(priorities)), most):
            last[name] = now
        longest = max(priorities) - min(priorities) + 0.2 * (len(priorities) + 1)
        assert all(now - before <= longest for before in last.values())


def test_a_limited_camera_claims_nothing_while_its_rate_holds_it_back() -> None:
    made = schedule(camera("seldom", fps=0.1), camera("often", priority=1))
    assert made.due(0.0, ["seldom", "often"], 1) == ["often"]
    moments = [number / 10 for number in range(1, 500)]
    seldom = [now for now in moments if made.due(now, ["seldom", "often"], 1) == ["seldom"]]
    assert seldom == pytest.approx([1, 12, 22, 32, 42], abs=0.15)  # a second after its rate allows it


def test_the_next_turn_is_when_the_first_rate_allows_it() -> None:
    made = schedule(camera("a", fps=2), camera("b", fps=4))
    assert made.next_due(0.0, []) is None
    assert made.next_due(0.0, ["a"]) == 0.0
    made.due(0.0, ["a", "b"], 2)
    assert made.next_due(0.1, ["a", "b"]) == 0.25
    assert made.next_due(0.1, ["a"]) == 0.5
    assert made.next_due(0.7, ["a"]) == 0.7


def test_cameras_that_stay_as_they_are_keep_their_rate_over_a_reload() -> None:
    a, b = camera("a", fps=1), camera("b", fps=1)
    made = schedule(a, b)
    made.due(0.0, ["a", "b"], 2)
    made.watch([replace(b, fps=5), a, camera("c")])
    assert set(made.due(0.5, ["a", "b", "c"], 3)) == {"b", "c"}
    assert made.due(1.0, ["a"], 3) == ["a"]


def test_prompts_are_due_at_their_own_rates() -> None:
    often, seldom = Prompt("detect part"), Prompt("caption", every_s=10)
    made = schedule(camera("a", prompts=(often, seldom)))
    asked = Counter(prompt.text for second in range(101) for prompt in made.prompts_due("a", float(second)))
    assert asked == {"detect part": 101, "caption": 11}


def test_a_camera_is_not_due_until_one_of_its_prompts_is() -> None:
    made = schedule(camera("a", prompts=(Prompt("caption", every_s=10), Prompt("ocr", every_s=15))))
    moments = []
    for second in range(31):
        if made.due(float(second), ["a"], 1):
            moments.append((second, [prompt.text for prompt in made.prompts_due("a", float(second))]))
    assert moments == [
        (0, ["caption", "ocr"]),
        (10, ["caption"]),
        (15, ["ocr"]),
        (20, ["caption"]),
        (30, ["caption", "ocr"]),
    ]
    assert made.next_due(30.5, ["a"]) == 40


def test_the_seconds_of_a_prompt_with_a_condition_begin_when_it_was_asked() -> None:
    count = Prompt("how many people")
    caption = Prompt("caption", every_s=10, when=parse_condition('"how many people" > 0'))
    made = schedule(camera("a", prompts=(count, caption)))
    for now in (0.0, 1.0, 2.0):  # its condition does not hold: it stays due
        assert made.prompts_due("a", now) == (count, caption)
    made.asked("a", caption, 2.0)
    assert made.prompts_due("a", 11.0) == (count,)
    assert made.prompts_due("a", 12.0) == (count, caption)


def test_a_prompt_of_a_camera_that_is_gone_may_still_be_asked() -> None:
    made = schedule(camera("a"))
    made.watch([])
    made.asked("a", EVERY_FRAME[0], 1.0)
    assert made.due(1.0, [], 1) == []
