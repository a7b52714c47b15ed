"""Any function as a sink: called with every answered frame, and with changes of state where it is given a second one."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from ..cameras.status import StateChange
from .sink import AnsweredFrame, Sink


class FunctionSink(Sink):
    """Calls `take` on the sink's thread. What it raises is logged and counted, and the frame is given up.

    A function that waits for something may raise SinkError: it is then called again with the same frame.
    """

    queue_length: ClassVar[int] = 8  # pictures

    def __init__(
        self,
        take: Callable[[AnsweredFrame], object],
        *,
        take_state: Callable[[StateChange], object] | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name or f"function {getattr(take, '__qualname__', type(take).__name__)}"
        self._take = take
        self._take_state = take_state

    def write(self, item: AnsweredFrame) -> None:
        self._take(item)

    def write_state(self, change: StateChange) -> None:
        if self._take_state is not None:
            self._take_state(change)
