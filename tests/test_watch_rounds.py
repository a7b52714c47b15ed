"""What a round answers, repeats and delivers, with a stand-in for the model that says what it saw."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console
from told_model import ToldModel
from until import until

from palijet import InputError, SourceError
from palijet.on_signal import OnSignal
from palijet.run import RunOptions, run
from palijet.runtime.cameras.camera import Camera
from palijet.runtime.cameras.options import CameraOptions
from palijet.runtime.cameras.status import CameraState, StateChange
from palijet.runtime.sinks.function import FunctionSink
from palijet.runtime.sinks.sink import AnsweredFrame, Sink
from palijet.runtime.sources import Frame, Source, parse_uri
from palijet.runtime.watch.condition import parse_condition
from palijet.runtime.watch.feed import open_feed
from palijet.runtime.watch.watch import Watch, WatchOptions
from palijet.runtime.watch.watched import Prompt, WatchedCamera

P = (Prompt("caption"),)
BOTH = pytest.mark.parametrize("pipeline", [False, True])


class Shades(Source):
    """Pictures of one grey each, from memory; a fault at the end, perhaps."""

    def __init__(self, shades: list[int], *, gap_s: float = 0.0, fault: str = "") -> None:
        self._shades, self._gap_s, self._fault = shades, gap_s, fault

    def __iter__(self) -> Iterator[Frame]:
        for index, shade in enumerate(self._shades):
            time.sleep(self._gap_s)
            yield Frame(np.full((48, 64, 3), shade, np.uint8), index, time.time(), "memory")
        if self._fault:
            raise SourceError(self._fault)


def shade(image: np.ndarray, prompt: str) -> str:
    return str(int(image[0, 0, 0]))


def said(answered: AnsweredFrame) -> tuple[int, dict[str, tuple[str, bool]]]:
    """The picture's grey, and each answer with whether it is repeated."""
    return int(answered.frame.image[0, 0, 0]), {one.prompt: (one.text, one.repeated) for one in answered.results}


def answers(model: ToldModel, *cameras: WatchedCamera, pipeline: bool = False) -> list[AnsweredFrame]:
    with Watch(model, cameras, WatchOptions(pipeline=pipeline)) as watch:  # type: ignore[arg-type]
        return list(watch.answers())


@BOTH
def test_what_is_repeated_was_said_about_this_picture(pipeline: bool) -> None:
    model = ToldModel(shade, ask_s=0.02)
    camera = WatchedCamera("c", Shades([200, 200, 0, 200, 200]), P, skip_unchanged=True)
    shown = [said(one) for one in answers(model, camera, pipeline=pipeline)]
    assert shown == [
        (200, {"caption": ("200", False)}),
        (200, {"caption": ("200", True)}),
        (0, {"caption": ("0", False)}),
        (200, {"caption": ("200", False)}),
        (200, {"caption": ("200", True)}),
    ]
    assert model.asked == [(200, "caption"), (0, "caption"), (200, "caption")]


@BOTH
def test_an_unchanged_picture_repeats_no_answer_about_another_one(pipeline: bool) -> None:
    prompts = (Prompt("shade"), Prompt("caption", when=parse_condition('"shade" > 100')))
    camera = WatchedCamera("c", Shades([200, 0, 0, 200]), prompts, skip_unchanged=True)
    shown = [said(one) for one in answers(ToldModel(shade), camera, pipeline=pipeline)]
    assert shown == [
        (200, {"shade": ("200", False), "caption": ("200", False)}),
        (0, {"shade": ("0", False)}),
        (0, {"shade": ("0", True)}),
        (200, {"shade": ("200", False), "caption": ("200", False)}),
    ]


def test_a_prompt_that_falls_due_on_an_unchanged_picture_is_asked_about_it() -> None:
    prompts = (Prompt("shade"), Prompt("caption", every_s=0.5))
    camera = WatchedCamera("c", Shades([200, *[0] * 12], gap_s=0.1), prompts, skip_unchanged=True)
    model = ToldModel(shade)
    told = [said(one)[1]["caption"] for one in answers(model, camera) if "caption" in said(one)[1]]
    assert told[:2] == [("200", False), ("0", False)]
    assert set(told[2:]) <= {("0", True)}
    assert model.asked.count((0, "caption")) == 1


@BOTH
def test_a_prompt_with_a_condition_keeps_its_own_rate(pipeline: bool) -> None:
    model = ToldModel(shade, ask_s=0.02)
    prompts = (Prompt("shade"), Prompt("caption", every_s=100, when=parse_condition('"shade" > 0')))
    answers(model, WatchedCamera("c", Shades([1, 2, 3, 4, 5]), prompts), pipeline=pipeline)
    assert [prompt for _, prompt in model.asked].count("caption") == 1


@BOTH
def test_a_source_that_breaks_off_is_told_at_the_end(pipeline: bool) -> None:
    camera = WatchedCamera("c", Shades([1, 2], fault="memory is torn"), P)
    with Watch(ToldModel(), [camera], WatchOptions(pipeline=pipeline)) as watch:  # type: ignore[arg-type]
        frames = watch.answers()
        assert [next(frames).frame.index for _ in range(2)] == [0, 1]
        with pytest.raises(SourceError, match="memory is torn"):
            next(frames)
    assert watch.cameras()[0].state is CameraState.FAILED


