"""The watchdog judges by a virtual clock: silence, frozen and blank pictures, failures, and what never may be called live."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from palijet.runtime.cameras.options import CameraOptions
from palijet.runtime.cameras.watchdog import Live, Lost, Over, Stale, Verdict, Waiting, Watchdog
from palijet.runtime.capture.protocol import LASTING, Captured, Ended, Failed, Opened

OPTIONS = CameraOptions(connect_s=10, silence_s=4, frozen_s=60, blank_s=30, longest_wait_s=20)
OPENED = Opened(640, 480, 30, "gstreamer")


def frame(digest: int, mean: float = 100, deviation: float = 50, width: int = 640) -> Captured:
    return Captured(0, 0, width, 480, 0, 0, digest, mean, deviation)


def watchdog(now: float = 0.0, options: CameraOptions = OPTIONS, seed: int = 1) -> Watchdog:
    made = Watchdog(options, Random(seed))
    made.begin(now)
    return made


def play(dog: Watchdog, frames: Iterable[Captured], start: float, step_s: float = 0.1) -> tuple[Verdict, float]:
    """Frames at a rate, until they end or the connection is lost; the last verdict and its moment."""
    now, verdict = start, dog.verdict(start)
    for one in frames:
        dog.hear(one, now)
        verdict = dog.verdict(now)
        if isinstance(verdict, Lost):
            break
        now += step_s
    return verdict, now


def test_a_connection_without_a_frame_waits_and_is_lost() -> None:
    dog = watchdog(100)
    dog.hear(OPENED, 101)
    assert dog.verdict(109.9) == Waiting()
    assert dog.next_look_s(109.5) == 0.5
    assert dog.verdict(110) == Lost("no frame came within 10 s")


def test_silence_makes_stale_and_then_lost() -> None:
    dog = watchdog()
    dog.hear(frame(1), 5)
    assert dog.verdict(6.9) == Live()
    assert dog.next_look_s(6) == 1
    assert dog.verdict(7) == Stale("no frame for 2 s")
    assert dog.next_look_s(7) == 2
    assert dog.verdict(9) == Lost("no frame for 4 s")


def test_a_frame_after_silence_makes_live_again() -> None:
    dog = watchdog()
    dog.hear(frame(1), 0)
    assert isinstance(dog.verdict(3), Stale)
    dog.hear(frame(2), 3.5)
    assert dog.verdict(3.5) == Live()


def test_the_same_bytes_for_long_are_stale_and_connected_anew() -> None:
    dog = watchdog()
    frames = (frame(7) for _ in range(10_000))
    verdict, now = play(dog, (next(frames) for _ in range(600)), 0)
    assert verdict == Live()
    verdict, now = play(dog, (next(frames) for _ in range(2)), now)
    assert isinstance(verdict, Stale)
    assert verdict.reason == "the picture has been frozen for 60 s"
    verdict, now = play(dog, frames, now)
    assert isinstance(verdict, Lost)
    assert now <= 60.2 + OPTIONS.longest_wait_s


def test_one_other_picture_ends_a_freeze() -> None:
    dog = watchdog()
    assert isinstance(play(dog, [frame(7)] * 601, 0)[0], Stale)
    dog.hear(frame(8), 60.2)
    assert dog.verdict(60.2) == Live()


def test_black_and_grey_are_told_apart_and_a_dim_scene_is_neither() -> None:
    for mean, deviation, reason in ((3, 1, "all black"), (128, 1, "all grey"), (250, 0, "all white")):
        verdict, _ = play(watchdog(), (frame(i, mean, deviation) for i in range(302)), 0)
        assert isinstance(verdict, Stale)
        assert reason in verdict.reason
    assert play(watchdog(), (frame(i, 8, 5) for i in range(3000)), 0)[0] == Live()


def test_detectors_can_be_switched_off() -> None:
    options = replace(OPTIONS, frozen_s=0, blank_s=0)
    assert play(watchdog(options=options), [frame(7, 0, 0)] * 10_000, 0)[0] == Live()


def test_a_dark_night_is_stale_throughout_and_connected_anew_ever_more_seldom() -> None:
    dog = watchdog()
    now, night_s, lost_at = 0.0, 12 * 3600.0, []
    while now < night_s:
        dog.begin(now)
        now += 0.5
        dog.hear(frame(round(now * 2), 2, 1), now)
        if lost_at:
            assert isinstance(dog.verdict(now), Stale), "a dark picture is not live again for being connected anew"
        frames = (frame(round(now * 2) + i, 2, 1) for i in range(int((night_s - now) * 2) + 1))
        verdict, now = play(dog, frames, now, step_s=0.5)
        if isinstance(verdict, Lost):
            lost_at.append(now)
    assert 5 < len(lost_at) < 60
    in_the_first_hour = sum(moment < 3600 for moment in lost_at)
    in_the_last_hour = sum(moment > night_s - 3600 for moment in lost_at)
    assert in_the_last_hour < in_the_first_hour
    dog.hear(frame(1), now)
    assert dog.verdict(now) == Live(), "in the morning"


def test_after_a_long_healthy_time_trouble_is_met_promptly_again() -> None:
    dog = watchdog()
    now = 0.0
    for _ in range(12):  # in trouble, and ever more patient
        dog.begin(now)
        _, now = play(dog, [frame(7)] * 2000 * 60, now, step_s=1)
    dog.begin(now)
    _, now = play(dog, (frame(i) for i in range(200)), now, step_s=1)
    verdict, end = play(dog, [frame(1000)] * 100_000, now, step_s=1)
    assert isinstance(verdict, Lost)
    assert end - now <= OPTIONS.frozen_s + OPTIONS.longest_wait_s + 1


def test_black_before_and_after_an_outage_is_not_black_throughout() -> None:
    dog = watchdog()
    dog.hear(frame(1, 0, 0), 0)
    assert isinstance(dog.verdict(4), Lost)
    dog.begin(1000)
    dog.hear(frame(1, 0, 0), 1001)
    assert dog.verdict(1001) == Live()


def test_failures_are_lost_and_the_lasting_ones_say_so() -> None:
    for kind in ("credentials", "unreachable", "no-video", "codec", "plugin", "decode", "device", "region", "other"):
        dog = watchdog()
        dog.hear(Failed(kind, "a sentence"), 1)
        assert dog.verdict(1) == Lost("a sentence", lasting=kind in LASTING)


def test_the_end_is_over_even_after_silence() -> None:
    dog = watchdog()
    dog.hear(frame(1), 0)
    dog.hear(Ended("the stream ended"), 1)
    assert dog.verdict(100) == Over("the stream ended")


events = st.one_of(
    st.just("begin"),
    st.builds(frame, st.integers(0, 1), st.sampled_from([0.0, 100.0]), st.sampled_from([0.0, 50.0])),
    st.just(OPENED),
    st.builds(Failed, st.sampled_from(["credentials", "decode"]), st.just("a sentence")),
    st.none(),
)


@given(st.lists(st.tuples(st.floats(0, 100), events)), st.integers())
def test_it_is_never_live_without_a_recent_frame_and_never_asleep_past_a_change(
    steps: list[tuple[float, object]], seed: int
) -> None:
    dog = watchdog(seed=seed)
    now, last_frame = 0.0, None
    for after_s, event in steps:
        # What nothing but time changes, changes at the moment that was foretold.
        before, foretold = dog.verdict(now), now + dog.next_look_s(now)
        if now + after_s < foretold - 1e-6 and not isinstance(before, Lost):
            assert type(dog.verdict(now + after_s)) is type(before)
        now += after_s
        if event == "begin":
            dog.begin(now)
            last_frame = None
        elif event is not None:
            dog.hear(event, now)  # type: ignore[arg-type]
            last_frame = now if isinstance(event, Captured) else last_frame
        verdict = dog.verdict(now)
        if isinstance(verdict, Live | Stale):
            assert last_frame is not None
            assert now - last_frame < OPTIONS.silence_s / (2 if isinstance(verdict, Live) else 1)
