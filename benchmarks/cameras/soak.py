"""Cameras in trouble for an hour: python -m benchmarks.cameras.soak BUNDLE [--minutes 60] [--cameras 4]

Real RTSP servers, each with a random fault every few seconds: killed, hung for up to 30 s, silent, ended, of another size, damaged
packets, another password, off when the camera is added. Memory, descriptors and threads of the program and its capture processes
are read every ten seconds; every gap between two frames of a camera must be covered by a logged state that is not live. Results
go to rotated JSON Lines, of which none may be missing.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from palijet.jetson.board import read_board
from palijet.runtime.cameras.options import CameraOptions
from palijet.runtime.cameras.status import CameraState, StateChange
from palijet.runtime.sinks.json_lines import JsonLines, JsonLinesOptions
from palijet.runtime.watch.delivery import Delivery
from palijet.runtime.watch.watch import Watch
from palijet.runtime.watch.watched import Prompt, WatchedCamera
from tests.rtsp_server import RtspServer, read_marker

from .slow_model import SlowModel

CAMERA_FPS = 8
OPTIONS = CameraOptions(silence_s=3, connect_s=5, longest_wait_s=5)
GAP_S = OPTIONS.silence_s / 2 + 0.5  # between frames: longer ones must be explained
SETTLE_S = 300.0  # memory is compared from here on


@dataclass(frozen=True)
class Fault:
    """Something that was done to a camera's server."""

    name: str
    camera: str
    mended_at: float  # seconds since 1970: from here on frames could come


@dataclass
class Seen:
    """What a soak saw."""

    answered_at: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # of each camera
    wrong: int = 0  # answers about another camera's frame
    unreadable: int = 0  # pictures whose squares could not be read: damaged packets
    back: int = 0  # frames whose number went back
    last_index: dict[str, int] = field(default_factory=dict)  # of each camera
    gaps: list[tuple[str, float, float]] = field(default_factory=list)  # camera, from, to: seconds since 1970
    changes: list[StateChange] = field(default_factory=list)
    samples: list[tuple[float, int, int, int]] = field(default_factory=list)  # s, bytes, descriptors, threads
    faults: list[Fault] = field(default_factory=list)
    lines: int = 0  # in the files


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cameras.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seen = Seen()
    model = SlowModel(str(options.bundle), 0.05)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = {
            f"camera {number}": stack.enter_context(
                RtspServer(size=(320, 240), fps=CAMERA_FPS, first_camera=number, user="ann", password="one")
            )
            for number in range(options.cameras)
        }
        cameras = {
            name: WatchedCamera(name, server.url, (Prompt("caption en", max_tokens=4),), options=OPTIONS)
            for name, server in servers.items()
        }
        with Watch(model, list(cameras.values()), on_change=seen.changes.append) as watch:
            lines = JsonLines(
                JsonLinesOptions(folder / "results.jsonl", max_bytes=1_000_000, keep=10_000, states=False)
            )
            torments = Torments(watch, cameras, servers, seen, options.seed)
            with Delivery([lines], live=True) as delivery:
                follow(watch, delivery, seen, list(servers), options.minutes * 60, torments)
                torments.end()
        for file in folder.glob("results.jsonl*"):
            seen.lines += sum(1 for line in file.open() if json.loads(line)["camera"] in servers)
    return 0 if report(seen, options.minutes) else 1


def follow(watch: Watch, delivery: Delivery, seen: Seen, names: list[str], seconds: float, torments: Torments) -> None:
    """Take answers until the time is over; the torments begin once every camera has answered."""
    started = time.monotonic()
    sampled = -10.0
    for answered in watch.answers():
        elapsed = time.monotonic() - started
        if elapsed > seconds:
            return
        delivery.put(answered)
        name, at = answered.camera, answered.frame.captured_at
        times = seen.answered_at[name]
        if times and at - times[-1] > GAP_S:
            seen.gaps.append((name, times[-1], at))
        times.append(at)
        if not torments.begun and len(seen.answered_at) == len(names):
            torments.begin()
        seen.back += answered.frame.index <= seen.last_index.get(name, -1)
        seen.last_index[name] = answered.frame.index
        marker = read_marker(answered.frame.image)
        seen.unreadable += marker is None
        seen.wrong += marker is not None and marker.camera != names.index(name)
        if elapsed - sampled >= 10:
            sampled = elapsed
            seen.samples.append((elapsed, *resources()))


