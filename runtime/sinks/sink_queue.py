"""Between the cameras and a sink: a bounded queue and one thread, so that a sink which is slow, down or stuck holds up nobody.

A sink that fails is opened again, ever more seldom, and what it did not take is tried again. When the queue is full the oldest is
dropped. A sink that spills is fed from memory while all is well, which spares a Jetson's flash; while it fails, or once half of the
queue waits, all that waits goes to disk, and that is delivered first. For the latter such a sink has a second thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cameras.backoff import Backoff
from ..cameras.status import StateChange
from ..errors import InputError, SinkError
from .sink import AnsweredFrame, BusyError, Policy, RefusedError, Sink, SinkStatus
from .spool_options import SpoolOptions

if TYPE_CHECKING:
    from .spool import Spool

log = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 30.0
_IDLE_S = 1.0  # between looks at whether the other side is still there
_SPILL_S = 0.2  # between moves to disk while the sink fails: what a kill of the process can cost then
_SPOOL_AGAIN_S = 60.0  # between attempts to open a spool that failed
_STUCK_S = 10.0  # a delivery that takes so long is said to be stuck
_SAY_AGAIN_S = 60.0  # between lines about items that are given up


class SinkQueue:
    """A sink with its queue and its thread, which runs until `close`.

    Raises:
        InputError: `spill` of a sink that gives nothing a disk could keep.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        length: int | None = None,
        policy: Policy | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """length, policy: in place of the sink's own. backoff: between attempts; None: 0.25 s at first, 30 s at last."""
        if policy == "spill" and sink.policy != "spill":
            raise InputError(f"{sink.name} keeps nothing on disk; only MQTT and webhooks do: give drop-oldest")
        self.sink = sink
        self._length = sink.queue_length if length is None else length
        self._spills = (policy or sink.policy) == "spill"
        self._spool_options = sink.spool or SpoolOptions()
        self._most = self._length  # that wait in memory; while a spool takes them, as many as it may hold itself
        if self._spills:
            self._most = max(self._length, self._spool_options.max_messages)
        self._wake = threading.Condition()
        self._waiting: deque[Any] = deque()
        self._hand = threading.Lock()  # on the spool and on what is taken
        # Not delivered yet; with its number, where the spool has it.
        self._taken: deque[tuple[int | None, Any]] = deque()
        self._spool: Spool | None = None
        self._spool_fails = False  # which was said
        self._spool_at = 0.0  # when it is opened next
        self._crowded = threading.Event()  # half of the queue waits, or it is to end
        self._backoff = backoff or Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        self._delivered = self._dropped = self._failed = 0
        self._is_open = False
        self._down = ""  # why, while attempts fail
        self._down_since = 0.0  # by time.monotonic(), as all of these
        self._well_since = 0.0
        self._retry_at = 0.0
        self._busy_since: float | None = None  # within the sink
        self._refused = ""  # why, until the next delivery
        self._refused_said_at = -_SAY_AGAIN_S
        self._overflowing = False
        self._closing_at: float | None = None  # when to have ended
        self._given_up = False
        self._thread = threading.Thread(target=self._run, name=f"palijet-{sink.name}", daemon=True)
        self._room_maker = threading.Thread(target=self._make_room, name=f"palijet-{sink.name}-spool", daemon=True)
        if self._spills:
            self._room_maker.start()
        self._thread.start()

    def put(self, answered: AnsweredFrame) -> None:
        """Deliver an answered frame when its turn comes. Never blocks, never raises."""
        self._put(self.sink.prepare, answered)

    def put_state(self, change: StateChange) -> None:
        """Tell of a camera's new state when its turn comes. Never blocks, never raises."""
        self._put(self.sink.prepare_state, change)

    def status(self) -> SinkStatus:
        """How it is. From any thread."""
        busy_s = 0.0 if self._busy_since is None else time.monotonic() - self._busy_since
        stuck = f"it has not come back for {busy_s:.0f} s" if busy_s > _STUCK_S else ""
        reason = self._down or stuck or self._refused or ("" if self._is_open else "it is not open yet")
        return SinkStatus(
            name=self.sink.name,
            ready=not reason,
            queued=self._left(),
            delivered=self._delivered,
            dropped=self._dropped,
            failed=self._failed,
            reason=reason,
            spooled=self._on_disk(),
        )

    def close(self, timeout_s: float = 5.0) -> None:
        """Deliver what waits, or keep it on disk where there is a spool, and close the sink; give up after `timeout_s`."""
        with self._wake:
            self._closing_at = time.monotonic() + timeout_s
            self._wake.notify()
        self._crowded.set()
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            return
        left = self._left()
        with self._hand:
            self._given_up = True
            kept = left if self._spill() else 0
        log.warning(
            "%s did not end within %g s; of %d results that waited, %d are kept on disk",
            self.sink.name, timeout_s, left, kept,
        )  # fmt: skip

    def _left(self) -> int:
        """What is in memory and not delivered."""
        return len(self._waiting) + sum(1 for number, _ in list(self._taken) if number is None)

    def _on_disk(self) -> int:
        spool = self._spool  # which may be taken away meanwhile
        return spool.count if spool else 0

    def _put(self, prepare: Callable[[Any], Any], given: AnsweredFrame | StateChange) -> None:
        try:
            item = prepare(given)
        except Exception as error:  # a fault of the sink's, which the cameras must not feel
            self._refuse(error)
            return
        if item is None:
            return
        with self._wake:
            for one in item if isinstance(item, list) else [item]:
                if len(self._waiting) >= self._most:
                    self._waiting.popleft()
                    self._overflow(1)
                self._waiting.append(one)
            self._wake.notify()
        if self._spills and self._is_crowded():
            self._crowded.set()

    def _is_crowded(self) -> bool:
        return len(self._waiting) > self._length // 2

    def _run(self) -> None:
        while not self._is_over():
            if self._spills and self._spool is None and time.monotonic() >= self._spool_at:
                self._open_spool()
            self._rest()
            if self._down or self._on_disk():
                with self._hand:
                    self._spill()
            if time.monotonic() >= self._retry_at:
                self._attempt()
        self._end()

    def _open_spool(self) -> None:
        options = self._spool_options
        try:
            spool = _spool(options.path_for(self.sink.name), options)
        except SinkError as error:
            with self._hand:
                self._go_without_spool(error)
            return
        if self._spool_fails:
            log.info("%s has a spool again", self.sink.name)
        if spool.count:
            log.info("%s: %d results of before wait in %s", self.sink.name, spool.count, spool.path)
        with self._hand:
            self._spool, self._spool_fails = spool, False
            self._most = max(self._length, options.max_messages)

    def _go_without_spool(self, error: SinkError) -> None:
        """From memory, until the spool can be opened again; needs `_hand`. What lies in it comes then, or in the next run."""
        if not self._spool_fails:
            log.error("%s has no spool, and what is not delivered waits in memory only: %s", self.sink.name, error)
        self._spool_fails = True
        self._spool_at = time.monotonic() + _SPOOL_AGAIN_S
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.close()
        for i, (_, item) in enumerate(self._taken):
            self._taken[i] = (None, item)
        self._bound_memory(error)

    def _bound_memory(self, error: SinkError) -> None:
        """To the queue's length, for the disk takes nothing."""
        with self._wake:
            self._most = self._length
            over = max(0, len(self._waiting) - self._most)
            for _ in range(over):
                self._waiting.popleft()
        self._overflow(over, f"; {error}")

    def _is_over(self) -> bool:
        if self._closing_at is None:
            return False
        backlog = self._on_disk() > 0  # stays where it is
        return bool(self._down) or backlog or not self._left() or time.monotonic() > self._closing_at

    def _rest(self) -> None:
        """Until there is something to do."""
        now = time.monotonic()
        with self._wake:
            if self._down:
                rest_s = min(self._retry_at - now, _SPILL_S) if self._spool else self._retry_at - now
                self._wake.wait_for(lambda: self._closing_at is not None, max(0.0, rest_s))
            elif self._is_open and not self._taken and not self._on_disk():
                self._wake.wait_for(lambda: self._waiting or self._closing_at is not None, _IDLE_S)

    def _attempt(self) -> None:
        self._busy_since = time.monotonic()
        try:
            if not self._is_open:
                self.sink.open()
                self._is_open = True
            if taken := self._take():
                for _ in self.sink.write_many(taken):
                    self._delivered += 1
                    self._forget_first()
                    self._refused = ""
                    self._busy_since = time.monotonic()
            else:
                self.sink.idle()
        except Exception as error:  # whatever a sink raises, its thread lives on
            self._failed += 1
            lasting = isinstance(error, RefusedError) or not isinstance(error, (SinkError, OSError))
            if lasting and self._taken:
                self._refuse(error)
                self._forget_first()
            else:
                self._fail(error)
        else:
            self._recover()
        finally:
            self._busy_since = None

    def _take(self) -> list[Any]:
        """The next items, from the spool first; those that were not delivered before, if there are any."""
        with self._hand:
            if not self._taken and not self._given_up:
                self._take_from_spool()
            if not self._taken and not self._given_up:
                with self._wake:
                    while self._waiting and len(self._taken) < self.sink.batch_length:
                        self._taken.append((None, self._waiting.popleft()))
                    if not self._waiting:
                        self._overflowing = False
            return [item for _, item in self._taken]

    def _take_from_spool(self) -> None:
        if self._spool is None or not self._spool.count:
            return
        try:
            self._taken.extend(self._spool.head(self.sink.batch_length))
        except SinkError as error:
            self._go_without_spool(error)

    def _forget_first(self) -> None:
        with self._hand:
            if self._given_up:  # it is in the spool, and comes once more
                return
            number, _ = self._taken.popleft()
            if self._spool is None or number is None:
                return
            try:
                self._spool.remove(number)
            except SinkError as error:
                self._go_without_spool(error)

    def _make_room(self) -> None:
        """Where a sink that spills is slower than what comes, what waits goes to disk before the queue is full.

        It has a thread of its own, for the sink may be at one item for long, and `put` must not wait for a disk.
        """
        while True:
            self._crowded.wait()
            self._crowded.clear()
            if self._closing_at is not None:
                return
            with self._hand:
                done = not self._is_crowded() or self._given_up or self._spill(in_flight=True)
            if not done:
                time.sleep(_SPILL_S)
                self._crowded.set()

    def _spill(self, *, in_flight: bool = False) -> bool:
        """Move what waits in memory to disk; needs `_hand`. False: it stays where it is.

        in_flight: the sink may be at what is taken, so that stays taken, too, with its numbers in the spool.
        """
        if self._spool is None:
            return False
        kept = [item for number, item in self._taken if number is None]
        with self._wake:
            waiting = list(self._waiting)
            self._waiting.clear()
        if kept or waiting:
            try:
                dropped = self._spool.put([*kept, *waiting])
            except SinkError as error:
                with self._wake:
                    self._waiting.extendleft(reversed(waiting))
                if self._spool.is_open:  # a full disk may have room again
                    self._bound_memory(error)
                else:
                    self._go_without_spool(error)
                return False
            self._most = max(self._length, self._spool_options.max_messages)
            self._overflow(dropped)
        if not in_flight:
            self._taken.clear()
        elif kept:  # then all that is taken was in memory only
            first = self._spool.newest - len(kept) - len(waiting) + 1
            for i, item in enumerate(kept):
                self._taken[i] = (first + i, item)
        return True

    def _fail(self, error: Exception) -> None:
        now = time.monotonic()
        self._is_open = False
        wait_s = self._backoff.next_wait_s()
        self._retry_at = now + max(wait_s, error.wait_s if isinstance(error, BusyError) else 0.0)
        if not self._down:
            self._down_since = now
            log.warning("%s: %s", self.sink.name, _sentence(error))
        self._down = _sentence(error)

    def _recover(self) -> None:
        now = time.monotonic()
        if self._down:
            self._well_since = now
            waiting = self._left() + self._on_disk()
            log.info("%s is back after %.1f s; %d results wait", self.sink.name, now - self._down_since, waiting)
            self._down = ""
        self._backoff.settle(now - self._well_since)

    def _refuse(self, error: Exception) -> None:
        self._refused = _sentence(error)
        if time.monotonic() - self._refused_said_at >= _SAY_AGAIN_S:
            self._refused_said_at = time.monotonic()
            log.error("%s: %s; this result is given up", self.sink.name, self._refused)

    def _overflow(self, dropped: int, why: str = "") -> None:
        """Count what is dropped; said once until the queue has been empty again."""
        self._dropped += dropped
        if dropped and not self._overflowing:
            self._overflowing = True
            log.warning(
                "%s is slower than what comes, or down for too long: the oldest is dropped%s", self.sink.name, why
            )

    def _end(self) -> None:
        with self._hand:
            if not self._given_up and self._left() and not self._spill():
                log.warning("%s: %d results are not delivered", self.sink.name, self._left())
        try:
            self.sink.close()
        except Exception as error:  # there is nobody left to raise it to
            log.warning("%s did not close well: %s", self.sink.name, _sentence(error))
        if self._spills:
            self._room_maker.join()
        with self._hand:
            if self._spool:
                self._spool.close()


def _sentence(error: Exception) -> str:
    """What the error says, with its kind where it is none of ours."""
    if isinstance(error, SinkError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"


def _spool(path: Path, options: SpoolOptions) -> Spool:
    try:
        from .spool import Spool
    except ImportError as error:
        raise SinkError(
            f"this Python was built without SQLite ({error}); install SQLite's headers (libsqlite3-dev) and build it again"
        ) from None
    return Spool(path, options)
