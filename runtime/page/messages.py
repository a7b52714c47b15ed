"""News for who listens at the page's WebSocket: answers and changes of state, as JSON.

A message has a `type` ("answered" or "state") and a `number` that counts up by one, so a gap shows what a listener missed.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

from ..cameras.status import StateChange
from ..result import StreamResult
from .wake import Wake

_KEPT = 256  # newest messages; a listener that is further behind misses the older ones


@dataclass(frozen=True)
class Answers:
    """Of a camera about one frame."""

    camera: str
    results: tuple[StreamResult, ...]


@dataclass(frozen=True)
class Message:
    """One that was sent; its JSON is made when the first listener wants it."""

    number: int
    what: Answers | StateChange

    @cached_property
    def text(self) -> str:
        return json.dumps({"number": self.number, **_plain(self.what)}, ensure_ascii=False)


class Messages:
    """`put` is for any thread and never blocks; `last` and `after` are the event loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._came = Wake(loop)
        self._lock = threading.Lock()
        self._sent: deque[Message] = deque(maxlen=_KEPT)
        self._last_answers: dict[str, Message] = {}  # by camera
        self._number = 0

    def put(self, what: Answers | StateChange) -> None:
        """Tell every listener."""
        with self._lock:
            self._number += 1
            message = Message(self._number, what)
            self._sent.append(message)
            if isinstance(what, Answers):
                self._last_answers[what.camera] = message
        self._came.call()

    def last(self) -> tuple[int, list[Message]]:
        """For who begins to listen: the number of the last message, and the last answers of each camera."""
        with self._lock:
            return self._number, list(self._last_answers.values())

    async def after(self, number: int) -> list[Message]:
        """Those above `number` that are still kept, oldest first, once there is one."""
        while True:
            with self._lock:
                newer = list(takewhile(lambda message: message.number > number, reversed(self._sent)))
            if newer:
                return newer[::-1]
            await self._came.wait()

    def close(self) -> None:
        self._came.close()


def _plain(what: Answers | StateChange) -> dict[str, Any]:
    if isinstance(what, Answers):
        return {
            "type": "answered",
            "camera": what.camera,
            "results": [result.to_dict() for result in what.results],
        }
    return {"type": "state", **asdict(what), "before": str(what.before), "after": str(what.after)}
