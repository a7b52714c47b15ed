"""The queue before a sink: bounded, never blocking, patient with what fails."""

from __future__ import annotations

import errno
import logging
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from frames_for_sinks import answered_frame, state_change
from until import until

from palijet.runtime.cameras.backoff import Backoff
from palijet.runtime.cameras.status import StateChange
from palijet.runtime.errors import InputError, SinkError
from palijet.runtime.sinks import sink_queue
from palijet.runtime.sinks.function import FunctionSink
from palijet.runtime.sinks.message import Message
from palijet.runtime.sinks.sink import AnsweredFrame, BusyError, RefusedError, Sink
from palijet.runtime.sinks.sink_queue import SinkQueue
from palijet.runtime.sinks.spool import Spool
from palijet.runtime.sinks.spool_options import SpoolOptions


def soon() -> Backoff:
    return Backoff(0.01, 0.02)


class Letters(Sink):
    """A stand-in of a network's sink: keeps what it is sent, while it is up."""

    policy = "spill"
    batch_length = 4

    def __init__(self, spool: Path) -> None:
        self.name = "letters"
        self.spool = SpoolOptions(path=spool)
        self.up = threading.Event()
        self.received: list[str] = []
        self.refused: set[str] = set()

    def open(self) -> None:
        self.idle()

    def prepare(self, answered: AnsweredFrame) -> list[Message]:
        return [Message(f"{answered.frame.index}.{i}", "letters", b"{}") for i, _ in enumerate(answered.results)]

    def write(self, item: Message) -> None:
        self.idle()
        if item.key in self.refused:
            raise RefusedError(f"{item.key} is not taken")
        self.received.append(item.key)

    def idle(self) -> None:
        if not self.up.is_set():
            raise SinkError("letters are not taken at night")


def test_everything_is_delivered_in_order() -> None:
    taken: list[object] = []
    queue = SinkQueue(FunctionSink(taken.append, take_state=taken.append), length=1000)
    given: list[AnsweredFrame | StateChange] = []
    for i in range(200):
        given.append(answered_frame(i))
        queue.put(given[-1])
    given.append(state_change())
    queue.put_state(given[-1])
    queue.close()
    assert taken == given
    status = queue.status()
    assert (status.delivered, status.dropped, status.failed, status.queued) == (201, 0, 0, 0)


def test_a_sink_that_blocks_for_ever_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    never = threading.Event()
    queue = SinkQueue(FunctionSink(lambda answered: never.wait(), name="stuck"), length=10)
    frames = [answered_frame(i) for i in range(1000)]
    started = time.monotonic()
    for frame in frames:
        queue.put(frame)
    took_s = time.monotonic() - started
    assert took_s < 1.0  # for a thousand
    assert queue.status().dropped >= 1000 - 10 - 1
    assert queue.status().queued <= 11
    started = time.monotonic()
    queue.close(timeout_s=0.2)
    assert time.monotonic() - started < 5
    assert re.search("stuck did not end within 0.2 s; of 1[01] results that waited, 0 are kept on disk", caplog.text)
    assert caplog.text.count("the oldest is dropped") == 1
    never.set()


def test_the_newest_are_kept_when_the_queue_is_full() -> None:
    taken: list[int] = []
    entered, begin = threading.Event(), threading.Event()

    def take(answered: AnsweredFrame) -> None:
        entered.set()
        begin.wait()
        taken.append(answered.frame.index)

    queue = SinkQueue(FunctionSink(take), length=3)
    queue.put(answered_frame(0))
    entered.wait()
    for i in range(1, 10):
        queue.put(answered_frame(i))
    begin.set()
    queue.close()
    assert taken == [0, 7, 8, 9]
    assert queue.status().dropped == 6


def test_a_failure_is_said_once_and_tried_until_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    taken: list[int] = []
    well = threading.Event()

    def take(answered: AnsweredFrame) -> None:
        if not well.is_set():
            raise SinkError("the disk is full; make room")
        taken.append(answered.frame.index)

    queue = SinkQueue(FunctionSink(take, name="lines"), backoff=soon())
    for i in range(5):
        queue.put(answered_frame(i))
    until(lambda: queue.status().failed >= 3)
    status = queue.status()
    assert not status.ready
    assert status.reason == "the disk is full; make room"
    well.set()
    until(lambda: queue.status().delivered == 5)
    assert queue.status().ready
    queue.close()
    assert taken == [0, 1, 2, 3, 4]
    assert caplog.text.count("the disk is full") == 1
    assert caplog.text.count("lines is back") == 1


def test_what_a_function_raises_costs_one_frame_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    taken: list[int] = []

    def take(answered: AnsweredFrame) -> None:
        if answered.frame.index % 2:
            raise KeyError("odd")
        taken.append(answered.frame.index)

    queue = SinkQueue(FunctionSink(take), length=100)
    for i in range(10):
        queue.put(answered_frame(i))
    queue.close()
    assert taken == [0, 2, 4, 6, 8]
    assert queue.status().failed == 5
    assert caplog.text.count("KeyError: 'odd'; this result is given up") == 1


