"""A stand-in of the capture process: speaks runtime/capture/protocol.py and does what a plan tells it, faults included.

`StandInCapture` puts it in the place of the real one. A plan is a list of steps, one list per connection; the last list is for all
connections that follow:

    frames N [what=noise] [fps=100] [size=32x24]    what: noise, frozen, black, grey; pictures bear their number in the first pixel
    sleep S     hang    crash    exit CODE    fail KIND    end        hang: SIGSTOP to itself; crash: SIGSEGV
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from palijet.runtime.capture.protocol import (
    BUFFER_BYTES,
    BUFFERS,
    Captured,
    Ended,
    Failed,
    FromParent,
    Open,
    Opened,
    Release,
)

if TYPE_CHECKING:
    import pytest

FOREVER = 10**9


class StandInCapture:
    """In place of the real capture process, while a test runs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        launcher = folder / "python"
        launcher.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} "$3" "$4" {folder}\n')
        launcher.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(launcher))

    def plan(self, *connections: list[str]) -> None:
        """What each connection does, from the next one on."""
        (self._folder / "plan.json").write_text(json.dumps(connections))
        (self._folder / "begun").write_bytes(b"")

    @property
    def begun(self) -> int:
        """Connections so far."""
        return (self._folder / "begun").stat().st_size


# From here on: inside the process.


class _Process:
    def __init__(self, connection: socket.socket, memory: mmap.mmap) -> None:
        self.connection = connection
        self.memory = memory
        self.free = list(range(BUFFERS))
        self.number = 0

    def listen(self) -> None:
        from_parent = msgspec.msgpack.Decoder(FromParent)
        while message := self.connection.recv(65536):
            told = from_parent.decode(message)
            if isinstance(told, Release):
                self.free.append(told.place)
        os._exit(0)

    def say(self, message: Opened | Captured | Failed | Ended) -> None:
        self.connection.send(msgspec.msgpack.encode(message))

    def frames(self, count: str, what: str = "noise", fps: str = "100", size: str = "32x24") -> None:
        width, height = (int(side) for side in size.split("x"))
        self.say(Opened(width, height, float(fps), "stand-in"))
        due = time.monotonic()
        for _ in range(int(count)):
            due = max(due + 1 / float(fps), time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))
            if self.free:
                self.frame(self.free.pop(0), what, width, height)
            self.number += 1

    def frame(self, place: int, what: str, width: int, height: int) -> None:
        """A picture of one grey level, the frame's number; what it says about itself goes by `what`."""
        start = place * BUFFER_BYTES
        self.memory[start : start + width * height * 3] = bytes([self.number % 251]) * (width * height * 3)
        mean, deviation = {"black": (2.0, 0.5), "grey": (128.0, 0.5)}.get(what, (100.0, 50.0))
        digest = 7 if what != "noise" else random.getrandbits(62)
        now, wall = time.monotonic(), time.time()
        self.say(Captured(place, self.number, width, height, wall, now, digest, mean, deviation))


def main() -> None:
    descriptor, memory, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    process = _Process(socket.socket(fileno=descriptor), mmap.mmap(memory, BUFFERS * BUFFER_BYTES))
    opening = msgspec.msgpack.decode(process.connection.recv(65536), type=FromParent)
    assert isinstance(opening, Open)
    threading.Thread(target=process.listen, daemon=True).start()
    plans = json.loads((folder / "plan.json").read_text())
    with (folder / "begun").open("ab") as begun:
        begun.write(b".")
        connection = begun.tell() - 1
    for step in plans[min(connection, len(plans) - 1)]:
        match step.split():
            case ["frames", count, *options]:
                process.frames(count, **dict(option.split("=") for option in options))
            case ["sleep", seconds]:
                time.sleep(float(seconds))
            case ["hang"]:
                os.kill(os.getpid(), signal.SIGSTOP)
            case ["crash"]:
                os.kill(os.getpid(), signal.SIGSEGV)
            case ["exit", code]:
                os._exit(int(code))
            case ["fail", kind]:
                process.say(Failed(kind, f"a sentence about {kind}"))
                return
            case ["end"]:
                process.say(Ended())
                return
    time.sleep(FOREVER)


if __name__ == "__main__":
    main()
