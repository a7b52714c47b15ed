"""A camera keeps its newest frame through crashes, hangs and failures of its capture process, and leaves nothing behind."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from capture_stand_in import FOREVER, StandInCapture
from nothing_left import nothing_left
from until import until

from palijet.runtime.cameras.camera import Camera
from palijet.runtime.cameras.options import CameraOptions
from palijet.runtime.cameras.status import CameraState, StateChange
from palijet.runtime.sources.uri import parse_uri

QUICK = CameraOptions(connect_s=2, silence_s=0.5, frozen_s=0.3, blank_s=0.3, first_wait_s=0.02, longest_wait_s=0.2)
PATIENT_S = 30.0  # for what comes in a fraction of a second, unless the machine is busy
STEADY = f"frames {FOREVER}"


@pytest.fixture
def capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandInCapture:
    return StandInCapture(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    with nothing_left():
        yield


def camera(uri: str = "rtsp://ann:secret@door.test/1", options: CameraOptions = QUICK, **more: object) -> Camera:
    return Camera(parse_uri(uri), options, "door", **more)  # type: ignore[arg-type]


def states(changes: list[StateChange]) -> list[str]:
    return [str(change.after) for change in changes]


def test_it_gives_newest_frame_after_newest_frame(capture: StandInCapture) -> None:
    capture.plan([STEADY])
    with camera() as door:
        indices = []
        for frame in door:
            assert (frame.image == frame.index % 251).all(), "the pixels are those of this frame"
            assert frame.image.shape == (24, 32, 3)
            assert frame.source == "rtsp://door.test/1"
            assert frame.age_s < PATIENT_S
            indices.append(frame.index)
            if len(indices) == 30:
                break
        assert indices == sorted(set(indices))
        status = door.status()
    assert status.state is CameraState.LIVE
    assert status.frames >= 30
    assert status.size == (32, 24)
    assert status.reader == "stand-in"
    assert door.fps == 100


def test_a_frame_that_nobody_takes_makes_way_and_is_counted(capture: StandInCapture) -> None:
    capture.plan(["frames 50", "sleep 1000"])
    options = CameraOptions(silence_s=1000)
    with camera(options=options) as door:
        until(lambda: door.status().frames == 50)
        frame = door.take()
        assert frame is not None
        assert frame.index == 49
        assert door.take() is None
        assert door.waiting_index is None
        assert door.status().dropped == 49


def test_a_slow_taker_gets_fresh_frames_and_every_frame_is_counted(capture: StandInCapture) -> None:
    capture.plan([STEADY])
    with camera() as door:
        taken, last = 0, -1
        for frame in door:
            taken, last = taken + 1, frame.index
            if taken == 5:
                break
            time.sleep(0.1)
        assert last >= 4 * 5, "those in between were passed over"
        status = door.status()
        assert status.dropped + taken + (door.waiting_index is not None) == pytest.approx(status.frames, abs=2)


@pytest.mark.parametrize("fault", ["crash", "exit 3", "hang", "end", "fail unreachable"])
def test_it_is_live_again_after_a_fault_and_the_index_goes_on(capture: StandInCapture, fault: str) -> None:
    capture.plan(["frames 20", fault], [STEADY])
    changes: list[StateChange] = []
    with camera(on_change=changes.append) as door:
        indices = []
        for frame in door:
            assert (frame.image == (frame.index if frame.index < 20 else frame.index - 20) % 251).all()
            indices.append(frame.index)
            if frame.index >= 30:
                break
        assert indices == sorted(set(indices))
        assert door.status().reconnects == 1
        assert states(changes)[-2:] == ["reconnecting", "live"]
        assert [change.before for change in changes[1:]] == [change.after for change in changes[:-1]]
        reason = next(change.reason for change in changes if change.after is CameraState.RECONNECTING)
    expected = {
        "crash": "the capture process was killed by signal 11 (SIGSEGV)",
        "exit 3": "the capture process ended with exit code 3",
        "hang": "no frame for 0.5 s",
        "end": "the stream ended",
        "fail unreachable": "a sentence about unreachable",
    }
    assert reason == expected[fault]


def test_silence_is_stale_before_it_is_lost(capture: StandInCapture) -> None:
    capture.plan(["frames 5", "sleep 1000"], [STEADY])
    changes: list[StateChange] = []
    with camera(on_change=changes.append) as door:
        until(lambda: door.status().reconnects == 1)
    assert states(changes) == ["live", "stale", "reconnecting", "live", "ended"]


def test_a_camera_that_is_off_at_start_is_a_state(capture: StandInCapture) -> None:
    capture.plan(["fail unreachable"], ["fail unreachable"], ["fail unreachable"], [STEADY])
    changes: list[StateChange] = []
    with camera(on_change=changes.append) as door:
        assert door.status().state is CameraState.CONNECTING
        assert door.wait(PATIENT_S)
    assert states(changes) == ["reconnecting", "live", "ended"]
    assert changes[0].reason == "a sentence about unreachable"


def test_a_connection_that_never_answers_is_given_up(capture: StandInCapture) -> None:
    capture.plan(["sleep 1000"], ["hang"], [STEADY])
    changes: list[StateChange] = []
    options = CameraOptions(connect_s=3, first_wait_s=0.02)
    with camera(options=options, on_change=changes.append) as door:
        assert door.wait(PATIENT_S)
    assert changes[0].reason == "no frame came within 3 s"


def test_wrong_credentials_are_failed_and_tried_again_seldom(capture: StandInCapture) -> None:
    capture.plan(["fail credentials"], ["fail credentials"], [STEADY])
    changes: list[StateChange] = []
    with camera(on_change=changes.append) as door:
        begun = time.monotonic()
        assert door.wait(PATIENT_S)
        assert time.monotonic() - begun >= 2 * QUICK.longest_wait_s
    assert states(changes) == ["failed", "live", "ended"]
    assert changes[0].reason == "a sentence about credentials"


@pytest.mark.parametrize(
    ("what", "reason"),
    [("frozen", "the picture has been frozen for"), ("black", "all black"), ("grey", "all grey")],
)
def test_a_picture_without_life_is_stale_and_connected_anew(capture: StandInCapture, what: str, reason: str) -> None:
    capture.plan([f"frames {FOREVER} what={what}"], [f"frames {FOREVER} what={what}"], [STEADY])
    changes: list[StateChange] = []
    with camera(on_change=changes.append) as door:
        until(lambda: capture.begun >= 3 and door.status().state is CameraState.LIVE)
    assert states(changes) == ["live", "stale", "reconnecting", "stale", "reconnecting", "live", "ended"]
    assert reason in changes[1].reason


def test_frames_come_on_while_the_picture_is_dark(capture: StandInCapture) -> None:
    capture.plan([f"frames {FOREVER} what=black"])
    with camera() as door:
        until(lambda: door.status().state is CameraState.STALE)
        first = door.status().frames
        until(lambda: door.status().frames > first + 20)
        assert door.wait(PATIENT_S)


def test_a_changed_size_is_logged_and_lived_with(capture: StandInCapture, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    capture.plan(["frames 10 size=32x24", f"frames {FOREVER} size=64x48"])
    with camera() as door:
        until(lambda: door.status().size == (64, 48))
        frame = next(frame for frame in door if frame.image.shape == (48, 64, 3))
        assert (frame.image == frame.index % 251).all()
        assert door.status().reconnects == 0
    assert "door gives 64 x 48 pixels (was 32 x 24)" in caplog.text


def test_what_was_captured_before_a_crash_can_still_be_taken(capture: StandInCapture) -> None:
    capture.plan(["frames 5", "crash"], ["sleep 1000"])
    with camera() as door:
        until(lambda: door.status().state is CameraState.RECONNECTING)
        until(lambda: capture.begun == 2)
        frame = door.take()
    assert frame is not None
    assert frame.index == 4
    assert (frame.image == 4).all()


def test_a_source_that_has_an_end_ends(capture: StandInCapture) -> None:
    capture.plan(["frames 10 fps=20", "end"])  # not so fast that no place in memory is free
    with camera("file:///clip.mp4") as clip:
        indices = [frame.index for frame in clip]
        assert indices[-1] == 9
        assert clip.status().state is CameraState.ENDED
        assert clip.status().reason == "the stream ended"
    assert capture.begun == 1


def test_a_flapping_camera_waits_ever_longer(capture: StandInCapture) -> None:
    capture.plan(["frames 1", "exit 0"])
    options = CameraOptions(first_wait_s=0.05, longest_wait_s=1000)
    with camera(options=options) as door:
        until(lambda: capture.begun >= 4)
        assert door._backoff.bound_s >= 0.05 * 2**3


def test_one_line_per_change_of_state_and_none_per_frame(
    capture: StandInCapture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    capture.plan(["frames 200 fps=1000", "crash"], ["fail credentials"], [STEADY])
    changes: list[StateChange] = []
    with camera(on_change=changes.append) as door:
        until(lambda: door.status().frames > 220)
    assert [record.getMessage() for record in caplog.records] == [str(change) for change in changes]
    assert "secret" not in caplog.text
    assert "ann" not in caplog.text


def test_closing_is_prompt_whatever_the_process_does(capture: StandInCapture) -> None:
    for plan in (["hang"], ["sleep 1000"], [STEADY], ["frames 3", "hang"], ["fail credentials"]):
        capture.plan(plan)
        door = camera(options=CameraOptions())
        door.start()
        until(lambda: capture.begun)
        begun = time.monotonic()
        door.close()
        door.close()
        assert time.monotonic() - begun < 2
        assert door.status().state is CameraState.ENDED
        assert door.take() is None
        assert list(door) == []


def test_closing_is_prompt_at_any_moment_of_the_start(capture: StandInCapture) -> None:
    capture.plan([STEADY])
    for delay_ms in range(0, 60, 5):
        door = camera(options=CameraOptions())
        door.start()
        time.sleep(delay_ms / 1e3)
        begun = time.monotonic()
        door.close()
        assert time.monotonic() - begun < 2


def test_closing_ends_one_who_waits(capture: StandInCapture) -> None:
    capture.plan(["sleep 1000"])
    door = camera()
    threading.Timer(0.1, door.close).start()
    assert list(door) == []
    until(lambda: door._thread is not None and not door._thread.is_alive())
    door.close()


def test_a_camera_that_was_never_started_can_be_closed() -> None:
    door = camera()
    door.close()
    door.start()
    assert door.status().state is CameraState.ENDED


def test_each_new_frame_is_told_and_a_callback_that_raises_ends_nothing(
    capture: StandInCapture, caplog: pytest.LogCaptureFixture
) -> None:
    told = []

    def on_frame() -> None:
        told.append(True)
        if len(told) == 3:
            raise ValueError("not the camera's fault")

    capture.plan([STEADY])
    with camera(on_frame=on_frame) as door:
        until(lambda: len(told) > 10)
        assert door.status().reconnects == 0
    assert "a callback raised" in caplog.text


def test_answers_are_counted() -> None:
    door = camera()
    for what in ("answered", "answered", "repeated", "too_old"):
        door.count(what)
    status = door.status()
    assert (status.answered, status.repeated, status.too_old) == (2, 1, 1)
    assert status.last_answer_at is not None
    door.close()


def test_the_rate_is_that_of_the_last_seconds(capture: StandInCapture) -> None:
    capture.plan([f"frames {FOREVER} fps=50"])
    with camera() as door:
        until(lambda: door.status().frames > 50)
        assert door.status().fps == pytest.approx(50, rel=0.3)


def test_taking_never_waits_for_the_next_frame(capture: StandInCapture) -> None:
    # The camera's thread waits in the capture process's socket nearly all the time; that is no reason to wait with it.
    capture.plan([f"frames {FOREVER} fps=2"])
    with camera(options=CameraOptions()) as door:
        spent = []
        for _ in range(3):
            assert door.wait(PATIENT_S)
            begun = time.monotonic()
            assert door.take() is not None
            spent.append(time.monotonic() - begun)
    assert min(spent) < 0.1


def test_two_takers_share_the_frames(capture: StandInCapture) -> None:
    capture.plan(["frames 300 fps=1000", "end"])
    with camera("file:///clip.mp4") as clip:
        taken: list[list[int]] = [[], []]

        def take(mine: list[int]) -> None:
            mine.extend(frame.index for frame in clip if (frame.image == frame.index % 251).all())

        takers = [threading.Thread(target=take, args=(mine,)) for mine in taken]
        for taker in takers:
            taker.start()
        for taker in takers:
            taker.join()
        status = clip.status()
    together = taken[0] + taken[1]
    assert len(together) == len(set(together))
    assert len(together) + status.dropped == status.frames <= 300  # a last one that found no place is told of by nobody