class Torments:
    """A thread for each server, which does one random thing to it after the other."""

    def __init__(
        self,
        watch: Watch,
        cameras: dict[str, WatchedCamera],
        servers: dict[str, RtspServer],
        seen: Seen,
        seed: int,
    ) -> None:
        self.begun = False
        self._watch, self._cameras, self._seen = watch, cameras, seen
        self._away: set[str] = set()  # cameras that are not watched just now
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._torment, args=(name, server, random.Random(f"{seed} {name}")))
            for name, server in servers.items()
        ]

    def begin(self) -> None:
        self.begun = True
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._done.set()
        for thread in self._threads:
            if self.begun:
                thread.join()

    def _torment(self, name: str, server: RtspServer, rng: random.Random) -> None:
        faults: dict[str, Callable[[], None]] = {
            "killed": lambda: self._killed(server, rng.uniform(0, 6)),
            "hung": lambda: self._held(server.hang, server.wake, rng.uniform(1, 30)),
            "silent": lambda: self._held(
                lambda: server.say("silence"), lambda: server.say("speak"), rng.uniform(1, 12)
            ),
            "ended": lambda: server.say("end"),
            "another size": lambda: self._resized(server, rng.choice([(320, 240), (640, 480), (160, 120)])),
            "damaged": lambda: self._held(
                lambda: server.say("damage 0.0005"), lambda: server.say("damage 0"), rng.uniform(1, 12)
            ),
            "another password": lambda: self._password_changed(server, rng.uniform(2, 8)),
            "off when added": lambda: self._off_when_added(name, server, rng.uniform(1, 8)),
        }
        while not self._done.wait(rng.uniform(4, 12)):
            fault = rng.choice(list(faults))
            faults[fault]()
            self._seen.faults.append(Fault(fault, name, time.time()))

    def _killed(self, server: RtspServer, seconds: float) -> None:
        server.kill()
        self._done.wait(seconds)
        server.start()

    def _held(self, begin: Callable[[], None], end: Callable[[], None], seconds: float) -> None:
        begin()
        self._done.wait(seconds)
        end()

    def _resized(self, server: RtspServer, size: tuple[int, int]) -> None:
        server.kill()
        server.size = size
        server.start()

    def _password_changed(self, server: RtspServer, seconds: float) -> None:
        """For a while nobody who knows the old one gets in."""
        server.kill()
        server.password = "two"
        server.start()
        self._done.wait(seconds)
        server.kill()
        server.password = "one"
        server.start()

    def _off_when_added(self, name: str, server: RtspServer, seconds: float) -> None:
        server.kill()
        self._watch_all_but(name, away=True)
        self._done.wait(1)
        self._seen.last_index.pop(name, None)  # a camera that is added counts from 0
        self._watch_all_but(name, away=False)
        self._done.wait(seconds)
        server.start()

    def _watch_all_but(self, name: str, *, away: bool) -> None:
        with self._lock:
            self._away = self._away | {name} if away else self._away - {name}
            self._watch.reload([camera for camera in self._cameras.values() if camera.name not in self._away])


def resources() -> tuple[int, int, int]:
    """Resident bytes of this process and of its capture processes, its descriptors and threads."""
    me = psutil.Process()
    resident = me.memory_info().rss
    for child in me.children():
        try:
            if "palijet.runtime.capture" in child.cmdline():
                resident += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue  # replaced meanwhile
    return resident, me.num_fds(), me.num_threads()


def explained(gap: tuple[str, float, float], changes: list[StateChange]) -> bool:
    """A state that is not live lies within the gap, or a second around it."""
    camera, begins, ends = gap
    return any(
        change.camera == camera and change.after is not CameraState.LIVE and begins - 1 <= change.at <= ends + 1
        for change in changes
    )


def report(seen: Seen, minutes: float) -> bool:
    """Print it; whether all held."""
    answers = {name: len(times) for name, times in sorted(seen.answered_at.items())}
    print(f"{read_board()}; {minutes:g} minutes, {len(seen.faults)} faults\n")
    print("| fault | times | answered again, median s | worst s |\n| --- | --- | --- | --- |")
    for name, count in sorted(Counter(fault.name for fault in seen.faults).items()):
        waits = [
            wait for fault in seen.faults if fault.name == name and (wait := back_after_s(fault, seen)) is not None
        ]
        if waits:
            print(f"| {name} | {count} | {statistics.median(waits):.2f} | {max(waits):.2f} |")
    print("\nanswers: " + ", ".join(f"{name} {count}" for name, count in answers.items()), end="")
    print(f"; lines in the files: {seen.lines}, of {sum(answers.values())}")
    print(f"about another camera's frame: {seen.wrong}; pictures that were damaged: {seen.unreadable}; ", end="")
    print(f"numbers that went back: {seen.back}")
    unexplained = [gap for gap in seen.gaps if not explained(gap, seen.changes)]
    print(f"gaps of more than {GAP_S:.1f} s: {len(seen.gaps)}, without a logged state: {len(unexplained)}")
    for camera, begins, ends in unexplained:
        print(f"  {camera}: {ends - begins:.1f} s from {begins:.1f}")
    settled = [sample for sample in seen.samples if sample[0] >= min(SETTLE_S, minutes * 60 / 4)]
    half = len(settled) // 2
    growth = []
    for title, which, unit in (("memory MB", 1, 1e6), ("descriptors", 2, 1), ("threads", 3, 1)):
        first, last = (statistics.median(sample[which] for sample in part) for part in (settled[:half], settled[half:]))
        least, most = min(sample[which] for sample in settled), max(sample[which] for sample in settled)
        growth.append(last / first - 1)
        print(
            f"{title}: first half {first / unit:.0f}, second half {last / unit:.0f} ({last / first - 1:+.1%}), ", end=""
        )
        print(f"{least / unit:.0f} to {most / unit:.0f}")
    whole = seen.lines == sum(answers.values())
    flat = minutes * 60 < SETTLE_S or max(growth) < 0.05  # a short one is all beginning
    return whole and flat and not (seen.wrong or seen.back or unexplained)


def back_after_s(fault: Fault, seen: Seen) -> float | None:
    """From when frames could come until one was captured and answered; None: the soak ended first."""
    times = seen.answered_at[fault.camera]
    place = bisect_right(times, fault.mended_at)
    return times[place] - fault.mended_at if place < len(times) else None


if __name__ == "__main__":
    sys.exit(main())
