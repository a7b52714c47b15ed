"""Hands every answered frame and every change of a camera's state to the sinks.

A live camera waits for nobody, so each sink has a queue and a thread; results of files must not be lost, so there a sink that keeps
nothing on disk takes them at once, and what it raises ends the run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from ..cameras.status import StateChange
from ..errors import InputError
from ..sinks.sink import AnsweredFrame, Sink, SinkStatus
from ..sinks.sink_queue import SinkQueue

log = logging.getLogger(__name__)


class Delivery:
    """Used in a `with`, which finishes files and says goodbye to brokers."""

    def __init__(self, sinks: Sequence[Sink], *, live: bool, close_s: float = 5.0) -> None:
        """live: frames come whether or not the sinks are through with those before; close_s: that each has for what waits.

        Raises:
            InputError: two sinks go to one place.
        """
        places = [sink.place for sink in sinks]
        if twice := [sink.name for sink in sinks if places.count(sink.place) > 1]:
            raise InputError(f"two sinks are {twice[0]}; leave one out, or give it another place or name")
        self._close_s = close_s
        self._ways: list[SinkQueue | _AtOnce] = [
            SinkQueue(sink) if live or sink.policy == "spill" else _AtOnce(sink) for sink in sinks
        ]

    def put(self, answered: AnsweredFrame) -> None:
        """Of a live camera: never blocks. Of a file: raises what a sink raises.

        Raises:
            BrokenPipeError: the reader of standard output has gone.
        """
        for way in self._ways:
            if way.sink.reader_gone:
                raise BrokenPipeError(f"nobody reads {way.sink.name} any more")
            way.put(answered)

    def put_state(self, change: StateChange) -> None:
        for way in self._ways:
            way.put_state(change)

    def sinks(self) -> tuple[SinkStatus, ...]:
        """How each is. From any thread."""
        return tuple(way.status() for way in self._ways)

    def __enter__(self) -> Delivery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failures = [error] if isinstance(error, Exception) else []
        with ExitStack() as stack:  # all are closed, in order, whatever one of them raises and who interrupts
            for way in reversed(self._ways):
                stack.callback(self._close, way, failures)
        if failures and failures[0] is not error:
            raise failures[0]

    def _close(self, way: SinkQueue | _AtOnce, failures: list[Exception]) -> None:
        try:
            way.close(self._close_s)
        except Exception as failure:
            if failures:  # only the first comes out of the `with`
                log.warning("%s did not close well: %s", way.sink.name, failure)
            failures.append(failure)


class _AtOnce:
    """A sink without a queue. It is opened at the first result, so that an error before it keeps what was there."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._opened = False
        self._delivered = 0

    def put(self, answered: AnsweredFrame) -> None:
        if not self._opened:
            self.sink.open()
            self._opened = True
        self._write(self.sink.prepare(answered))

    def put_state(self, change: StateChange) -> None:
        if self._opened:
            self._write(self.sink.prepare_state(change))

    def _write(self, prepared: Any) -> None:
        items = prepared if isinstance(prepared, list) else [] if prepared is None else [prepared]
        self._delivered += sum(1 for _ in self.sink.write_many(items))

    def status(self) -> SinkStatus:
        return SinkStatus(self.sink.name, ready=True, queued=0, delivered=self._delivered, dropped=0, failed=0)

    def close(self, timeout_s: float) -> None:
        if self._opened:
            self.sink.close()
