"""Calibration data from folders, videos and lists; what is no good is left out and named, or refused."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from palijet.export.calibration import ENOUGH_FRAMES, Example, load_calibration, split
from palijet.runtime.errors import CalibrationError


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(12):
        cv2.imwrite(str(folder / f"{i:02}.png"), picture(i))
    return folder


def test_a_folder_is_asked_every_prompt_and_a_quarter_of_its_frames_is_held_out(pictures: Path) -> None:
    calibration = load_calibration(pictures, ["caption en", "ocr"])
    assert len(calibration.examples) == 18
    assert len(calibration.held_out) == 6
    assert not {e.name for e in calibration.examples} & {e.name for e in calibration.held_out}
    assert {e.prompt for e in calibration.held_out} == {"caption en", "ocr"}


def test_few_frames_are_used_with_a_warning_that_says_how_many_would_do(pictures: Path) -> None:
    calibration = load_calibration(pictures, ["ocr"])
    assert calibration.notes == (f"12 frames are few to calibrate with; {ENOUGH_FRAMES} or more would do",)


def test_a_limit_takes_frames_evenly(pictures: Path) -> None:
    calibration = load_calibration(pictures, ["ocr"], limit=4)
    names = [Path(e.name).name for e in (*calibration.examples, *calibration.held_out)]
    assert names == ["00.png", "03.png", "06.png", "09.png"]


def test_black_and_unreadable_pictures_are_left_out_and_named(pictures: Path) -> None:
    cv2.imwrite(str(pictures / "00.png"), np.zeros((24, 32, 3), np.uint8))
    (pictures / "01.png").write_bytes(b"no picture")
    calibration = load_calibration(pictures, ["ocr"])
    assert len(calibration.examples) + len(calibration.held_out) == 10
    assert "01.png is empty, damaged or not a picture" in calibration.notes[0]
    assert re.match("1 of 11 frames are of one colour and were left out, .*00.png first", calibration.notes[1])


def test_a_list_brings_prompts_and_answers(pictures: Path) -> None:
    lines = [{"image": f"{i:02}.png", "prefix": "detect part", "suffix": "<loc0001>"} for i in range(8)]
    (pictures / "train.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    calibration = load_calibration(pictures)
    assert {(e.prompt, e.answer) for e in calibration.examples} == {("detect part", "<loc0001>")}


def test_a_video_gives_frames_from_all_of_it(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (32, 24))
    for i in range(43):
        writer.write(picture(i))
    writer.release()
    calibration = load_calibration(tmp_path / "clip.mp4", ["ocr"], limit=8)
    names = [e.name for e in (*calibration.examples, *calibration.held_out)]
    places = sorted(int(name.removeprefix("clip.mp4, frame ")) for name in names)
    assert places == [0, 5, 10, 16, 21, 26, 32, 37]


def test_a_lone_frame_calibrates_and_judges() -> None:
    example = Example(picture(0), "ocr", "only")
    calibration = split([example], "one")
    assert calibration.examples == calibration.held_out == (example,)
    assert "judged by what it was calibrated with" in calibration.notes[0]


def test_two_frames_are_one_to_calibrate_and_one_to_judge() -> None:
    calibration = split([Example(picture(i), "ocr", f"{i}") for i in range(2)], "two")
    assert [e.name for e in calibration.examples] == ["0"]
    assert [e.name for e in calibration.held_out] == ["1"]
    assert calibration.notes == ()


def blue(folder: Path) -> Path:
    for path in folder.iterdir():
        cv2.imwrite(str(path), np.full((24, 32, 3), (255, 0, 0), np.uint8))
    return folder


def spoilt(folder: Path) -> Path:
    for path in folder.iterdir():
        path.write_bytes(b"\0")
    return folder


def wrong_list(folder: Path) -> Path:
    (folder / "train.jsonl").write_text('{"image": "00.png", "prefix": "ocr"}\n{"image": 7}\n')
    return folder


def lacking_picture(folder: Path) -> Path:
    (folder / "train.jsonl").write_text('{"image": "gone.png", "prefix": "ocr"}\n')
    return folder


@pytest.mark.parametrize(
    ("source", "prompts", "sentence"),
    [
        (
            lambda folder: folder / "gone",
            ["ocr"],
            "gone does not exist; give a folder of pictures, a video or a .jsonl file",
        ),
        (lambda folder: folder, [], "say what will be asked about the frames"),
        (blue, ["ocr"], "all are of one colour"),
        (wrong_list, ["ocr"], "brings its own prompts; leave --calibrate-prompt out"),
        (spoilt, ["ocr"], "is empty, damaged or not a picture"),
        (wrong_list, [], "train.jsonl, line 2: "),
        (lacking_picture, [], "gone.png does not exist"),
        (lambda folder: folder / "..", ["ocr"], "holds no pictures"),
    ],
)
def test_what_cannot_be_used_ends_in_a_sentence(pictures: Path, source, prompts: list[str], sentence: str) -> None:
    with pytest.raises(CalibrationError, match=sentence):
        load_calibration(source(pictures), prompts)
