"""A folder into which pictures are put while it is watched."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, SourceError
from ..preprocess import read_image
from .pictures import PICTURES
from .source import Frame, Source

log = logging.getLogger(__name__)

LOOKED_S = 0.1  # between looks at the folder, and more where a look takes long
SETTLED_S = 0.3  # a file that has not changed for so long is whole, if it can be read
_SHARE = 0.1  # of the time that looks take at most
# FAT tells times to two seconds: a folder that was changed so lately may be changed again at the same time.
_COARSE_S = 2.5
_ANYWAY_S = 5.0  # names are read so often even where a file system keeps no time of the folder's change


class WatchedFolder(Source):
    """The pictures of a folder, each name once: the oldest first, by the time of its last change and by name.

    It has no end but `close`, and it has nothing to give where there is nothing new, as a live source; but no picture is dropped,
    since a file does not go away. A picture is read as soon as its file has stood still for SETTLED_S; so who moves a finished file
    into the folder is heard soon too. One that cannot be read is named in the log once, and tried again when its file changes.
    A folder that is not there for a while has nothing to give meanwhile. A picture's `captured_at` is the time of the file's last
    change.
    """

    live = True

    def __init__(self, folder: Path) -> None:
        """Raises SourceError where there is no such folder."""
        if not folder.is_dir():
            raise SourceError(f"{folder} is no folder to watch; make it, or check its path")
        self.folder = folder
        self._closed = threading.Event()
        self._index = 0  # of the next picture
        self._whole: deque[str] = deque()  # names of those to be read next
        self._waiting: dict[str, _File] = {}  # by name: not given yet, the whole ones among them
        self._given: dict[str, tuple[int, int]] = {}  # by name: its size and time of change, as it was then
        self._names: set[str] = set()  # when the names were last read
        self._names_at = 0.0  # when that was; as all that follows, by time.monotonic()
        self._look_at = 0.0  # when the next look is due
        self._changed_ns = 0  # the folder's own time of change
        self._changed_at = 0.0  # when it was first seen
        self._gone = False

    def next_picture(self) -> Frame | None:
        """The oldest whole picture that was not given yet; None: there is none now, or the folder is not there. Never waits."""
        if self._closed.is_set():
            return None
        if not self._whole:
            self._look()
        while self._whole:
            frame = self._read(self._whole.popleft())
            if frame is not None:
                return frame
        return None

    def __iter__(self) -> Iterator[Frame]:
        while not self._closed.is_set():
            frame = self.next_picture()
            if frame is None:
                self._closed.wait(LOOKED_S)
            else:
                yield frame

    def close(self) -> None:
        self._closed.set()

    def _look(self) -> None:
        """See which pictures are whole, unless a look was taken just now."""
        now = time.monotonic()
        if now < self._look_at:
            return
        if self._is_there(now):
            for name, file in list(self._waiting.items()):
                self._see(name, file, now)
            whole = [name for name, file in self._waiting.items() if file.whole_at(now)]
            self._whole.extend(sorted(whole, key=lambda name: (self._waiting[name].stamp.changed_ns, name)))
        took_s = time.monotonic() - now
        self._look_at = now + took_s + min(_ANYWAY_S, max(LOOKED_S, took_s / _SHARE))

    def _is_there(self, now: float) -> bool:
        """Note the names that the folder holds now; whether there is such a folder. That it has gone and come is logged once."""
        try:
            changed_ns = self.folder.stat().st_mtime_ns
            if changed_ns != self._changed_ns:
                self._changed_ns, self._changed_at = changed_ns, now
            if now - self._changed_at < _COARSE_S or now - self._names_at >= _ANYWAY_S:
                self._read_names(now)
        except OSError as error:  # a stick that was pulled, a file server that is away
            if not self._gone:
                log.warning("%s cannot be read, and is waited for: %s", self.folder, error.strerror or error)
            self._gone, self._changed_ns = True, 0
            return False
        if self._gone:
            log.warning("%s can be read again", self.folder)
            self._gone = False
        return True

    def _read_names(self, now: float) -> None:
        with os.scandir(self.folder) as entries:
            names = {entry.name for entry in entries if entry.name.lower().endswith(PICTURES)}
        for name in names - self._names:
            self._waiting[name] = _File(_Stamp(0, 0, 0), now)
        if names:  # none at all: a disk's place while it is not mounted, perhaps, and it comes back with all of them
            self._given = {name: stamp for name, stamp in self._given.items() if name in names}
        self._names, self._names_at = names, now

    def _see(self, name: str, file: _File, now: float) -> bool:
        """Note how a file is; whether it is as it was."""
        try:
            stamp = _stamp(self.folder / name)
        except FileNotFoundError:  # it was moved away; should it come back, it is new
            self._names.discard(name)
            del self._waiting[name]
            return False
        except OSError:  # a file server that is away; the next look tells
            return False
        if stamp[:2] == self._given.get(name):  # it was away for a while
            del self._waiting[name]
            return False
        same = stamp == file.stamp
        if not same:
            file.stamp, file.since, file.unreadable = stamp, now, False
        return same

    def _read(self, name: str) -> Frame | None:
        """A picture; None: its file has changed meanwhile, is gone, or holds none."""
        path, file = self.folder / name, self._waiting[name]
        try:
            image = read_image(path)
            reason = ""
        except InputError as error:
            reason = str(error)
        if not self._see(name, file, time.monotonic()):  # so what was read may be half of it
            return None
        if reason:
            if not file.named:
                log.warning("passed over until it changes: %s", reason)
            file.unreadable = file.named = True
            return None
        del self._waiting[name]
        self._given[name] = file.stamp[:2]
        changed_at = file.stamp.changed_ns / 1e9
        age_s = max(0.0, time.time() - changed_at)
        frame = Frame(image, self._index, changed_at, str(path), time.monotonic() - age_s)
        self._index += 1
        return frame


class _Stamp(NamedTuple):
    """By which a file that was changed is known."""

    size_bytes: int
    changed_ns: int  # the last change of what it holds, since 1970 by the clock of who wrote it
    entry_ns: int  # and of its owner and rights, for one may be given the right to read it


@dataclass
class _File:
    """A file that holds a picture, or will."""

    stamp: _Stamp
    since: float  # when it was first seen so, by time.monotonic(): its own times are by another clock
    unreadable: bool = False  # so as it is
    named: bool = False  # in the log

    def whole_at(self, now: float) -> bool:
        """Nobody writes it any longer."""
        return bool(self.stamp.size_bytes) and not self.unreadable and now - self.since >= SETTLED_S


def _stamp(path: Path) -> _Stamp:
    told = path.stat()
    return _Stamp(told.st_size, told.st_mtime_ns, told.st_ctime_ns)
