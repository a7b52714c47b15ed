"""Sources give every frame, name what is wrong, and keep what came before a cut; results travel as JSON and supervision."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

import palijet
from palijet import SourceError
from palijet.runtime.result import DetectedObject, Result, Timings
from palijet.runtime.sinks.video_writer import VideoWriter
from palijet.runtime.sources import open_source


def some_result(size: tuple[int, int], box: tuple[float, float, float, float] | None = None, text: str = "") -> Result:
    objects = (DetectedObject("hex bolt", box, 0.75),) if box else ()
    return Result(
        prompt="detect hex bolt",
        text=text,
        tokens=(5, 6),
        logprobs=(-0.5, -1.5),
        stop_reason="max_tokens",
        stop_logprob=None,
        objects=objects,
        incomplete="",
        image_size=size,
        timings=Timings(1, 2, 3, 4, 10, 2, 2),
    )


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """40 frames, frame i as bright as 6 i."""
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 25) as writer:
        for i in range(40):
            writer.write(np.full((48, 64, 3), 6 * i, np.uint8))
    return path


def test_every_frame_of_a_video_is_read_in_order(video: Path) -> None:
    with open_source(video) as frames:
        seen = [(frame.index, float(frame.image.mean())) for frame in frames]
        assert frames.ended_early is None
    assert [index for index, _ in seen] == list(range(40))
    np.testing.assert_allclose([brightness for _, brightness in seen], [6 * i for i in range(40)], atol=4)


def test_a_video_that_is_cut_keeps_what_came_before(video: Path, tmp_path: Path) -> None:
    # An index in front, so that a cut file can still be opened: ffmpeg's faststart.
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    try:
        subprocess.run(
            ["ffmpeg", "-loglevel", "error", "-i", video, "-c", "copy", "-movflags", "faststart", whole],
            check=True,
        )
    except FileNotFoundError:
        pytest.skip("ffmpeg is not installed")
    data = whole.read_bytes()
    index_end = data.index(b"mdat") + 4
    cut.write_bytes(data[: index_end + (len(data) - index_end) // 2])
    with open_source(cut) as frames:
        count = sum(1 for _ in frames)
        assert 5 < count < 38
        assert frames.ended_early is not None
        assert f"ends after frame {count} of 40" in frames.ended_early


def test_pictures_and_folders_are_sources(tmp_path: Path) -> None:
    for name, value in {"b.png": 20, "a.jpg": 10, "c.bmp": 30}.items():
        cv2.imwrite(str(tmp_path / name), np.full((8, 8, 3), value, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    with open_source(tmp_path) as frames:
        assert [(Path(frame.source).name, frame.index) for frame in frames] == [
            ("a.jpg", 0),
            ("b.png", 1),
            ("c.bmp", 2),
        ]
    with open_source(f"file://{tmp_path / 'b.png'}") as frames:
        assert [int(frame.image[0, 0, 0]) for frame in frames] == [20]


def test_what_is_no_source_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("this is no video")
    (tmp_path / "text.jpg").write_text("this is no picture")
    for source, sentence in {
        tmp_path / "nowhere.mp4": "does not exist",
        tmp_path / "empty": "holds no pictures",
        tmp_path / "text.mp4": "is not a video",
        "": "the source is empty",
        "²": "does not exist",
        "smoke://signal": "smoke:// is no source",
    }.items():
        with pytest.raises(SourceError, match=sentence):
            open_source(source)
    with pytest.raises(SourceError, match="not a picture"), open_source(tmp_path / "text.jpg") as frames:
        list(frames)


def test_a_stream_names_its_frames(model: palijet.Model, video: Path) -> None:
    results = list(model.stream(video, "caption en", every=10, max_staleness=1e9))
    assert [result.frame_index for result in results] == [0, 10, 20, 30]
    assert [result.dropped for result in results] == [0, 9, 18, 27]
    for result in results:
        assert result.source == str(video)
        assert result.frame_age > 0
        assert not result.stale
        assert json.loads(result.to_json())["frame_index"] == result.frame_index
    pairs = list(model.stream(video, ["caption en", "ocr"], every=20))
    assert [[result.prompt for result in pair] for pair in pairs] == [["caption en", "ocr"]] * 2


def test_a_result_travels_as_json() -> None:
    told = json.loads(some_result((64, 48), box=(1, 2, 3, 4), text="x").to_json())
    assert told["objects"] == [{"label": "hex bolt", "box": [1, 2, 3, 4], "score": 0.75}]
    assert told["confidence"] == pytest.approx(np.exp(-1), abs=1e-6)
    assert told["timings"]["total"] == 10


@pytest.mark.oracle
def test_a_result_becomes_supervisions_detections() -> None:
    pytest.importorskip("supervision", reason="the detections extra is not installed")
    detections = some_result((64, 48), box=(1, 2, 3, 4)).to_supervision()
    assert detections.xyxy.tolist() == [[1, 2, 3, 4]]
    assert detections.confidence.tolist() == [0.75]
    assert detections.data["class_name"].tolist() == ["hex bolt"]
    assert len(some_result((64, 48)).to_supervision()) == 0


def test_a_video_is_readable_by_others_and_absent_until_whole(video: Path, tmp_path: Path) -> None:
    capture = cv2.VideoCapture(str(video))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 40
    with VideoWriter(tmp_path / "late.mp4", 25) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
        assert not (tmp_path / "late.mp4").exists()
    assert (tmp_path / "late.mp4").exists()
    with pytest.raises(SourceError, match="there is no folder"):
        VideoWriter(tmp_path / "no" / "x.mp4", 25)
