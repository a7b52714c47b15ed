"""Messages that wait on disk until the other side is back: first in, first out, in an SQLite file of limited size."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from ..errors import SinkError
from .file_name import moment
from .message import Message
from .spool_options import SpoolOptions

log = logging.getLogger(__name__)

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    message BLOB NOT NULL
)
"""


class Spool:
    """A first-in-first-out store. What `put` returned from is there after a power cut; what was removed may come back after one.

    Used by one thread at a time. The file is this process's alone while it is open.

    Raises:
        SinkError: the file cannot be opened, read or written, or another process has it.
    """

    def __init__(self, path: Path, options: SpoolOptions | None = None) -> None:
        self.path = path
        self._options = options or SpoolOptions()
        self.count = 0
        self.bytes = 0
        self.newest = 0  # number of the message that was put last; those put together have numbers in a row
        self._file: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{path.parent} cannot be made: {error.strerror}; give another place as spool") from None
        self._guarded(self._connect)

    def put(self, messages: Sequence[Message]) -> int:
        """Append messages; says how many were dropped for want of room."""
        packed = [msgspec.msgpack.encode(message) for message in messages]
        return self._guarded(lambda: self._put(packed))

    def head(self, limit: int) -> list[tuple[int, Message]]:
        """The oldest messages, by their numbers."""
        return self._guarded(lambda: self._head(limit))

    def remove(self, number: int) -> None:
        """Forget a message, for it was delivered."""
        self._guarded(lambda: self._remove(number))

    @property
    def is_open(self) -> bool:
        """Not so once it was closed, or was damaged and could not be put aside."""
        return self._file is not None

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _guarded(self, work: Callable[[], T]) -> T:
        """What `work` gives; on a fresh file, where this one turns out to be damaged."""
        try:
            return work()
        except (sqlite3.DatabaseError, msgspec.MsgspecError) as error:
            if isinstance(error, sqlite3.OperationalError):  # a full disk, a lock: the file itself is sound
                raise self._unusable(error) from None
            damage = error
        try:
            self._set_aside(damage)
        except OSError as error:
            raise SinkError(
                f"{self.path} is damaged ({damage}) and cannot be put aside: {error.strerror or error}; see to its folder"
            ) from None
        try:
            self._connect()
            return work()
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _unusable(self, error: sqlite3.Error) -> SinkError:
        if "locked" in str(error):
            return SinkError(f"{self.path} is in use by another process; give this one a spool of its own")
        return SinkError(f"{self.path} cannot be used: {error}; see that its folder is writable and has room")

    def _set_aside(self, error: Exception) -> None:
        self.close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{moment(time.time())}")
        for suffix in ("", "-wal"):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.replace(aside.with_name(aside.name + suffix))
        log.error("%s is damaged (%s); it is kept as %s, and a fresh one is begun", self.path, error, aside.name)

    @property
    def _opened(self) -> sqlite3.Connection:
        if self._file is None:
            raise SinkError(f"{self.path} is closed")
        return self._file

    def _connect(self) -> None:
        self.close()
        self._file = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        self._file.execute("PRAGMA locking_mode = EXCLUSIVE")  # nobody else's while it is open, kill -9 frees it
        self._file.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._file.execute("PRAGMA journal_mode = WAL")
        if self._file.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("its pages do not fit together")
        self._file.execute(_SCHEMA)
        self._measure()
        (last,) = self._file.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
        if last < self.newest:  # a fresh file gives out no number again that somebody may still have of the one before
            self._file.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('messages', ?)", (self.newest,))
        self.newest = max(self.newest, last)

    def _measure(self) -> None:
        self.count, self.bytes = self._opened.execute(
            "SELECT count(*), coalesce(sum(length(message)), 0) FROM messages"
        ).fetchone()

    def _put(self, packed: Sequence[bytes]) -> int:
        file = self._opened
        file.execute("PRAGMA synchronous = FULL")  # the power often goes when the network does
        count, size, dropped = self.count + len(packed), self.bytes + sum(map(len, packed)), 0
        with file:  # commits, or rolls back
            file.execute("BEGIN IMMEDIATE")
            file.executemany("INSERT INTO messages (message) VALUES (?)", [(one,) for one in packed])
            (newest,) = file.execute("SELECT last_insert_rowid()").fetchone()
            for number, length in file.execute("SELECT number, length(message) FROM messages ORDER BY number"):
                if count <= self._options.max_messages and size <= self._options.max_bytes:
                    file.execute("DELETE FROM messages WHERE number < ?", (number,))
                    break
                count, size, dropped = count - 1, size - length, dropped + 1
            else:
                file.execute("DELETE FROM messages")
        self.count, self.bytes, self.newest = count, size, max(self.newest, newest)
        return dropped

    def _head(self, limit: int) -> list[tuple[int, Message]]:
        rows = self._opened.execute("SELECT number, message FROM messages ORDER BY number LIMIT ?", (limit,))
        return [(number, msgspec.msgpack.decode(packed, type=Message)) for number, packed in rows]

    def _remove(self, number: int) -> None:
        file = self._opened
        file.execute("PRAGMA synchronous = NORMAL")  # should this be forgotten, the message comes twice
        removed = file.execute("DELETE FROM messages WHERE number = ? RETURNING length(message)", (number,)).fetchall()
        self.count, self.bytes = self.count - len(removed), self.bytes - sum(length for (length,) in removed)
        if removed and self.count == 0:  # a long night's file gives its room back
            # `execute` would take one step of it, which is one page.
            file.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