def test_a_condition_that_raises_is_not_felt_by_the_cameras() -> None:
    class Faulty(FunctionSink):
        def prepare(self, answered: AnsweredFrame) -> AnsweredFrame:
            raise ZeroDivisionError

    queue = SinkQueue(Faulty(lambda answered: None))
    queue.put(answered_frame())
    assert "ZeroDivisionError" in queue.status().reason
    queue.close()


def test_what_is_not_delivered_waits_on_disk_and_comes_first(tmp_path: Path) -> None:
    letters = Letters(tmp_path / "spool.sqlite")
    queue = SinkQueue(letters, backoff=soon())
    for i in range(50):
        queue.put(answered_frame(i, prompts=("a", "b")))
    until(lambda: queue.status().spooled == 100)
    assert queue.status().reason == "letters are not taken at night"
    letters.up.set()
    for i in range(50, 100):
        queue.put(answered_frame(i, prompts=("a", "b")))
    until(lambda: queue.status().delivered == 200)
    queue.close()
    assert letters.received == [f"{i}.{part}" for i in range(100) for part in (0, 1)]
    assert queue.status().spooled == 0


def test_what_waits_at_the_end_is_delivered_by_the_next_run(tmp_path: Path) -> None:
    night = SinkQueue(Letters(tmp_path / "spool.sqlite"), backoff=soon())
    for i in range(20):
        night.put(answered_frame(i))
    night.close()
    assert night.status().spooled == 20
    letters = Letters(tmp_path / "spool.sqlite")
    letters.up.set()
    day = SinkQueue(letters)
    until(lambda: day.status().delivered == 20)
    day.close()
    assert letters.received == [f"{i}.0" for i in range(20)]


def test_a_spilling_sink_that_is_merely_slow_loses_nothing(tmp_path: Path) -> None:
    class Slow(Letters):
        queue_length = 40

        def write(self, item: Message) -> None:
            time.sleep(0.002)
            super().write(item)

    letters = Slow(tmp_path / "spool.sqlite")
    letters.up.set()
    queue = SinkQueue(letters)
    for i in range(300):
        queue.put(answered_frame(i))
        time.sleep(0.0005)
    until(lambda: queue.status().delivered == 300)
    queue.close()
    assert queue.status().dropped == 0
    assert letters.received == [f"{i}.0" for i in range(300)]


def test_what_comes_while_a_spilling_sink_is_at_one_item_goes_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Long(Letters):
        queue_length = 20

        def write(self, item: Message) -> None:
            entered.set()
            end.wait()
            super().write(item)

    def put_late(spool: Spool, packed: Sequence[bytes]) -> int:
        disk.wait()
        return put(spool, packed)

    put = Spool._put
    monkeypatch.setattr(Spool, "_put", put_late)
    entered, end, disk = threading.Event(), threading.Event(), threading.Event()
    letters = Long(tmp_path / "spool.sqlite")
    letters.up.set()
    queue = SinkQueue(letters)
    queue.put(answered_frame(0))
    entered.wait()
    for i in range(1, 500):  # far more than the queue holds, and the disk takes its time
        queue.put(answered_frame(i))
    assert queue.status().dropped == 0
    disk.set()
    until(lambda: queue.status().spooled >= 490)
    assert queue.status().queued <= 10
    end.set()
    until(lambda: queue.status().delivered == 500)
    queue.close()
    assert letters.received == [f"{i}.0" for i in range(500)]
    status = queue.status()
    assert (status.dropped, status.queued, status.spooled) == (0, 0, 0)


def test_what_a_slow_sink_is_at_stays_first_when_that_fails(tmp_path: Path) -> None:
    class Failing(Letters):
        queue_length = 20

        def write(self, item: Message) -> None:
            entered.set()
            end.wait()
            super().write(item)

    entered, end = threading.Event(), threading.Event()
    letters = Failing(tmp_path / "spool.sqlite")
    letters.up.set()
    queue = SinkQueue(letters, backoff=soon())
    queue.put(answered_frame(0))
    entered.wait()
    for i in range(1, 50):
        queue.put(answered_frame(i))
    until(lambda: queue.status().spooled >= 40)
    letters.up.clear()
    end.set()
    until(lambda: queue.status().failed >= 2 and queue.status().spooled == 50)
    letters.up.set()
    until(lambda: queue.status().delivered == 50)
    queue.close()
    assert letters.received == [f"{i}.0" for i in range(50)]


def test_a_slow_sink_drops_the_oldest_at_its_spool_s_limit_only(tmp_path: Path) -> None:
    class Long(Letters):
        queue_length = 10

        def write(self, item: Message) -> None:
            entered.set()
            end.wait()
            super().write(item)

    entered, end = threading.Event(), threading.Event()
    letters = Long(tmp_path / "spool.sqlite")
    letters.spool = SpoolOptions(path=tmp_path / "spool.sqlite", max_messages=100)
    letters.up.set()
    queue = SinkQueue(letters)
    queue.put(answered_frame(0))
    entered.wait()
    for i in range(1, 300):
        queue.put(answered_frame(i))
        time.sleep(0.0005)
    until(lambda: queue.status().spooled == 100)
    end.set()
    until(lambda: letters.received[-1:] == ["299.0"])
    queue.close()
    assert letters.received[1:] == [f"{i}.0" for i in range(300 - len(letters.received) + 1, 300)]
    assert len(letters.received) in range(100, 112)  # the spool's, and what was in memory


