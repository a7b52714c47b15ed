"""Waits between attempts grow, stay in bounds, are spread, and begin anew only after a steady time."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from palijet.runtime.cameras.backoff import STEADY_S, Backoff

seconds = st.floats(0.01, 100)


@given(seconds, seconds, st.integers(0, 2000), st.integers())
def test_waits_stay_in_bounds_however_many_there_are(
    first_s: float, longest_s: float, attempts: int, seed: int
) -> None:
    backoff = Backoff(first_s, longest_s, random=Random(seed))
    for attempt in range(attempts):
        assert 0 <= backoff.next_wait_s() <= min(longest_s, first_s * 2.0 ** min(attempt, 60))


def test_the_bound_doubles_up_to_the_longest() -> None:
    backoff = Backoff(0.25, 30)
    bounds = []
    for _ in range(9):
        bounds.append(backoff.bound_s)
        backoff.next_wait_s()
    assert bounds == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]


def test_cameras_that_fail_together_do_not_return_together() -> None:
    waits = []
    for seed in range(1000):
        backoff = Backoff(1, 1, random=Random(seed))
        waits.append(backoff.next_wait_s())
    share_per_tenth = [sum(tenth / 10 <= wait < (tenth + 1) / 10 for wait in waits) / len(waits) for tenth in range(10)]
    assert all(0.06 < share < 0.14 for share in share_per_tenth)


def test_a_flapping_camera_is_not_asked_in_a_tight_loop() -> None:
    # Live for a second, dead at once, for an hour.
    backoff = Backoff(0.25, 30, random=Random(1))
    now, attempts = 0.0, 0
    while now < 3600:
        now += 1
        backoff.settle(1)
        now += backoff.next_wait_s()
        attempts += 1
    assert attempts < 3600 / 10


def test_after_a_steady_time_the_first_wait_is_short_again() -> None:
    backoff = Backoff(0.25, 30)
    for _ in range(10):
        backoff.next_wait_s()
    backoff.settle(STEADY_S / 2)
    assert backoff.bound_s == 30
    backoff.settle(STEADY_S)
    assert backoff.bound_s == 0.25
