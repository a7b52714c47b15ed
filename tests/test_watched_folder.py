"""A watched folder gives each picture once and whole, waits for nobody, and outlives what happens to its folder."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from palijet import InputError
from palijet.runtime.sources import Frame, WatchedFolder, open_source


def test_a_watched_folder_gives_each_new_picture_once_and_whole(tmp_path: Path) -> None:
    def write_slowly() -> None:
        data = cv2.imencode(".png", np.full((64, 64, 3), 30, np.uint8))[1].tobytes()
        with (tmp_path / "slow.png").open("wb") as file:
            for start in range(0, len(data), 16):
                file.write(data[start : start + 16])
                file.flush()
                time.sleep(0.02)
        (tmp_path / "broken.png").write_text("no picture")
        cv2.imwrite(str(tmp_path / "also.png"), np.full((8, 8, 3), 40, np.uint8))

    cv2.imwrite(str(tmp_path / "first.png"), np.full((8, 8, 3), 10, np.uint8))
    watched = open_source(f"dir://{tmp_path}?watch=1")
    assert isinstance(watched, WatchedFolder)
    assert watched.live
    writer = threading.Thread(target=write_slowly)
    seen = []
    with watched as frames:
        for frame in frames:
            seen.append((Path(frame.source).name, int(frame.image[0, 0, 0]), frame.index))
            if len(seen) == 1:
                writer.start()
            if len(seen) == 3:
                watched.close()
    writer.join()
    assert seen == [("first.png", 10, 0), ("slow.png", 30, 1), ("also.png", 40, 2)]


def test_a_watched_folder_that_has_nothing_new_says_so_at_once(tmp_path: Path) -> None:
    watched = WatchedFolder(tmp_path)
    began = time.monotonic()
    assert watched.next_picture() is None
    assert time.monotonic() - began < 0.1
    for name, changed_at in (("late.png", 1_700_000_300), ("b.png", 1_700_000_200), ("a.png", 1_700_000_200)):
        put(tmp_path / name, changed_at)
    assert names(watched, 3) == ["a.png", "b.png", "late.png"]
    assert watched.next_picture() is None
    watched.close()
    put(tmp_path / "after.png")
    assert list(watched) == []


@pytest.mark.parametrize("changed_at", [0, 4_000_000_000])
def test_a_picture_whose_time_is_by_another_clock_is_read(tmp_path: Path, changed_at: int) -> None:
    put(tmp_path / "a.png", changed_at)
    (frame,) = pictures(WatchedFolder(tmp_path), 1)
    assert (frame.captured_at, Path(frame.source).name) == (changed_at, "a.png")
    assert frame.age_s >= 0


def test_a_picture_whose_writer_pauses_is_read_when_it_is_whole_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = cv2.imencode(".png", np.full((64, 64, 3), 30, np.uint8))[1].tobytes()
    watched = WatchedFolder(tmp_path)
    for end in (20, 40, len(data)):
        assert "passed over" not in caplog.text or end > 20
        (tmp_path / "paused.png").write_bytes(data[:end])
        if end < len(data):
            assert pictures(watched, 1, within_s=0.8) == []
    assert names(watched, 1) == ["paused.png"]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["passed over until it changes"]


def test_a_picture_that_may_not_be_read_yet_is_read_once_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = InputError("a.png cannot be read: Permission denied")  # root may read whatever it likes

    def read(path: Path) -> np.ndarray:
        if path.stat().st_mode & 0o444 == 0:
            raise refused
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr("palijet.runtime.sources.watched_folder.read_image", read)
    put(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    watched = WatchedFolder(tmp_path)
    assert pictures(watched, 1, within_s=0.8) == []
    (tmp_path / "a.png").chmod(0o644)
    assert names(watched, 1) == ["a.png"]


def test_a_watched_folder_that_goes_and_comes_back_gives_what_is_new(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder, away = tmp_path / "stick", tmp_path / "away"
    folder.mkdir()
    watched = WatchedFolder(folder)
    put(folder / "old.png")
    assert names(watched, 1) == ["old.png"]
    folder.rename(away)
    assert pictures(watched, 1, within_s=0.5) == []
    put(away / "new.png")
    away.rename(folder)
    assert names(watched, 2, within_s=1.5) == ["new.png"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder} cannot be read, and is waited for: No such file or directory",
        f"{folder} can be read again",
    ]


def test_a_disk_that_is_mounted_again_does_not_give_its_pictures_again(tmp_path: Path) -> None:
    folder, disk = tmp_path / "mount", tmp_path / "disk"
    folder.mkdir()
    watched = WatchedFolder(folder)
    put(folder / "old.png")
    assert names(watched, 1) == ["old.png"]
    folder.rename(disk)
    folder.mkdir()  # where it is mounted
    assert pictures(watched, 1, within_s=0.5) == []
    folder.rmdir()
    disk.rename(folder)
    put(folder / "new.png")
    assert names(watched, 2, within_s=1.5) == ["new.png"]


def test_a_name_is_forgotten_with_its_file_and_given_again_with_another(tmp_path: Path) -> None:
    watched = WatchedFolder(tmp_path)
    put(tmp_path / "a.png", 1_700_000_000)
    assert names(watched, 1) == ["a.png"]
    (tmp_path / "a.png").unlink()
    put(tmp_path / "b.png")
    assert names(watched, 1) == ["b.png"]
    assert "a.png" not in vars(watched)["_given"]  # or a month of pictures would fill the memory
    put(tmp_path / "a.png", 1_700_000_100)
    assert names(watched, 1) == ["a.png"]


def put(path: Path, changed_at: int | None = None) -> None:
    """A picture, moved into its place; changed_at: seconds since 1970."""
    beside = path.with_suffix(".tmp")
    beside.write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    if changed_at is not None:
        os.utime(beside, (changed_at, changed_at))
    beside.rename(path)


def pictures(watched: WatchedFolder, count: int, within_s: float = 20.0) -> list[Frame]:
    """The next ones, as a loop gets them that asks now and then; fewer, where so many do not come in time."""
    found: list[Frame] = []
    ends_at = time.monotonic() + within_s
    while len(found) < count and time.monotonic() < ends_at:
        if (frame := watched.next_picture()) is not None:
            found.append(frame)
        else:
            time.sleep(0.01)
    return found


def names(watched: WatchedFolder, count: int, within_s: float = 20.0) -> list[str]:
    return [Path(frame.source).name for frame in pictures(watched, count, within_s)]
