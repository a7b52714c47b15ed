"""Annotated video of cameras: ffprobe says how long the files are, OpenCV what is on them."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from frames_for_sinks import answered_frame
from small_disk import small_disk
from until import until

from palijet.runtime.errors import InputError, SinkError, SourceError
from palijet.runtime.sinks.sink import AnsweredFrame
from palijet.runtime.sinks.sink_queue import SinkQueue
from palijet.runtime.sinks.video import Video, VideoOptions
from palijet.runtime.sinks.video_writer import VideoWriter

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffprobe is not installed: apt install ffmpeg")


@dataclass(frozen=True)
class Probed:
    """What ffprobe says of a file's one video stream."""

    fps: Fraction
    frames: int  # decoded and counted
    duration_s: float
    size: tuple[int, int]


def probe(path: Path) -> Probed:
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    (stream,) = json.loads(done.stdout)["streams"]
    return Probed(
        Fraction(stream["avg_frame_rate"]),
        int(stream["nb_read_frames"]),
        float(stream["duration"]),
        (stream["width"], stream["height"]),
    )


def grey(path: Path) -> list[int]:
    """The mean of each picture."""
    video = cv2.VideoCapture(str(path))
    found = []
    while True:
        there, image = video.read()
        if not there:
            return found
        found.append(round(float(image.mean())))


def frame(index: int, at_s: float, level: int, camera: str = "door", size: tuple[int, int] = (64, 48)) -> AnsweredFrame:
    """Of one grey, with an answer that draws nothing."""
    image = np.full((size[1], size[0], 3), level, np.uint8)
    return AnsweredFrame(camera, answered_frame(index, image=image, at_s=at_s).frame, ())


def record(options: VideoOptions, frames: Iterable[AnsweredFrame]) -> dict[str, Path]:
    """The files that are there afterwards, by their names."""
    sink = Video(options)
    sink.open()
    for one in frames:
        sink.write(one)
    sink.close()
    return {path.name: path for path in sorted(options.path.parent.iterdir())}


def test_a_file_has_each_frame_once(tmp_path: Path) -> None:
    frames = [frame(i, at_s=3.0 * i, level=5 * i) for i in range(30)]
    (path,) = record(VideoOptions(tmp_path / "out.mp4", fps=10), frames).values()
    assert path.name == "out.mp4"
    assert (probe(path).frames, probe(path).fps) == (30, 10)
    np.testing.assert_allclose(grey(path), [5 * i for i in range(30)], atol=4)


def test_a_camera_s_video_shows_what_was_there_at_each_moment(tmp_path: Path) -> None:
    moments = [0.0, 0.31, 0.52, 1.74, 1.76, 1.78, 3.0]  # irregular, and some closer than the file's frames
    frames = [frame(i, at_s, level=30 * (i + 1)) for i, at_s in enumerate(moments)]
    (path,) = record(VideoOptions(tmp_path / "out.mp4", fps=10, timed=True), frames).values()
    assert path.name == "out-door-20261125T094640.000Z.mp4"
    probed = probe(path)
    assert probed.fps == 10
    assert probed.duration_s == pytest.approx(3.1, abs=0.051)  # 3 s, and the last picture
    assert probed.frames == 31
    shown = grey(path)
    for slot, level in enumerate(shown):
        last = max(i for i, at_s in enumerate(moments) if round(at_s * 10) <= slot)
        assert level == pytest.approx(30 * (last + 1), abs=4), f"picture {slot}"


def test_segments_follow_one_another_without_a_hole(tmp_path: Path) -> None:
    frames = [frame(i, at_s=0.25 * i, level=100) for i in range(41)]  # 10 s
    files = record(VideoOptions(tmp_path / "out.mp4", fps=8, timed=True, segment_s=4), frames)
    assert list(files) == [f"out-door-20261125T0946{second}.000Z.mp4" for second in (40, 44, 48)]
    assert [probe(path).frames for path in files.values()] == [32, 32, 17]


def test_a_segment_appears_when_it_is_whole(tmp_path: Path) -> None:
    sink = Video(VideoOptions(tmp_path / "out.mp4", fps=8, timed=True, segment_s=1))
    for i in range(4):
        sink.write(frame(i, at_s=0.25 * i, level=100))
    assert list(tmp_path.glob("[!.]*.mp4")) == []
    sink.write(frame(4, at_s=1.0, level=100))
    (path,) = tmp_path.glob("[!.]*.mp4")
    assert probe(path).frames == 8
    sink.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_camera_that_was_gone_begins_a_new_file(tmp_path: Path) -> None:
    frames = [frame(i, at_s, level=100) for i, at_s in enumerate([0.0, 1.0, 3600.0, 3601.0])]
    files = record(VideoOptions(tmp_path / "out.mp4", fps=5, timed=True, segment_s=86_400), frames)
    assert [probe(path).frames for path in files.values()] == [6, 6]


