"""Snapshots: the right frames, whole, and not more of them than are wanted."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from frames_for_sinks import answered_frame, state_change
from small_disk import small_disk
from until import until

from palijet.runtime.errors import InputError, SinkError
from palijet.runtime.result import DetectedObject
from palijet.runtime.sinks.sink import AnsweredFrame
from palijet.runtime.sinks.sink_queue import SinkQueue
from palijet.runtime.sinks.snapshots import SnapshotOptions, Snapshots

BOLT = (DetectedObject("bolt", (10.0, 20.0, 60.0, 50.0), 0.9),)


def take(options: SnapshotOptions, *frames: AnsweredFrame) -> list[str]:
    """The names of the pictures that are there afterwards."""
    sink = Snapshots(options)
    sink.open()
    for frame in frames:
        if (item := sink.prepare(frame)) is not None:
            sink.write(item)
    sink.close()
    return sorted(path.name for path in options.folder.glob("*.jpg"))


def test_a_snapshot_is_a_picture_with_its_results_beside_it(tmp_path: Path) -> None:
    image = np.full((480, 640, 3), 100, np.uint8)
    frame = answered_frame(camera="rtsp://door/1", image=image, objects=BOLT, at_s=0.25)
    names = take(SnapshotOptions(tmp_path / "shots"), frame)
    assert names == ["rtsp_door_1-20261125T094640.250Z.jpg"]
    said = json.loads((tmp_path / "shots" / names[0].replace(".jpg", ".json")).read_text())
    assert said["results"] == [result.to_dict() for result in frame.results]
    assert (said["camera"], said["captured_at"]) == ("rtsp://door/1", frame.frame.captured_at)
    shown = cv2.imread(str(tmp_path / "shots" / names[0]))
    assert shown is not None
    assert shown.shape == frame.annotated.shape
    assert np.abs(shown.astype(int) - frame.annotated).mean() < 2
    assert (frame.annotated != image).any()  # the box


def test_a_plain_snapshot_is_the_camera_s_picture(tmp_path: Path) -> None:
    image = np.full((480, 640, 3), 100, np.uint8)
    (name,) = take(SnapshotOptions(tmp_path, annotated=False), answered_frame(image=image, objects=BOLT))
    shown = cv2.imread(str(tmp_path / name))
    assert shown is not None
    np.testing.assert_allclose(shown.astype(int), 100, atol=2)


def test_only_frames_that_meet_the_condition_are_kept(tmp_path: Path) -> None:
    frames = [answered_frame(i, at_s=10.0 * i, text=str(i)) for i in range(6)]
    options = SnapshotOptions(tmp_path, when=lambda answered: int(answered.results[0].text) % 2 == 1)
    take(options, *frames)
    said = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]
    assert [one["results"][0]["text"] for one in said] == ["1", "3", "5"]


def test_a_camera_gives_no_more_than_one_per_interval(tmp_path: Path) -> None:
    frames = [answered_frame(i, camera=camera, at_s=0.5 * i) for i in range(21) for camera in ("door", "belt")]
    names = take(SnapshotOptions(tmp_path, min_interval_s=2.5), *frames)
    assert len([name for name in names if name.startswith("door")]) == 5  # at 0, 2.5, 5, 7.5 and 10 s
    assert len(names) == 10


def test_only_the_newest_are_kept_also_over_restarts(tmp_path: Path) -> None:
    options = SnapshotOptions(tmp_path, keep=3, min_interval_s=0)
    first = take(options, *(answered_frame(i, at_s=float(i)) for i in range(5)))
    assert [name[-11:-5] for name in first] == ["42.000", "43.000", "44.000"]
    second = take(options, answered_frame(5, at_s=5.0))
    assert second == [*first[1:], first[-1].replace("44.000", "45.000")]
    assert len(list(tmp_path.iterdir())) == 6


def test_the_bytes_of_all_are_limited(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    frames = [answered_frame(i, at_s=2.0 * i, image=noise) for i in range(12)]
    names = take(SnapshotOptions(tmp_path, keep=None, keep_bytes=500_000), *frames)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 500_000
    assert 1 <= len(names) < 12
    assert names[-1].endswith("T094702.000Z.jpg")


def test_changes_of_state_make_no_picture(tmp_path: Path) -> None:
    queue = SinkQueue(Snapshots(SnapshotOptions(tmp_path)))
    queue.put_state(state_change())
    queue.put(answered_frame())
    queue.close()
    assert queue.status().failed == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_is_a_state(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=1024) as disk:
        queue = SinkQueue(Snapshots(SnapshotOptions(disk / "shots")))  # 64 MB are to stay free
        queue.put(answered_frame())
        until(lambda: not queue.status().ready and queue.status().failed)
        assert "has 1 MB left, and 67 are kept free: make room" in queue.status().reason
        assert list((disk / "shots").iterdir()) == []
        queue.close()
        sink = Snapshots(SnapshotOptions(disk / "shots", least_free_bytes=0))
        sink.open()
        noise = np.random.default_rng(0).integers(0, 256, (1000, 1500, 3), dtype=np.uint8)
        with pytest.raises(SinkError, match=r"cannot be written: No space left on device; make room"):
            sink.write(answered_frame(image=noise))
        assert [path.suffix for path in (disk / "shots").iterdir()] == [".json"]  # and nothing half


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="give a folder that is yours to write"):
        Snapshots(SnapshotOptions(tmp_path / "file")).open()
    with pytest.raises(InputError, match="quality is 101; give 1 to 100"):
        SnapshotOptions(tmp_path, quality=101)
