"""JSON Lines: whole lines, all of them, whatever becomes of the file."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from frames_for_sinks import answered_frame, state_change
from small_disk import small_disk
from until import until

from palijet.runtime.cameras.backoff import Backoff
from palijet.runtime.errors import InputError, SinkError
from palijet.runtime.sinks.json_lines import JsonLines, JsonLinesOptions
from palijet.runtime.sinks.sink_queue import SinkQueue


def written(path: Path) -> list[int]:
    """The frame indices of a file whose every line is JSON."""
    return [json.loads(line)["frame_index"] for line in path.read_text().splitlines()]


def write(sink: JsonLines, *indices: int) -> None:
    for index in indices:
        sink.write(sink.prepare(answered_frame(index)))


def test_a_line_is_a_result(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    frame = answered_frame(3, prompts=("how many people", "is the belt empty"), text="né")
    queue = SinkQueue(JsonLines(JsonLinesOptions(path)))
    queue.put(frame)
    queue.put_state(state_change(reason="no frame for 5 s"))
    queue.close()
    first, second, third = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [first, second] == [result.to_dict() for result in frame.results]
    assert (third["camera"], third["state"], third["before"]) == ("door", "stale", "live")
    assert third["reason"] == "no frame for 5 s"


def test_a_file_is_rotated_by_its_size_and_no_line_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    size = len(answered_frame(100).results[0].to_json()) + 1
    queue = SinkQueue(JsonLines(JsonLinesOptions(path, max_bytes=10 * size, keep=50)))
    for i in range(100, 300):
        queue.put(answered_frame(i))
    queue.close()
    files = sorted(tmp_path.iterdir(), key=lambda one: int(one.suffix[1:] or 0) if one.suffix != ".jsonl" else 0)
    assert len(files) >= 200 // 10
    assert all(one.stat().st_size <= 10 * size for one in files)
    assert [index for one in reversed(files) for index in written(one)] == list(range(100, 300))


def test_only_so_many_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    sink = JsonLines(JsonLinesOptions(path, max_bytes=1, keep=2))
    sink.open()
    write(sink, *range(5))
    sink.close()
    assert {one.name: written(one) for one in tmp_path.iterdir()} == {
        "out.jsonl": [4],
        "out.jsonl.1": [3],
        "out.jsonl.2": [2],
    }


def test_a_file_is_rotated_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("palijet.runtime.sinks.json_lines.time.monotonic", lambda: now[0])
    path = tmp_path / "out.jsonl"
    sink = JsonLines(JsonLinesOptions(path, every_s=60))
    sink.open()
    write(sink, 0, 1)
    now[0] += 59
    write(sink, 2)
    now[0] += 2
    write(sink, 3)
    sink.close()
    assert written(tmp_path / "out.jsonl.1") == [0, 1, 2]
    assert written(path) == [3]


def test_a_new_run_begins_a_new_file_unless_it_is_to_append(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for options, expected in (
        (JsonLinesOptions(path), [0]),
        (JsonLinesOptions(path, append=True), [0, 0]),
        (JsonLinesOptions(path, max_bytes=100_000), [0, 0, 0]),
        (JsonLinesOptions(path), [0]),
    ):
        sink = JsonLines(options)
        sink.open()
        write(sink, 0)
        sink.close()
        assert written(path) == expected


def test_half_a_line_of_a_power_cut_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('{"frame_index": 0}\n{"frame_in')
    sink = JsonLines(JsonLinesOptions(path, append=True))
    sink.open()
    write(sink, 1)
    sink.close()
    lines = path.read_text().splitlines()
    assert lines[1] == '{"frame_in'
    assert json.loads(lines[2])["frame_index"] == 1


def test_a_file_that_others_move_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    sink = JsonLines(JsonLinesOptions(path))
    sink.open()
    write(sink, 0)
    path.rename(tmp_path / "moved")
    write(sink, 1)
    sink.close()
    assert (written(tmp_path / "moved"), written(path)) == ([0], [1])


def test_a_full_disk_is_a_state_and_loses_no_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 50_000)
        path = disk / "out.jsonl"
        queue = SinkQueue(JsonLines(JsonLinesOptions(path)), backoff=Backoff(0.01, 0.05))
        for i in range(60):
            queue.put(answered_frame(i))
        until(lambda: queue.status().failed >= 2)
        assert not queue.status().ready
        assert "No space left on device; make room" in queue.status().reason
        assert written(path) == list(range(queue.status().delivered))  # no torn line
        ballast.unlink()
        until(lambda: queue.status().delivered == 60)
        queue.close()
        assert written(path) == list(range(60))
    assert caplog.text.count("No space left on device") == 1


def test_a_device_that_is_full_is_said(tmp_path: Path) -> None:
    sink = JsonLines(JsonLinesOptions(Path("/dev/full")))
    sink.open()
    with pytest.raises(SinkError, match="/dev/full cannot be written: No space left on device"):
        write(sink, 0)
    sink.close()


def test_lines_go_into_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    queue = SinkQueue(JsonLines(JsonLinesOptions(path)))
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.extend(path.read_text().splitlines()))
    reader.start()
    queue.put(answered_frame(7))
    queue.close()
    reader.join(10)
    assert [json.loads(line)["frame_index"] for line in got] == [7]


def test_standard_output_takes_lines_and_leaves_its_errors_to_the_command_line() -> None:
    code = (
        "from frames_for_sinks import answered_frame\n"
        "from palijet.runtime.sinks.json_lines import JsonLines, JsonLinesOptions\n"
        "sink = JsonLines(JsonLinesOptions())\n"
        "sink.open()\n"
        "for i in range(3): sink.write(sink.prepare(answered_frame(i)))\n"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    assert [json.loads(line)["frame_index"] for line in done.stdout.splitlines()] == [0, 1, 2]
    with Path("/dev/full").open("w") as full:
        failed = subprocess.run(
            run, cwd=Path(__file__).parent, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert "OSError: [Errno 28]" in failed.stderr


@pytest.mark.parametrize("place", ["no/such/folder/out.jsonl", "."])
def test_a_place_that_cannot_be_is_said_before_anything_runs(place: str, tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="give a file in a folder that is there and yours to write"):
        JsonLines(JsonLinesOptions(tmp_path / place))


def test_sizes_are_above_0() -> None:
    with pytest.raises(InputError, match="max_bytes is 0; give a number above 0"):
        JsonLinesOptions(max_bytes=0)


class FullPipe(io.RawIOBase):
    """A stand-in for standard output on a disk that is full at times: takes so many bytes, then nothing until there is room."""

    def __init__(self, room: int) -> None:
        self.room, self.taken = room, b""

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = bytes(piece[: self.room])
        self.room -= len(taken)
        self.taken += taken
        return len(taken)


def full_pipe(monkeypatch: pytest.MonkeyPatch) -> FullPipe:
    """In place of standard output, with room for less than a line; no fixture, for pytest puts its own there after those."""
    pipe = FullPipe(100)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(pipe)))
    return pipe


def test_a_line_that_standard_output_did_not_take_comes_once_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = full_pipe(monkeypatch)
    sink = JsonLines(JsonLinesOptions(None))
    items = [sink.prepare(answered_frame(i)) or b"" for i in range(3)]
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            sink.write(items[1])
    assert len(pipe.taken) == 100
    pipe.room = 100_000
    sink.write(items[1])
    sink.write(items[2])
    assert pipe.taken == items[1] + items[2]


def test_a_torn_line_of_what_is_given_up_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = full_pipe(monkeypatch)
    sink = JsonLines(JsonLinesOptions(None))
    with pytest.raises(OSError, match="No space left"):
        write(sink, 1)
    pipe.room = 1
    with pytest.raises(OSError, match="No space left"):  # the end of the torn line, and no more
        write(sink, 2)
    pipe.room = 100_000
    write(sink, 3)
    torn, *lines = pipe.taken.decode().splitlines()
    assert len(torn) == 100
    assert [json.loads(line)["frame_index"] for line in lines] == [3]


def test_of_several_lines_none_comes_twice_when_the_second_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = full_pipe(monkeypatch)
    sink = JsonLines(JsonLinesOptions(None))
    item = sink.prepare(answered_frame(prompts=("a", "b")))
    assert item is not None
    pipe.room = item.index(b"\n") + 1
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            sink.write(item)
    pipe.room = 100_000
    sink.write(item)
    assert pipe.taken == item


def test_standard_output_on_a_full_disk_has_every_line_once_when_there_is_room_again(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from frames_for_sinks import answered_frame\n"
        "from palijet.runtime.sinks.json_lines import JsonLines, JsonLinesOptions\n"
        "sink, ballast = JsonLines(JsonLinesOptions()), Path(sys.argv[1])\n"
        "for i in range(60):\n"
        "    item, left = sink.prepare(answered_frame(i)), 3\n"
        "    while left:\n"
        "        try: sink.write(item); break\n"
        "        except OSError as error: print(error.strerror, file=sys.stderr)\n"
        "        left -= 1\n"
        "        if not left: ballast.unlink(); sink.write(item)\n"
    )
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        ballast, path = disk / "ballast", disk / "out.jsonl"
        ballast.write_bytes(b"x" * 50_000)
        run = [sys.executable, "-c", code, ballast]
        with path.open("w") as out:
            done = subprocess.run(
                run, cwd=Path(__file__).parent, stdout=out, stderr=subprocess.PIPE, text=True, check=True
            )
        assert done.stderr.splitlines() == ["No space left on device"] * 3
        assert written(path) == list(range(60))