def test_a_camera_that_has_gone_leaves_no_file_unfinished(tmp_path: Path) -> None:
    queue = SinkQueue(Video(VideoOptions(tmp_path / "out.mp4", fps=5, timed=True, gap_s=0.2)))
    queue.put(answered_frame())
    until(lambda: list(tmp_path.glob("[!.]*.mp4")))
    queue.close()


def test_cameras_and_sizes_have_files_of_their_own(tmp_path: Path) -> None:
    frames = [
        frame(0, 0.0, 50, camera="door"),
        frame(0, 0.1, 100, camera="cam/2"),
        frame(1, 1.0, 50, camera="door", size=(128, 96)),
        frame(1, 1.1, 100, camera="cam/2"),
    ]
    files = record(VideoOptions(tmp_path / "out.mp4", fps=5, timed=True), frames)
    assert [(name.split("-2026")[0], probe(path).size) for name, path in files.items()] == [
        ("out-cam_2", (448, 336)),  # `draw` enlarges what is too small to write on, by a whole factor
        ("out-door", (448, 336)),
        ("out-door", (512, 384)),
    ]


def test_files_of_several_cameras_are_named_after_them(tmp_path: Path) -> None:
    frames = [frame(i, 0.1 * i, 50, camera=camera) for i in range(3) for camera in ("a", "b")]
    files = record(VideoOptions(tmp_path / "out.mp4", fps=5, per_camera=True), frames)
    assert {name: probe(path).frames for name, path in files.items()} == {"out-a.mp4": 3, "out-b.mp4": 3}


def test_answers_are_drawn(tmp_path: Path) -> None:
    sink = Video(VideoOptions(tmp_path / "out.mp4", fps=5, panel_lines=2))
    sink.write(answered_frame(image=np.full((480, 640, 3), 100, np.uint8)))
    sink.close()
    width, height = probe(tmp_path / "out.mp4").size
    assert width == 640
    assert height > 480  # the panel with the answer


def test_a_full_disk_is_a_state(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=1024) as disk:
        queue = SinkQueue(Video(VideoOptions(disk / "out.mp4")))  # 64 MB are to stay free
        queue.put(answered_frame(at_s=time.monotonic()))
        until(lambda: not queue.status().ready and queue.status().failed)
        assert "has 1 MB left, and 67 are kept free: make room" in queue.status().reason
        queue.close()
        assert list(disk.iterdir()) == []


def test_bad_options_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"ends in .mp4"):
        Video(VideoOptions(tmp_path / "out.avi"))
    with pytest.raises(SourceError, match="there is no folder"):
        Video(VideoOptions(tmp_path / "no" / "out.mp4"))
    with pytest.raises(InputError, match="segment_s is 0; give a number above 0"):
        VideoOptions(tmp_path / "out.mp4", segment_s=0)


def test_a_file_that_cannot_be_finished_keeps_no_other_from_it(tmp_path: Path) -> None:
    sink = Video(VideoOptions(tmp_path / "out.mp4", fps=5, per_camera=True))
    for camera in ("a", "b", "c"):
        sink.write(frame(0, 0.0, 50, camera=camera))
    (tmp_path / "out-b.mp4").mkdir()  # no file can be called so any more
    with pytest.raises(IsADirectoryError):
        sink.close()
    assert [probe(tmp_path / f"out-{camera}.mp4").frames for camera in ("a", "c")] == [1, 1]


def test_a_picture_that_cannot_be_written_leaves_its_file_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Video(VideoOptions(tmp_path / "out.mp4", fps=5, timed=True))
    for i in range(3):
        sink.write(frame(i, float(i), 50))

    def refuse(writer: VideoWriter, image: object) -> None:
        raise SourceError("no more pictures")

    monkeypatch.setattr(VideoWriter, "write", refuse)
    with pytest.raises(SourceError, match="no more pictures"):
        sink.close()
    (path,) = tmp_path.glob("[!.]*.mp4")
    assert probe(path).frames == 10  # two seconds, without the last picture


def test_a_file_of_before_that_cannot_be_finished_is_an_error_that_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Video(VideoOptions(tmp_path / "out.mp4", fps=5, timed=True, gap_s=2))
    sink.write(frame(0, 0.0, 50))
    write = VideoWriter.write

    def refuse(writer: VideoWriter, image: object) -> None:
        monkeypatch.setattr(VideoWriter, "write", write)
        raise SourceError("no picture now")

    monkeypatch.setattr(VideoWriter, "write", refuse)
    with pytest.raises(SinkError, match="no picture now"):
        sink.write(frame(1, 5.0, 50))
    sink.write(frame(1, 5.0, 50))
    sink.close()
    assert [path.name for path in tmp_path.glob("[!.]*.mp4")] == ["out-door-20261125T094645.000Z.mp4"]
