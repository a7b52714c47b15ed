"""What waits on disk: in order, none lost, none twice, whatever happens to the process."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palijet.runtime.errors import SinkError
from palijet.runtime.sinks.message import Message, Numbering
from palijet.runtime.sinks.spool import Spool
from palijet.runtime.sinks.spool_options import SpoolOptions


def message(number: int, size: int = 10) -> Message:
    return Message(f"run-{number}", "door", b"x" * size)


def keys(spool: Spool, limit: int = 1000) -> list[str]:
    return [message.key for _, message in spool.head(limit)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 5)),
        st.tuples(st.just("deliver"), st.integers(1, 5)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_it_is_a_queue_over_any_puts_deliveries_and_restarts(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spool.sqlite"
        spool, waiting, number = Spool(path), list[str](), 0
        for step, count in steps:
            if step == "put":
                new = [message(number + i) for i in range(count)]
                number += count
                assert spool.put(new) == 0
                waiting += [one.key for one in new]
            elif step == "deliver":
                for place, one in spool.head(count):
                    assert one.key == waiting.pop(0)
                    spool.remove(place)
            else:
                spool.close()
                spool = Spool(path)
            assert spool.count == len(waiting)
        assert keys(spool) == waiting
        spool.close()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=30))
def test_the_oldest_go_when_the_bytes_are_too_many(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "spool.sqlite", SpoolOptions(max_bytes=1000))
        dropped = sum(spool.put([message(i, size)]) for i, size in enumerate(sizes))
        assert spool.bytes <= 1000
        assert keys(spool) == [f"run-{i}" for i in range(dropped, len(sizes))]
        if dropped:  # no more than was needed
            last_dropped = sizes[dropped - 1]
            assert spool.bytes + last_dropped + 20 > 1000 - 400
        spool.close()


def test_the_oldest_go_when_the_messages_are_too_many(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite", SpoolOptions(max_messages=3))
    assert spool.put([message(i) for i in range(2)]) == 0
    assert spool.put([message(i) for i in range(2, 7)]) == 4
    assert keys(spool) == ["run-4", "run-5", "run-6"]
    spool.close()


CHILD = """
import sys
from pathlib import Path
from palijet.runtime.sinks.message import Message
from palijet.runtime.sinks.spool import Spool
spool = Spool(Path(sys.argv[1]))
first = int(sys.argv[2])
for i in range(first, first + 100_000):
    spool.put([Message(f"run-{i}", "door", b"x" * 500)])
    print(i, flush=True)
"""


def test_what_was_put_is_there_after_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    first = 0
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", CHILD, path, str(first)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(30)]
        child.send_signal(signal.SIGKILL)
        said += [int(line) for line in child.stdout.read().split()]
        child.wait()
        spool = Spool(path)
        found = keys(spool, limit=1_000_000)
        spool.close()
        assert found[: said[-1] + 1] == [f"run-{i}" for i in range(said[-1] + 1)]
        assert len(found) <= said[-1] + 2  # one may be in that was not said to be
        first = len(found)


def test_a_damaged_file_is_kept_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "spool.sqlite"
    path.write_bytes(b"this is no database, and long enough to be taken for one" * 100)
    spool = Spool(path)
    spool.put([message(0)])
    assert keys(spool) == ["run-0"]
    spool.close()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    aside = [one for one in tmp_path.iterdir() if ".damaged-" in one.name]
    assert [one.read_bytes()[:15] for one in aside] == [b"this is no data"]


def test_damage_in_the_middle_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "spool.sqlite"
    spool = Spool(path)
    spool.put([message(i, 1000) for i in range(200)])
    spool.close()
    with path.open("r+b") as file:
        for page in range(2, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(os.urandom(512))
    spool = Spool(path)
    assert spool.count == 0
    assert spool.put([message(0)]) == 0
    assert keys(spool) == ["run-0"]
    spool.close()
    assert "is damaged" in caplog.text


def test_two_processes_do_not_share_one(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    spool = Spool(path)
    code = f"from pathlib import Path; from palijet.runtime.sinks.spool import Spool; Spool(Path({str(path)!r}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "is in use by another process; give this one a spool of its own" in other.stderr
    assert spool.put([message(0)]) == 0
    spool.close()


def test_a_place_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="give another place as spool"):
        Spool(tmp_path / "file" / "spool.sqlite")
    with pytest.raises(SinkError, match="see that its folder is writable"):
        Spool(tmp_path)


def test_the_default_place_is_named_after_the_sink(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = SpoolOptions().path_for("mqtt broker.local:1883/palijet")
    assert path == tmp_path / "palijet" / "mqtt_broker.local_1883_palijet.sqlite"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert SpoolOptions().path_for("x") == tmp_path / ".local" / "state" / "palijet" / "x.sqlite"


def test_a_file_gives_its_room_back_when_it_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    spool = Spool(path)
    spool.put([message(i, 10_000) for i in range(500)])
    for place, _ in spool.head(500):
        spool.remove(place)
    spool.close()
    assert path.stat().st_size < 100_000


def test_numbers_of_two_runs_differ() -> None:
    one, two = Numbering(), Numbering()
    assert one.run != two.run
    assert [one.next() for _ in range(2)] == [(1, f"{one.run}-1"), (2, f"{one.run}-2")]


def test_a_damaged_file_that_cannot_be_put_aside_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spool.sqlite"
    path.write_bytes(b"no database at all" * 100)

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(SinkError, match=r"is damaged .* and cannot be put aside: Read-only file system"):
        Spool(path)


def test_a_fresh_file_gives_out_no_number_of_the_damaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spool.sqlite"
    before = Spool(path)
    before.put([message(i) for i in range(3)])
    before.close()
    spool = Spool(path)
    taken = [number for number, _ in spool.head(3)]
    put = Spool._put

    def find_damage(self: Spool, packed: Sequence[bytes]) -> int:
        monkeypatch.setattr(Spool, "_put", put)
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(Spool, "_put", find_damage)
    assert spool.put([message(10), message(11)]) == 0
    for number in taken:  # delivered, and only now forgotten
        spool.remove(number)
    assert keys(spool) == ["run-10", "run-11"]
    assert [number for number, _ in spool.head(2)] == [spool.newest - 1, spool.newest]
    spool.close()
