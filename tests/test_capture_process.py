"""A capture process keeps its secrets, dies when it should and no later, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from capturing import WITHIN_S, capturing, needs_gstreamer

from palijet.runtime.capture.picture_statistics import picture_statistics
from palijet.runtime.capture.protocol import Captured, FromProcess


@needs_gstreamer
def test_no_password_is_on_the_command_line_or_in_the_environment() -> None:
    with capturing("rtsp://ann:s3cret@127.0.0.1:9/s") as capture:
        there = Path(f"/proc/{capture.process.pid}")
        capture.process.receive(0.1)  # the kernel shows a command line a moment after it has begun
        assert b"palijet.runtime.capture" in (there / "cmdline").read_bytes()
        assert b"s3cret" not in (there / "cmdline").read_bytes() + (there / "environ").read_bytes()


@needs_gstreamer
def test_a_crash_is_told_by_its_signal_and_a_frame_that_was_given_is_whole() -> None:
    with capturing("gst://videotestsrc is-live=true") as capture:
        captured, image = next(capture.frames(1))
        told = picture_statistics(image)
        assert (told.digest, told.mean) == (captured.digest, captured.mean)
        assert capture.process.pid is not None
        os.kill(capture.process.pid, signal.SIGSEGV)
        due = time.monotonic() + WITHIN_S
        while capture.process.alive and time.monotonic() < due:
            capture.process.receive(1.0)
        assert "was killed by signal 11 (SIGSEGV)" in capture.process.exit_reason


@needs_gstreamer
def test_a_parent_that_keeps_every_place_blocks_nothing() -> None:
    with capturing("gst://videotestsrc is-live=true") as capture:
        kept = [capture.hear(lambda message: isinstance(message, Captured)) for _ in range(3)]
        assert capture.process.receive(0.5) is None
        for captured in kept:
            assert isinstance(captured, Captured)
            capture.process.release(captured.place)
        late, _ = next(capture.frames(1))
        assert late.number > 5


@needs_gstreamer
@pytest.mark.parametrize("hangs", [False, True])
def test_the_process_dies_with_its_parent_even_when_it_hangs(hangs: bool) -> None:
    script = (
        "import time\n"
        "from palijet.runtime.cameras.options import CameraOptions\n"
        "from palijet.runtime.capture.capture_process import CaptureProcess\n"
        "from palijet.runtime.sources import parse_uri\n"
        "process = CaptureProcess()\n"
        "process.start(parse_uri('gst://videotestsrc is-live=true'), CameraOptions())\n"
        "while process.receive(1.0) is None: pass\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        if hangs:
            child.suspend()
        parent.kill()
    gone, alive = psutil.wait_procs([child], timeout=WITHIN_S)
    assert gone
    assert not alive


@needs_gstreamer
def test_a_process_that_is_stopped_takes_leave_and_a_second_end_is_harmless() -> None:
    with capturing("gst://videotestsrc is-live=true") as capture:
        next(capture.frames(1))
        capture.process.stop()
        assert capture.process.exit_reason == "the capture process ended with exit code 0"
        assert not capture.process.alive
        assert capture.process.receive(0.1) is None
        capture.process.release(0)


@needs_gstreamer
def test_kill_ends_a_wait_in_another_thread() -> None:
    with capturing("gst://videotestsrc is-live=true ! valve drop=true") as capture:
        heard: list[FromProcess | None] = []
        waiting = threading.Thread(target=lambda: heard.append(capture.process.receive(WITHIN_S)))
        waiting.start()
        time.sleep(0.1)
        capture.process.kill()
        waiting.join(WITHIN_S / 2)
        assert heard == [None]


@pytest.mark.slow
@needs_gstreamer
def test_twenty_starts_leave_nothing_behind() -> None:
    def once() -> None:
        with capturing("gst://videotestsrc is-live=true") as capture:
            list(capture.frames(3))

    for _ in range(3):
        once()
    me = psutil.Process()
    before = me.num_fds(), me.num_threads(), len(me.children())
    memory = me.memory_info().rss
    for _ in range(20):
        once()
    assert (me.num_fds(), me.num_threads(), len(me.children())) == before
    assert me.memory_info().rss - memory < 8 * 2**20
