"""Starts a capture process and hears it, for the tests of it and of what it reads."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from rtsp_server import why_not

from palijet.runtime.cameras.options import CameraOptions
from palijet.runtime.capture.capture_process import CaptureProcess
from palijet.runtime.capture.protocol import Captured, Failed, FromProcess, Opened
from palijet.runtime.sources import parse_uri
from palijet.runtime.sources.uri import SourceUri

WITHIN_S = 60.0  # whatever should happen, on a machine that is busy


@cache
def why_no_gstreamer() -> str:
    """Why the capture process cannot use GStreamer; empty: it can. Asked in a process, for Debian's GStreamer brings libunwind into
    this one, in which C++ exceptions, onnxruntime's for instance, end in a crash.
    """
    program = (
        "from palijet.runtime.capture.gstreamer import load_gstreamer\n"
        "from palijet.runtime.capture.reader import CaptureError\n"
        "try:\n    load_gstreamer()\nexcept CaptureError as error:\n    print(error.reason)\n"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


needs_rtsp = pytest.mark.skipif(bool(why_not()), reason=why_not())
needs_gstreamer = pytest.mark.skipif(bool(why_no_gstreamer()), reason=why_no_gstreamer())
either_reader = pytest.mark.parametrize("reader", [pytest.param("gstreamer", marks=needs_gstreamer), "opencv"])


class Capturing:
    """A capture process with all that it has said."""

    def __init__(self, process: CaptureProcess) -> None:
        self.process = process
        self.said: list[FromProcess] = []

    def hear(self, enough: Callable[[FromProcess], bool]) -> FromProcess:
        """The first message that is enough; pictures are given back on the way."""
        due = time.monotonic() + WITHIN_S
        while time.monotonic() < due:
            message = self.process.receive(1.0)
            if message is None:
                assert self.process.alive, f"{self.process.exit_reason}; it said {self.said[-3:]}"
                continue
            self.said.append(message)
            if enough(message):
                return message
            if isinstance(message, Captured):
                self.process.release(message.place)
        raise AssertionError(f"not heard in time; it said {self.said[-3:]}")

    def frames(self, count: int) -> Iterator[tuple[Captured, NDArray[np.uint8]]]:
        """The next pictures."""
        for _ in range(count):
            captured = self.hear(lambda message: isinstance(message, Captured))
            assert isinstance(captured, Captured)
            image = self.process.copy(captured)
            self.process.release(captured.place)
            yield captured, image

    def failed(self) -> Failed:
        failed = self.hear(lambda message: isinstance(message, Failed))
        assert isinstance(failed, Failed)
        return failed

    def opened(self) -> Opened:
        opened = self.hear(lambda message: isinstance(message, Opened))
        assert isinstance(opened, Opened)
        return opened


@contextmanager
def capturing(source: str | SourceUri, **options: object) -> Iterator[Capturing]:
    process = CaptureProcess()
    process.start(parse_uri(source) if isinstance(source, str) else source, CameraOptions(**options))  # type: ignore[arg-type]
    try:
        yield Capturing(process)
    finally:
        process.kill()
