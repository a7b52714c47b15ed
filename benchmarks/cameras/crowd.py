"""Sixteen cameras on one model, three of them in trouble: python -m benchmarks.cameras.crowd BUNDLE [--seconds 60]

Thirteen healthy RTSP cameras are watched alone, then beside one that hangs (SIGSTOP), one that is not there and one that is killed
and started again every few seconds. Their rates must not notice.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from palijet.jetson.board import read_board
from palijet.runtime.cameras.options import CameraOptions
from palijet.runtime.watch.watch import Watch
from palijet.runtime.watch.watched import Prompt, WatchedCamera
from tests.rtsp_server import RtspServer, read_marker

from .slow_model import SlowModel

HEALTHY = 13
CAMERA_FPS = 10
ANSWERS_PER_S = 2.0  # wanted of each camera
OPTIONS = CameraOptions(silence_s=2, connect_s=4, longest_wait_s=4)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cameras.crowd",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--model-ms", type=float, default=100)
    options = parser.parse_args()
    model = SlowModel(str(options.bundle), options.model_ms / 1e3)
    with ExitStack() as stack:
        healthy = stack.enter_context(RtspServer(size=(160, 120), fps=CAMERA_FPS, cameras=HEALTHY))
        hung = stack.enter_context(RtspServer(size=(160, 120), fps=CAMERA_FPS, first_camera=HEALTHY))
        flapping = stack.enter_context(RtspServer(size=(160, 120), fps=CAMERA_FPS, first_camera=HEALTHY + 1))
        gone = RtspServer()
        gone.start()
        gone.kill()  # its port is nobody's now
        names = [f"healthy {number}" for number in range(HEALTHY)]
        good = dict(zip(names, healthy.urls, strict=True))
        alone, wrong_alone = rates(model, good, options.seconds)
        hung.hang()
        done = threading.Event()
        flapper = threading.Thread(target=flap, args=(flapping, done))
        flapper.start()
        bad = {"hung": hung.url, "dead": gone.url, "flapping": flapping.url}
        beside, wrong_beside = rates(model, {**good, **bad}, options.seconds)
        done.set()
        flapper.join()
        hung.wake()
    print(f"{read_board()}; {CAMERA_FPS} frames per second each, {ANSWERS_PER_S:g} answers per second wanted of each,")
    print(
        f"a model that takes {options.model_ms:.0f} ms per round; {options.seconds:.0f} s alone, then beside the three\n"
    )
    print("| camera | frames/s alone | beside | answers/s alone | beside |\n| --- | --- | --- | --- | --- |")
    for name in [*names, *bad]:
        one, other = alone.get(name, (0.0, 0.0)), beside[name]
        print(f"| {name} | {one[0]:.2f} | {other[0]:.2f} | {one[1]:.2f} | {other[1]:.2f} |")
    worst = max(abs(beside[name][which] / alone[name][which] - 1) for name in names for which in (0, 1))
    print(f"\nlargest change of a healthy camera's rate: {worst:.1%}; answers about another camera's frame: ", end="")
    print(wrong_alone + wrong_beside)
    return 0 if worst <= 0.05 and not wrong_alone + wrong_beside else 1


def rates(model: SlowModel, urls: dict[str, str], seconds: float) -> tuple[dict[str, tuple[float, float]], int]:
    """Frames and answers per second of each camera once all that can is live, and answers about a frame of another."""
    cameras = [
        WatchedCamera(name, url, (Prompt("caption en", max_tokens=4),), fps=ANSWERS_PER_S, options=OPTIONS)
        for name, url in urls.items()
    ]
    numbers = {name: number for number, name in enumerate(urls)}
    counted: Counter[str] = Counter()
    wrong = 0
    with Watch(model, cameras) as watch:
        begun = ends = 0.0
        frames: dict[str, int] = {}
        waiting = {name for name in urls if name.startswith("healthy")}
        for answered in watch.answers():
            now = time.monotonic()
            if waiting:
                waiting.discard(answered.camera)
                if not waiting:
                    begun, ends = now, now + seconds
                    frames = {status.name: status.frames for status in watch.cameras()}
                continue
            if now > ends:
                break
            counted[answered.camera] += 1
            marker = read_marker(answered.frame.image)
            known = answered.camera.startswith("healthy")
            wrong += bool(known and marker is not None and marker.camera != numbers[answered.camera])
        took = time.monotonic() - begun
        came = {status.name: status.frames - frames[status.name] for status in watch.cameras()}
    return {name: (came[name] / took, counted[name] / took) for name in urls}, wrong


def flap(server: RtspServer, done: threading.Event) -> None:
    """Kill a server and start it again, until told."""
    rng = random.Random(0)
    while not done.wait(rng.uniform(1, 4)):
        server.kill()
        done.wait(rng.uniform(0.5, 2))
        server.start()


if __name__ == "__main__":
    sys.exit(main())