def test_a_source_that_has_nothing_to_give_holds_up_nobody(tmp_path: Path) -> None:
    cameras = [
        WatchedCamera("folder", f"dir://{tmp_path}?watch=1", P),
        WatchedCamera("shades", Shades(list(range(50))), P),
    ]
    seen: list[str] = []
    with Watch(ToldModel(), cameras) as watch:  # type: ignore[arg-type]
        for one in watch.answers():
            seen.append(one.camera)
            if len(seen) == 50:
                cv2.imwrite(str(tmp_path / "late.png"), np.zeros((48, 64, 3), np.uint8))
            if one.camera == "folder":
                break
    assert seen == ["shades"] * 50 + ["folder"]


@pytest.mark.parametrize("limit", [1, 3, 4])
def test_a_limit_is_kept_to_the_frame_whatever_is_answered_together(limit: int) -> None:
    cameras = [WatchedCamera(name, Shades([7] * 50), P) for name in ("a", "b", "c")]
    delivered: list[AnsweredFrame] = []
    start(cameras, [FunctionSink(delivered.append)], RunOptions(limit=limit))
    assert len(delivered) == limit


def test_sinks_hear_that_a_camera_has_ended() -> None:
    class States(Sink):
        name = "states"

        def write(self, item: object) -> None:
            pass

        def write_state(self, change: StateChange) -> None:
            heard.append(change.after)

    heard: list[CameraState] = []
    start([WatchedCamera("belt", "synthetic://?width=64&height=48", P)], [States()], RunOptions(limit=3))
    assert heard == [CameraState.LIVE, CameraState.ENDED]


def test_a_camera_that_replaces_another_alone_speaks_for_the_name() -> None:
    before = WatchedCamera("gate", "synthetic://?width=64&height=48", P)
    after = WatchedCamera("gate", "synthetic://?width=64&height=48&seed=3", P)
    told: list[CameraState] = []
    with Watch(ToldModel(), [before], on_change=lambda change: told.append(change.after)) as watch:  # type: ignore[arg-type]
        frames = watch.answers()
        next(frames)
        watch.reload([after])
        until(lambda: "seed=3" in next(frames).frame.source)
        assert told == [CameraState.LIVE, CameraState.LIVE]
    assert told[2:] == [CameraState.ENDED]


def test_sources_that_take_no_leave_are_closed_side_by_side() -> None:
    class Clinging(Shades):
        def close(self) -> None:
            time.sleep(1.0)

    cameras = [WatchedCamera(str(number), Clinging([1]), P) for number in range(6)]
    watch = Watch(ToldModel(), cameras)  # type: ignore[arg-type]
    began = time.monotonic()
    watch.close()
    assert time.monotonic() - began < 3.0


def test_frames_that_are_passed_over_do_not_use_up_a_turn() -> None:
    """Of 100 frames a second each 20th is wanted, five a second; a rate of eight takes nothing away."""

    camera = WatchedCamera("c", "synthetic://?width=64&height=48&fps=100", P, every=20, fps=8)
    with Watch(ToldModel(), [camera]) as watch:  # type: ignore[arg-type]
        taken = [one.frame.index for one, _ in zip(watch.answers(), range(8), strict=False)]
        (status,) = watch.cameras()
    apart = [after - before for before, after in itertools.pairwise(taken)]
    assert min(apart) >= 20
    assert sorted(apart)[len(apart) // 2] < 30
    assert status.dropped > 100


def test_a_file_s_pictures_are_cropped_turned_and_scaled(tmp_path: Path) -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[10:20, 30:50] = 255
    cv2.imwrite(str(tmp_path / "a.png"), image)
    options = CameraOptions(crop=(30, 10, 50, 20), rotation=90, width=20)
    (one,) = answers(ToldModel(), WatchedCamera("c", str(tmp_path / "a.png"), P, options=options))
    assert one.frame.image.shape == (40, 20, 3)
    assert one.frame.image.min() == 255


def test_a_region_outside_a_file_s_picture_is_said(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 80, 3), np.uint8))
    with pytest.raises(SourceError, match="outside the frame of 80 x 40 pixels"):
        answers(ToldModel(), WatchedCamera("c", str(tmp_path / "a.png"), P, options=CameraOptions(crop=(0, 0, 90, 9))))


def test_a_user_s_own_camera_keeps_its_callbacks() -> None:
    told: list[CameraState] = []
    came: list[bool] = []
    camera = Camera(parse_uri("synthetic://?width=64&height=48"), on_change=lambda change: told.append(change.after))
    feed = open_feed(WatchedCamera("c", camera, P), lambda: came.append(True), lambda change: None)
    until(lambda: CameraState.LIVE in told and came)
    feed.close()


def test_cameras_whose_files_would_have_one_name_are_refused() -> None:
    cameras = [WatchedCamera("gate/1", Shades([1]), P), WatchedCamera("gate 1", Shades([1]), P)]
    with pytest.raises(InputError, match="files and topics of gate/1 and gate 1 would be called the same"):
        Watch(ToldModel(), cameras)  # type: ignore[arg-type]


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(InputError, match="a prompt is empty"):
        Prompt(" ")


def start(cameras: list[WatchedCamera], sinks: list[Any], options: RunOptions) -> None:
    with OnSignal(signal.SIGHUP) as hangup:
        run(ToldModel(), cameras, lambda live, fps: sinks, options, hangup, Console(quiet=True))  # type: ignore[arg-type]
