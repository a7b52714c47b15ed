"""A folder into which pictures are put while it is watched."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError, SourceError
from ..preprocess import read_image
from .pictures import PICTURES
from .source import Frame, Source

log = logging.getLogger(__name__)

LOOKED_S = 0.1  # between looks at the folder
SETTLED_S = 0.3  # a file that has not changed for so long is whole, if it can be read


class WatchedFolder(Source):
    """The pictures of a folder: those that are there, by name, then new ones in the order in which they came to be whole.

    It has no end but `close`, and it waits where there is nothing new, as a live source; but no picture is dropped, since a file
    does not go away. Each is read once, as soon as its size and time of change have stood still for SETTLED_S; who moves a finished
    file into the folder is heard at once for the next look. One that is no picture is named in the log and passed over. A picture's
    `captured_at` is the time of the file's last change.
    """

    live = True

    def __init__(self, folder: Path) -> None:
        """Raises SourceError where there is no such folder."""
        if not folder.is_dir():
            raise SourceError(f"{folder} is no folder to watch; make it, or check its path")
        self.folder = folder
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        seen: set[str] = set()
        index = 0
        while not self._closed.is_set():
            for path, changed_at in self._whole(seen):
                seen.add(path.name)
                try:
                    image = read_image(path)
                except InputError as error:
                    log.warning("passed over: %s", error)
                    continue
                age_s = max(0.0, time.time() - changed_at)
                yield Frame(image, index, changed_at, str(path), time.monotonic() - age_s)
                index += 1
            self._closed.wait(LOOKED_S)

    def close(self) -> None:
        self._closed.set()

    def _whole(self, seen: set[str]) -> list[tuple[Path, float]]:
        """New pictures that nobody writes any longer, with the time of their last change, in its order and by name."""
        found = []
        try:
            here = list(self.folder.iterdir())
        except OSError as error:
            raise SourceError(f"{self.folder} can no longer be read: {error.strerror}") from None
        for path in here:
            if path.suffix.lower() not in PICTURES or path.name in seen:
                continue
            try:
                told = path.stat()
            except FileNotFoundError:  # it was moved away between the two looks
                continue
            if told.st_size and time.time() - told.st_mtime >= SETTLED_S:
                found.append((path, told.st_mtime))
        return sorted(found, key=lambda item: (item[1], item[0].name))
