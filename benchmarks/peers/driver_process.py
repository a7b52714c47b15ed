"""A driver as a child process: a request in, an answer out, within a time; see drivers/protocol.py for what is said."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from .child import end, last_line

_SAMPLING_S = 0.05


class DriverError(Exception):
    """A driver died, hung or gave up; the message is a sentence that names its log."""


class DriverProcess:
    """`with DriverProcess([python, script], log) as driver: driver.ask({"do": "load", ...}, timeout_s)`."""

    def __init__(self, command: Sequence[str], log: Path, variables: Mapping[str, str] | None = None) -> None:
        """log: what the driver and its engine print; it is appended to."""
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("a") as said:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=os.environ | dict(variables or {}),
                start_new_session=True,
            )
        self._answers: queue.Queue[str] = queue.Queue()  # "" when there will be no more
        threading.Thread(target=self._listen, daemon=True).start()
        self.memory = PeakMemory(self._child.pid)

    def watch_memory_of(self, pid: int) -> None:
        """Where not the driver computes but a process of its own."""
        self.memory.stop()
        self.memory = PeakMemory(pid)

    def __enter__(self) -> DriverProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.memory.stop()
        end(self._child)
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # of a request that a dead driver never read
                    pipe.close()

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            DriverError: there is none in time, or none at all, or it is an error.
        """
        what = request["do"]
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead; the missing answer tells
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            raise DriverError(f"no answer to {what} within {timeout_s:g} s") from None
        if not line:
            code = self._child.wait()
            raise DriverError(
                f"ended with code {code} instead of an answer to {what}: {last_line(self._log) or 'it said nothing'} ({self._log})"
            )
        try:
            answer = json.loads(line)
        except ValueError:
            raise DriverError(f"answered {what} by what is no JSON: {line[:100]!r}") from None
        if "error" in answer:
            raise DriverError(f"{what}: {answer['error']} ({self._log})")
        return dict(answer)

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._answers.put(line)
        self._answers.put("")


class PeakMemory:
    """The most memory that a process has had, in bytes: all that is resident, and the anonymous part of it.

    The rest is mapped files, which the kernel can drop and read again. The kernel keeps the first peak itself (VmHWM); the
    second is sampled.
    """

    def __init__(self, pid: int) -> None:
        self.resident_bytes = self.anonymous_bytes = 0
        self._status = Path(f"/proc/{pid}/status")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def sample(self) -> None:
        try:
            entries = dict(line.split(":", 1) for line in self._status.read_text().splitlines())
            resident, anonymous = (int(entries[name].split()[0]) * 1024 for name in ("VmHWM", "RssAnon"))
        except (OSError, KeyError):  # it has ended
            return
        self.resident_bytes = max(self.resident_bytes, resident)
        self.anonymous_bytes = max(self.anonymous_bytes, anonymous)

    def _watch(self) -> None:
        while not self._stopped.is_set():
            self.sample()
            time.sleep(_SAMPLING_S)
