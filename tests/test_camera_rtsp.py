"""A camera on a real RTSP server that is killed, hung, ended and locked: live again, with right frames, leaving nothing behind."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from nothing_left import nothing_left
from rtsp_server import RtspServer, read_marker, why_not

from palijet.runtime.cameras.camera import Camera
from palijet.runtime.cameras.options import CameraOptions
from palijet.runtime.cameras.status import CameraState, StateChange
from palijet.runtime.sources.source import Frame
from palijet.runtime.sources.uri import parse_uri

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

QUICK = CameraOptions(connect_s=3, silence_s=1, first_wait_s=0.1, longest_wait_s=1, latency_ms=50)
PATIENT_S = 60.0
LATE_S = 3.0  # a picture that is older than this when it is captured is none of this connection's
REPETITIONS = 20


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    with nothing_left():
        yield


@dataclass
class Seen:
    """Takes all frames of a camera on a thread of its own, and judges each by what the server drew into it."""

    camera: Camera
    number: int  # that the server draws for this camera
    frames: int = 0
    wrong: list[str] = field(default_factory=list)
    last: Frame | None = None
    newest_made_at: float = 0.0

    def __enter__(self) -> Seen:
        self._thread = threading.Thread(target=self._take_all)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.camera.close()
        self._thread.join()

    def wait(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENT_S
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come; {self.camera.status()}"
            time.sleep(0.005)

    def wait_until_live(self) -> float:
        """For a frame that is made from now on; how long it took, in seconds."""
        begun, wall = time.monotonic(), time.time()
        self.wait(lambda: self.newest_made_at > wall, "a new frame")
        return time.monotonic() - begun

    def _take_all(self) -> None:
        index = -1
        for frame in self.camera:
            marker = read_marker(frame.image)
            if marker is None:
                self.wrong.append(f"frame {frame.index} is damaged")
            elif marker.camera != self.number:
                self.wrong.append(f"frame {frame.index} is of camera {marker.camera}")
            elif abs(frame.captured_at - marker.made_at) > LATE_S:
                self.wrong.append(f"frame {frame.index} was made {frame.captured_at - marker.made_at} s before")
            else:
                self.newest_made_at = marker.made_at
            if frame.index <= index:
                self.wrong.append(f"frame {frame.index} after {index}")
            index = frame.index
            self.last = frame
            self.frames += 1


def camera(server: RtspServer, options: CameraOptions = QUICK, name: str = "door") -> tuple[Camera, list[StateChange]]:
    changes: list[StateChange] = []
    return Camera(parse_uri(server.url), options, name, on_change=changes.append), changes


def killed(server: RtspServer, down_s: float, seen: Seen) -> None:
    server.kill()
    time.sleep(down_s)
    server.start()


def hung(server: RtspServer, down_s: float, seen: Seen) -> None:
    server.hang()
    time.sleep(down_s)
    server.wake()


def resized(server: RtspServer, down_s: float, seen: Seen) -> None:
    server.size = (480, 360) if server.size == (320, 240) else (320, 240)
    killed(server, down_s, seen)


def ended(server: RtspServer, down_s: float, seen: Seen) -> None:
    server.say("end")


def relocked(server: RtspServer, down_s: float, seen: Seen) -> None:
    """Another password, and after a while the right one again."""
    right, server.password = server.password, "another"
    server.kill()
    server.start()
    seen.wait(lambda: seen.camera.status().state is CameraState.FAILED, "failed")
    assert "password" in seen.camera.status().reason
    server.password = right
    server.kill()
    server.start()


FAULTS = (killed, hung, resized, ended, relocked)


def test_killed_and_back_with_another_size() -> None:
    with RtspServer() as server:
        door, changes = camera(server)
        with Seen(door, 0) as seen:
            seen.wait_until_live()
            resized(server, 0.2, seen)
            seen.wait_until_live()
            assert seen.last is not None
            assert seen.last.image.shape == (360, 480, 3)
        assert [str(change.after) for change in changes][-3:] == ["reconnecting", "live", "ended"]
        assert seen.wrong == []


def test_off_at_start_then_locked_then_right() -> None:
    with RtspServer(user="ann", password="secret") as server:
        door, changes = camera(server)
        server.kill()
        with Seen(door, 0) as seen:
            seen.wait(lambda: door.status().state is CameraState.RECONNECTING, "reconnecting")
            server.password = "another"
            server.start()
            seen.wait(lambda: door.status().state is CameraState.FAILED, "failed")
            server.kill()
            server.password = "secret"
            server.start()
            seen.wait_until_live()
        assert all("secret" not in str(change) for change in changes)
        assert seen.wrong == []


def test_a_server_that_freezes_its_picture_makes_the_camera_stale_until_it_moves() -> None:
    options = CameraOptions(frozen_s=0.5, latency_ms=50)
    with RtspServer() as server:
        door, _ = camera(server, options)
        with Seen(door, 0) as seen:
            seen.wait_until_live()
            server.say("pattern black")
            seen.wait(lambda: door.status().state is CameraState.STALE, "stale")
            server.say("pattern moving")
            seen.wait_until_live()
            seen.wait(lambda: door.status().state is CameraState.LIVE, "live")


@pytest.mark.slow
def test_twenty_times_each_fault_at_random_moments_and_always_live_again(capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(len(FAULTS)) as pool:
        rows = list(pool.map(_repeat, range(len(FAULTS)), FAULTS))
    with capsys.disabled():
        print(f"\n{'fault':10} {'times':>5} {'live again, s: median':>22} {'worst':>6} {'frames':>7} {'wrong':>6}")
        for fault, took_s, seen in rows:
            median, worst = statistics.median(took_s), max(took_s)
            print(f"{fault:10} {len(took_s):5} {median:22.2f} {worst:6.2f} {seen.frames:7} {len(seen.wrong):6}")
    assert [seen.wrong for _, _, seen in rows] == [[] for _ in FAULTS]


def _repeat(number: int, fault: Callable[[RtspServer, float, Seen], None]) -> tuple[str, list[float], Seen]:
    """A fault again and again at one camera, while others have theirs."""
    chance = random.Random(number)
    took_s = []
    with RtspServer(fps=15, user="ann", password="secret", first_camera=number) as server:
        door, _ = camera(server, name=fault.__name__)
        with Seen(door, number) as seen:
            seen.wait_until_live()
            for _ in range(REPETITIONS):
                time.sleep(chance.uniform(0, 1.5))
                fault(server, chance.uniform(0, 3), seen)
                took_s.append(seen.wait_until_live())
    return fault.__name__, took_s, seen