@pytest.mark.parametrize("work", ["_head", "_remove"])
def test_a_spool_that_fails_ends_no_thread_and_is_done_without(
    work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def find_damage(*arguments: object) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    letters = Letters(tmp_path / "spool.sqlite")
    letters.refused = {"1.0"}  # what is refused is forgotten, too
    queue = SinkQueue(letters, backoff=soon())
    for i in range(10):
        queue.put(answered_frame(i))
    until(lambda: queue.status().spooled == 10)
    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(Spool, work, find_damage)
    letters.up.set()
    until(lambda: queue.status().spooled == 0)
    for i in range(10, 60):
        queue.put(answered_frame(i))
    until(lambda: letters.received[-1:] == ["59.0"])
    assert queue.status().ready
    queue.close()
    assert [key for key in letters.received if int(key.partition(".")[0]) >= 10] == [f"{i}.0" for i in range(10, 60)]
    assert caplog.text.count("waits in memory only") == 1
    assert "cannot be put aside: Read-only file system" in caplog.text


def test_what_a_spool_does_not_take_is_delivered_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def find_damage(*arguments: object) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(Spool, "_put", find_damage)
    letters = Letters(tmp_path / "spool.sqlite")
    queue = SinkQueue(letters, backoff=soon())
    for i in range(10):
        queue.put(answered_frame(i))
    until(lambda: "cannot be put aside: Read-only file system" in caplog.text)
    time.sleep(0.5)
    assert queue.status().reason == "letters are not taken at night"  # and not what the spool has
    letters.up.set()
    until(lambda: queue.status().delivered == 10)
    queue.close()
    assert letters.received == [f"{i}.0" for i in range(10)]
    assert caplog.text.count("waits in memory only") == 1


def test_a_spool_that_can_be_opened_again_takes_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sink_queue, "_SPOOL_AGAIN_S", 0.2)
    other = Spool(tmp_path / "spool.sqlite")  # another process has it
    queue = SinkQueue(Letters(tmp_path / "spool.sqlite"), backoff=soon())
    until(lambda: "is in use by another process" in caplog.text)
    for i in range(10):
        queue.put(answered_frame(i))
    time.sleep(0.5)
    assert queue.status().spooled == 0
    other.close()
    until(lambda: queue.status().spooled == 10)
    queue.close()
    assert caplog.text.count("waits in memory only") == 1
    assert caplog.text.count("letters has a spool again") == 1


def test_a_refused_message_does_not_hold_up_those_behind_it(tmp_path: Path) -> None:
    letters = Letters(tmp_path / "spool.sqlite")
    letters.refused = {"3.0", "4.0"}
    queue = SinkQueue(letters, backoff=soon())
    for i in range(10):
        queue.put(answered_frame(i))
    until(lambda: queue.status().spooled == 10)
    letters.up.set()
    until(lambda: queue.status().delivered == 8)
    queue.close()
    assert letters.received == [f"{i}.0" for i in range(10) if i not in (3, 4)]
    assert queue.status().spooled == 0


def test_a_spilling_sink_that_hangs_at_the_end_keeps_its_results(tmp_path: Path) -> None:
    class Hanging(Letters):
        def write(self, item: Message) -> None:
            entered.set()
            never.wait()

    entered, never = threading.Event(), threading.Event()
    letters = Hanging(tmp_path / "spool.sqlite")
    letters.up.set()
    queue = SinkQueue(letters)
    for i in range(10):
        queue.put(answered_frame(i))
    entered.wait()
    queue.close(timeout_s=0.2)
    assert queue.status().spooled == 10
    never.set()


def test_without_sqlite_a_spilling_sink_delivers_from_memory_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "sqlite3", None)  # how Python itself marks what cannot be imported
    monkeypatch.delitem(sys.modules, "palijet.runtime.sinks.spool", raising=False)
    letters = Letters(tmp_path / "spool.sqlite")
    letters.up.set()
    with caplog.at_level(logging.ERROR):
        queue = SinkQueue(letters)
        queue.put(answered_frame(0))
        until(lambda: letters.received == ["0.0"])
    queue.close()
    assert "waits in memory only: this Python was built without SQLite" in caplog.text
    assert "libsqlite3-dev" in caplog.text


def test_a_sink_says_when_to_try_again() -> None:
    attempts: list[float] = []

    def take(answered: AnsweredFrame) -> None:
        attempts.append(time.monotonic())
        if len(attempts) == 1:
            raise BusyError("not now", wait_s=0.5)

    queue = SinkQueue(FunctionSink(take), backoff=soon())
    queue.put(answered_frame())
    until(lambda: len(attempts) == 2)
    queue.close()
    assert attempts[1] - attempts[0] >= 0.5


def test_only_sinks_of_messages_spill() -> None:
    with pytest.raises(InputError, match="give drop-oldest"):
        SinkQueue(FunctionSink(print), policy="spill")
