"""Cameras in trouble for an hour: python -m benchmarks.cameras.soak BUNDLE [--minutes 60] [--cameras 4]

Real RTSP servers, a random fault of a random one every few seconds: killed, hung, silent, ended, of another size, damaged packets,
another password. Memory, descriptors and threads of the program and its capture processes are read every ten seconds; every gap
between two frames of a camera must be covered by a logged state that is not live.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from palijet.jetson.board import read_board
from palijet.runtime.cameras.options import CameraOptions
from palijet.runtime.cameras.status import CameraState, StateChange
from palijet.runtime.watch.watch import Watch
from palijet.runtime.watch.watched import Prompt, WatchedCamera
from tests.rtsp_server import RtspServer, read_marker

from .slow_model import SlowModel

CAMERA_FPS = 8
OPTIONS = CameraOptions(silence_s=3, connect_s=5, longest_wait_s=5)
GAP_S = OPTIONS.silence_s / 2 + 0.5  # between frames: longer ones must be explained
SETTLE_S = 300.0  # memory is compared from here on


@dataclass
class Seen:
    """What a soak saw."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: int = 0  # answers about another camera's frame
    back: int = 0  # frames whose number went back
    gaps: list[tuple[str, float, float]] = field(default_factory=list)  # camera, from, to: seconds since 1970
    changes: list[StateChange] = field(default_factory=list)
    samples: list[tuple[float, int, int, int]] = field(default_factory=list)  # s, bytes, descriptors, threads
    faults: Counter[str] = field(default_factory=Counter)


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
    with ExitStack() as stack:
        servers = {
            f"camera {number}": stack.enter_context(
                RtspServer(size=(320, 240), fps=CAMERA_FPS, first_camera=number, user="ann", password="one")
            )
            for number in range(options.cameras)
        }
        done = threading.Event()
        trouble = threading.Thread(target=torment, args=(servers, seen, random.Random(options.seed), done))
        watch_cameras(SlowModel(str(options.bundle), 0.05), servers, seen, options.minutes * 60, trouble)
        done.set()
        trouble.join()
    return 0 if report(seen, options.minutes) else 1


def watch_cameras(
    model: SlowModel, servers: dict[str, RtspServer], seen: Seen, seconds: float, trouble: threading.Thread
) -> None:
    cameras = [
        WatchedCamera(name, server.url, (Prompt("caption en", max_tokens=4),), options=OPTIONS)
        for name, server in servers.items()
    ]
    numbers = {name: number for number, name in enumerate(servers)}
    last_at: dict[str, float] = {}
    last_index: dict[str, int] = defaultdict(lambda: -1)
    with Watch(model, cameras, on_change=seen.changes.append) as watch:
        started = time.monotonic()
        sampled = -10.0
        for answered in watch.answers():
            elapsed = time.monotonic() - started
            if elapsed > seconds:
                break
            if not trouble.is_alive() and len(seen.answers) == len(servers):
                trouble.start()
            now = answered.frame.captured_at
            before = last_at.get(answered.camera)
            if before is not None and now - before > GAP_S:
                seen.gaps.append((answered.camera, before, now))
            last_at[answered.camera] = now
            seen.back += answered.frame.index <= last_index[answered.camera]
            last_index[answered.camera] = answered.frame.index
            seen.answers[answered.camera] += 1
            marker = read_marker(answered.frame.image)
            seen.wrong += marker is not None and marker.camera != numbers[answered.camera]
            if elapsed - sampled >= 10:
                sampled = elapsed
                seen.samples.append((elapsed, *resources()))


def torment(servers: dict[str, RtspServer], seen: Seen, rng: random.Random, done: threading.Event) -> None:
    """One fault after another, until told."""
    faults: dict[str, Callable[[RtspServer], None]] = {
        "killed": lambda server: killed(server, rng, done),
        "hung": lambda server: held(server, server.hang, server.wake, rng, done),
        "silent": lambda server: held(server, lambda: server.say("silence"), lambda: server.say("speak"), rng, done),
        "ended": lambda server: server.say("end"),
        "another size": lambda server: server.say(f"size {rng.choice(('320x240', '640x480', '160x120'))}"),
        "damaged": lambda server: held(
            server, lambda: server.say("damage 0.0005"), lambda: server.say("damage 0"), rng, done
        ),
        "another password": lambda server: password_changed(server, rng, done),
    }
    while not done.wait(rng.uniform(2, 8)):
        name = rng.choice(list(faults))
        faults[name](servers[rng.choice(list(servers))])
        seen.faults[name] += 1


def killed(server: RtspServer, rng: random.Random, done: threading.Event) -> None:
    server.kill()
    done.wait(rng.uniform(0, 6))
    server.start()


def held(
    server: RtspServer, begin: Callable[[], None], end: Callable[[], None], rng: random.Random, done: threading.Event
) -> None:
    begin()
    done.wait(rng.uniform(1, 12))
    end()


def password_changed(server: RtspServer, rng: random.Random, done: threading.Event) -> None:
    """For a while nobody who knows the old one gets in; whoever is in stays, so the server is started anew."""
    server.kill()
    server.password = "two"
    server.start()
    done.wait(rng.uniform(2, 8))
    server.kill()
    server.password = "one"
    server.start()


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
    print(f"{read_board()}; {minutes:.0f} minutes\n")
    print("faults: " + ", ".join(f"{name} {count}" for name, count in sorted(seen.faults.items())))
    print("answers: " + ", ".join(f"{name} {count}" for name, count in sorted(seen.answers.items())))
    print(f"about another camera's frame: {seen.wrong}; numbers that went back: {seen.back}")
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
    return not (seen.wrong or seen.back or unexplained) and max(growth) < 0.05


if __name__ == "__main__":
    sys.exit(main())
