"""The parent's side of a capture process: starts it, hears it, copies its frames, and kills it whatever it is doing."""

from __future__ import annotations

import logging
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..cameras.options import CameraOptions
from ..errors import SourceError
from ..sources.uri import SourceUri, redact
from .protocol import BUFFER_BYTES, BUFFERS, Captured, FromProcess, Open, Release

log = logging.getLogger(__name__)

MESSAGE_BYTES = 64 * 1024  # of the longest message: an address and its options
KEPT_BYTES = 4096  # of what the process wrote to its standard error: the last of it tells why it crashed
GRACE_S = 1.0  # to take leave of the camera
ENDED_S = 1.0  # a process that closes its end exits in this time
REAPED_S = 5.0  # a process that is killed has gone in this time, unless it hangs inside the kernel


class CaptureProcess:
    """One process for one source, from `start` to `kill`; for the next attempt, make another.

    The process ends with the thread that called `start` (Linux knows no death of a parent but its thread's), so that must be
    one that lives as long as the capture does. `receive` is for one thread; the rest is for any, also meanwhile.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._memory: mmap.mmap | None = None
        self._said = b""
        self._over = False  # it has closed its end
        # `kill` closes nothing while one of these is held: by `receive`, which may wait long, and by `copy` and `release`.
        self._hearing = threading.Lock()
        self._using = threading.Lock()
        self._to_parent: msgspec.msgpack.Decoder[FromProcess] = msgspec.msgpack.Decoder(FromProcess)

    def start(self, uri: SourceUri, options: CameraOptions) -> None:
        """Spawn it and tell it what to capture; it answers by Opened and Captured, by Failed, or not at all.

        Raises:
            SourceError: this machine can start no further process.
        """
        assert self._process is None, "a CaptureProcess is started once"
        try:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            memory = os.memfd_create("palijet-capture")
            with theirs:
                try:
                    os.ftruncate(memory, BUFFERS * BUFFER_BYTES)
                    self._memory = mmap.mmap(memory, BUFFERS * BUFFER_BYTES)
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", "palijet.runtime.capture", str(theirs.fileno()), str(memory)],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.PIPE,
                        pass_fds=(theirs.fileno(), memory),
                        start_new_session=True,  # Ctrl-C is for the parent, which ends it in its turn
                    )
                finally:
                    os.close(memory)
            self._socket.send(msgspec.msgpack.encode(Open(uri.text, asdict(options), uri.loop, uri.factory)))
        except OSError as error:
            self.kill()
            raise SourceError(f"no process can be started to capture {uri.shown}: {error.strerror}") from None

    @property
    def pid(self) -> int | None:
        """Of the process; None before `start`."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether it may still say something."""
        return self._process is not None and self._socket is not None and not self._over

    @property
    def exit_reason(self) -> str:
        """Why it is there no longer: "the capture process was killed by signal 11 (SIGSEGV)"; empty while it runs."""
        code = self._process.poll() if self._process else None
        if code is None:
            return ""
        how = f"was killed by signal {-code} ({_signal_name(-code)})" if code < 0 else f"ended with exit code {code}"
        lines = self._said.decode(errors="replace").strip().splitlines()
        return f"the capture process {how}" + (f": {redact(lines[-1])}" if lines and code != -signal.SIGKILL else "")

    def receive(self, timeout_s: float) -> FromProcess | None:
        """The next thing it says; None: nothing in this time, or it is no longer `alive`."""
        due = time.monotonic() + timeout_s
        with self._hearing:
            while self._socket is not None and self._process is not None and not self._over:
                assert self._process.stderr is not None
                ready = _readable([self._socket.fileno(), self._process.stderr.fileno()], due - time.monotonic())
                if not ready:
                    return None
                if self._process.stderr.fileno() in ready:
                    self._hear_errors()
                if self._socket.fileno() in ready:
                    try:
                        message = self._socket.recv(MESSAGE_BYTES)
                    except ConnectionResetError:  # it ended before it had read all; its last words are still there
                        continue
                    if message:
                        return self._to_parent.decode(message)
                    self._over = True
                    self._bury()
        return None

    def copy(self, captured: Captured) -> NDArray[np.uint8]:
        """The picture, [height, width, 3] BGR, as an array of its own; the place stays taken until `release`.

        Raises:
            SourceError: the process was killed meanwhile, or names a picture that cannot be.
        """
        size = captured.height * captured.width * 3
        if not (0 <= captured.place < BUFFERS and 0 < size <= BUFFER_BYTES):
            raise SourceError(f"the capture process names a picture that cannot be: {captured}")
        with self._using:
            if self._memory is None:
                raise SourceError("the capture process was killed")
            place = np.frombuffer(self._memory, np.uint8, size, captured.place * BUFFER_BYTES)
            return place.reshape(captured.height, captured.width, 3).copy()

    def release(self, place: int) -> None:
        """Give a place back to the process; nothing, where it has gone."""
        with self._using:
            if self._socket is not None:
                # Where it has gone, `receive` hears its last words, and learns of it.
                with suppress(BrokenPipeError, ConnectionResetError):
                    self._socket.send(msgspec.msgpack.encode(Release(place)))

    def stop(self) -> None:
        """Let it take leave of its camera, which may keep a session or a device for it otherwise; after GRACE_S, `kill`."""
        if self._process is not None:
            self._hang_up()
            try:
                self._process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                log.debug("capture process %d takes no leave", self._process.pid)
        self.kill()

    def kill(self) -> None:
        """End it at once and give everything back. Once more is harmless."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
            try:
                process.wait(REAPED_S)
            except subprocess.TimeoutExpired:
                # It hangs inside the kernel, whose affair it is now; Python reaps it when it starts a later process.
                log.warning("capture process %d was killed but hangs inside a driver", process.pid)
        self._hang_up()
        with self._hearing, self._using:
            self._over = True
            if process is not None and process.stderr is not None and not process.stderr.closed:
                if process.poll() is not None:
                    self._hear_errors()
                process.stderr.close()
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            if self._memory is not None:
                self._memory.close()
                self._memory = None

    def _hang_up(self) -> None:
        """Say that nobody listens any longer; that wakes a thread which waits in `receive`, too."""
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                log.debug("capture process %s has hung up already", self.pid)

    def _bury(self) -> None:
        """It has closed its end: learn how it ended and what it said last."""
        assert self._process is not None
        try:
            self._process.wait(ENDED_S)
        except subprocess.TimeoutExpired:
            log.debug("capture process %d takes long to end", self._process.pid)  # `kill` will see to it
        self._hear_errors()

    def _hear_errors(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        if _readable([self._process.stderr.fileno()], 0):
            self._said = (self._said + os.read(self._process.stderr.fileno(), MESSAGE_BYTES))[-KEPT_BYTES:]


def _readable(descriptors: list[int], timeout_s: float) -> set[int]:
    """Which of them have something to read, or have been closed by the other side."""
    poll = select.poll()  # not select.select, which knows no descriptor above 1023
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(max(0.0, timeout_s) * 1e3)}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
