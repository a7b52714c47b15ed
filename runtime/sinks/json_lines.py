"""JSON Lines: one line per result, and per change of a camera's state, to standard output or to a file that is rotated."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from ..cameras.status import StateChange
from ..errors import InputError, SinkError
from .sink import AnsweredFrame, Sink


@dataclass(frozen=True)
class JsonLinesOptions:
    """Where the lines go, and when a file is full."""

    path: Path | None = None  # None: standard output
    append: bool = False  # keep what the file has; a file that is rotated always does
    max_bytes: int | None = None  # of a file; then it becomes FILE.1, FILE.1 becomes FILE.2, and so on
    every_s: float | None = None  # or after so many seconds
    keep: int = 5  # rotated files; the oldest goes
    states: bool = True  # a line per change of a camera's state, {"state": "stale", "camera": ...}, too

    def __post_init__(self) -> None:
        for name in ("max_bytes", "every_s", "keep"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise InputError(f"{name} is {value}; give a number above 0")


class JsonLines(Sink):
    """Whole lines, in order. What does not fit on the disk is cut off again, and tried once more as any failure.

    Raises:
        SinkError: the file cannot be written. Standard output raises OSError as it comes, for the command line ends with it.
    """

    queue_length: ClassVar[int] = 4096  # lines

    def __init__(self, options: JsonLinesOptions) -> None:
        self.options = options
        self.name = str(options.path or "standard output")
        path = options.path
        if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
            raise SinkError(f"{path} cannot be written; give a file in a folder that is there and yours to write")
        self._rotates = path is not None and (options.max_bytes is not None or options.every_s is not None)
        self._file = -1
        self._began = 0.0  # by time.monotonic(), the file
        self._was_open = False
        self._begun: tuple[bytes, bytes] | None = None  # what standard output took in part, and the rest
        self._torn = False  # standard output ends within a line

    @property
    def place(self) -> str:
        return str(self.options.path.resolve()) if self.options.path else self.name

    def open(self) -> None:
        path = self.options.path
        if path is None:
            return
        self.close()
        afresh = not (self.options.append or self._rotates or self._was_open)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (os.O_TRUNC if afresh else 0)
            self._file = os.open(path, flags, 0o644)
            self._was_open = True
            self._end_torn_line(path)
        except OSError as error:
            raise self._failure(error) from None
        self._began = time.monotonic()

    def prepare(self, answered: AnsweredFrame) -> bytes | None:
        return "".join(result.to_json() + "\n" for result in answered.results).encode() or None

    def prepare_state(self, change: StateChange) -> bytes | None:
        if not self.options.states:
            return None
        said = {"state": str(change.after), "before": str(change.before)}
        return (json.dumps({**asdict(change), **said}, ensure_ascii=False) + "\n").encode()

    def write(self, item: bytes) -> None:
        if self.options.path is None:
            try:
                self._write_out(item)
            except BrokenPipeError:
                self.reader_gone = True
                raise
            return
        try:
            if self._is_gone(self.options.path):
                self.open()
            elif self._rotates and self._is_full(len(item)):
                self._rotate(self.options.path)
            self._append(item)
        except OSError as error:
            raise self._failure(error) from None

    def write_state(self, change: StateChange) -> None:
        if (line := self.prepare_state(change)) is not None:
            self.write(line)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write_out(self, item: bytes) -> None:
        """To standard output, past its buffer, which would keep what failed and write it again.

        What was taken in part is completed where it is tried again; where something else comes, the torn line is ended first.
        """
        sys.stdout.flush()
        out = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
        rest = b"\n" + item if self._torn else item
        if self._begun and self._begun[0] == item:
            rest = self._begun[1]
        while rest:
            written = out.write(rest)
            if written is None:
                raise BlockingIOError(errno.EAGAIN, "standard output takes nothing now")
            if written:
                self._torn = rest[written - 1 : written] != b"\n"
            rest = rest[written:]
            self._begun = (item, rest)
        self._begun = None

    def _append(self, item: bytes) -> None:
        """All of it or nothing."""
        before = os.fstat(self._file).st_size
        rest = memoryview(item)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            if len(rest) < len(item):
                os.ftruncate(self._file, before)
            raise

    def _is_gone(self, path: Path) -> bool:
        """Somebody else removed or moved it, as logrotate does."""
        try:
            return not os.path.samestat(path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return True

    def _is_full(self, more: int) -> bool:
        size = os.fstat(self._file).st_size
        too_long = self.options.max_bytes is not None and size + more > self.options.max_bytes
        too_old = self.options.every_s is not None and time.monotonic() - self._began >= self.options.every_s
        return size > 0 and (too_long or too_old)

    def _rotate(self, path: Path) -> None:
        for i in range(self.options.keep - 1, 0, -1):
            if (older := Path(f"{path}.{i}")).exists():
                older.replace(f"{path}.{i + 1}")
        path.replace(f"{path}.1")
        self.open()

    def _end_torn_line(self, path: Path) -> None:
        """A power cut may have left half a line; the next one begins on its own."""
        if (size := os.fstat(self._file).st_size) == 0:
            return
        with path.open("rb") as file:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                os.write(self._file, b"\n")

    def _failure(self, error: OSError) -> SinkError:
        return SinkError(f"{self.options.path} cannot be written: {error.strerror or error}; make room or give another")
