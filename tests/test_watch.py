"""Many sources, one model: fair rounds, answers as if alone, conditions, repeats, reloads; one source's trouble is its own."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import palijet
from palijet import InputError, SourceError
from palijet.demo.clip import Clip, views, write_clip
from palijet.runtime.cameras.options import CameraOptions
from palijet.runtime.cameras.status import CameraState, StateChange
from palijet.runtime.sinks.function import FunctionSink
from palijet.runtime.sinks.open_sink import open_sink
from palijet.runtime.sinks.sink import AnsweredFrame
from palijet.runtime.sources import Frame, Source
from palijet.runtime.watch.condition import parse_condition
from palijet.runtime.watch.delivery import Delivery
from palijet.runtime.watch.watch import Watch, WatchOptions
from palijet.runtime.watch.watched import Prompt, WatchedCamera

CAPTION = (Prompt("caption en"),)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three belts of 8, 5 and 3 frames."""
    folder = tmp_path_factory.mktemp("clips")
    paths = [folder / f"{seed}.mp4" for seed in range(3)]
    for seed, (path, frames) in enumerate(zip(paths, (8, 5, 3), strict=True)):
        write_clip(path, Clip(seed=seed, frames=frames, width=320, height=240))
    return paths


class Pictures(Source):
    """Pictures from memory."""

    def __init__(self, images: list[np.ndarray], fault: str = "") -> None:
        self._images, self._fault = images, fault

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self._images):
            yield Frame(image, index, time.time(), "memory")
        if self._fault:
            raise SourceError(self._fault)


def test_every_frame_of_every_file_is_answered_as_it_would_be_alone(model: palijet.Model, clips: list[Path]) -> None:
    prompts = (Prompt("detect part ; label"), Prompt("caption en"))
    cameras = [WatchedCamera(path.stem, str(path), prompts) for path in clips]
    with Watch(model, cameras, WatchOptions(max_frames=3)) as watch:
        answered = list(watch.answers())
    assert Counter(one.camera for one in answered) == {"0": 8, "1": 5, "2": 3}
    for camera in ("0", "1", "2"):
        assert [one.frame.index for one in answered if one.camera == camera] == list(range(len(answered)))[
            : Counter(one.camera for one in answered)[camera]
        ]
    for one in answered:
        alone = model.predict(one.frame.image, [prompt.text for prompt in prompts])
        assert [result.tokens for result in one.results] == [result.tokens for result in alone]
        assert {result.camera for result in one.results} == {one.camera}
    assert watch.answered == 16
    assert watch.tokens == sum(len(result.tokens) for one in answered for result in one.results)
    assert [(status.state, status.answered) for status in watch.cameras()] == [
        (CameraState.ENDED, 8),
        (CameraState.ENDED, 5),
        (CameraState.ENDED, 3),
    ]


def test_a_prompt_with_a_condition_is_asked_where_it_holds(model: palijet.Model) -> None:
    images = [view.image for view in views(Clip(seed=18, frames=120, width=320, height=240))][::12]
    count, caption = "answer en how many parts", "caption en"
    numbers = [int(model.predict(image, count).text) for image in images]
    few = min(numbers)
    assert few < max(numbers)
    prompts = (Prompt(count, name="count"), Prompt(caption, when=parse_condition(f'"count" > {few}')))
    with Watch(model, [WatchedCamera("belt", Pictures(images), prompts)]) as watch:
        answered = list(watch.answers())
    for one, number in zip(answered, numbers, strict=True):
        assert [result.prompt for result in one.results] == [count, *([caption] if number > few else [])]
        if number > few:
            assert one.results[1].tokens == model.predict(one.frame.image, caption).tokens


def test_a_picture_that_does_not_change_repeats_the_last_answer(model: palijet.Model) -> None:
    first, second = (view.image for view in list(views(Clip(frames=60, width=320, height=240)))[::59])
    images = [first, first, first, second, second]
    cameras = [WatchedCamera("belt", Pictures(images), CAPTION, skip_unchanged=True)]
    with Watch(model, cameras) as watch:
        results = [one.results[0] for one in watch.answers()]
    assert [result.repeated for result in results] == [False, True, True, False, True]
    assert results[0].text == results[2].text
    assert [result.frame_index for result in results] == [0, 1, 2, 3, 4]
    (status,) = watch.cameras()
    assert (status.answered, status.repeated) == (5, 3)
    assert results[1].to_dict()["repeated"] is True


def test_a_file_that_breaks_off_ends_itself_alone_and_is_told_at_the_end(model: palijet.Model) -> None:
    images = [np.full((48, 64, 3), 40 * i, np.uint8) for i in range(5)]
    cameras = [
        WatchedCamera("broken", Pictures(images[:2], fault="memory is torn"), CAPTION),
        WatchedCamera("whole", Pictures(images), CAPTION),
    ]
    with Watch(model, cameras) as watch:
        answers = watch.answers()
        said = [next(answers).camera for _ in range(7)]
        with pytest.raises(SourceError, match="memory is torn"):
            next(answers)
    assert Counter(said) == {"broken": 2, "whole": 5}
    assert [status.state for status in watch.cameras()] == [CameraState.FAILED, CameraState.ENDED]


def test_a_frame_that_is_too_old_is_counted_and_not_answered(model: palijet.Model) -> None:
    class Late(Pictures):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                late_s = 5.0 if frame.index % 2 else 0.0
                yield Frame(frame.image, frame.index, time.time() - late_s, "memory", time.monotonic() - late_s)

    images = [np.full((48, 64, 3), 40 * i, np.uint8) for i in range(5)]
    cameras = [WatchedCamera("late", Late(images), CAPTION, max_staleness=2.0)]
    with Watch(model, cameras) as watch:
        assert [one.frame.index for one in watch.answers()] == [0, 2, 4]
    (status,) = watch.cameras()
    assert (status.answered, status.too_old) == (3, 2)


def test_a_reload_keeps_what_is_as_before_and_drops_what_is_gone(model: palijet.Model) -> None:
    kept = WatchedCamera("kept", "synthetic://?width=320&height=240&seed=1", CAPTION, fps=10)
    gone = WatchedCamera("gone", "synthetic://?width=320&height=240&seed=2", CAPTION, fps=10)
    new = WatchedCamera("new", "synthetic://?width=320&height=240&seed=3", CAPTION, fps=10)
    changes: list[StateChange] = []
    seen: list[str] = []
    with Watch(model, [kept, gone], on_change=changes.append) as watch:
        for one in watch.answers():
            seen.append(one.camera)
            if "new" not in seen and {"kept", "gone"} <= set(seen) and len(seen) >= 6:
                with pytest.raises(InputError, match="two cameras are called new"):
                    watch.reload([new, new])
                watch.reload([kept, new])
            if seen.count("new") >= 3:
                break
        assert [status.name for status in watch.cameras()] == ["kept", "new"]
    assert [change.after for change in changes if change.camera == "kept"] == [CameraState.LIVE, CameraState.ENDED]
    assert [change.after for change in changes if change.camera == "gone"][-1] is CameraState.ENDED
    last_new = seen.index("new")
    assert "gone" not in seen[last_new:]


def test_a_reload_that_cannot_be_opened_changes_nothing(
    model: palijet.Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = WatchedCamera("kept", "synthetic://?width=320&height=240", CAPTION, fps=10)
    new = WatchedCamera("new", "synthetic://?width=320&height=240&seed=3", CAPTION, fps=10)
    lost = WatchedCamera("lost", str(tmp_path / "none.mp4"), CAPTION)
    with Watch(model, [kept]) as watch:
        answers = watch.answers()
        next(answers)
        watch.reload([new, lost])
        assert [next(answers).camera for _ in range(4)] == ["kept"] * 4
        assert [status.name for status in watch.cameras()] == ["kept"]
    assert "cameras stay as they are" in caplog.text
    assert "none.mp4 does not exist" in caplog.text


def test_a_sink_that_blocks_for_ever_costs_the_cameras_nothing(model: palijet.Model) -> None:
    blocked = threading.Event()
    cameras = [WatchedCamera("belt", "synthetic://?width=320&height=240", CAPTION)]
    counted = 0

    def count(answered: AnsweredFrame) -> None:
        nonlocal counted
        counted += 1

    sinks = [FunctionSink(lambda answered: blocked.wait(), name="stuck"), FunctionSink(count, name="quick")]
    with Watch(model, cameras) as watch, Delivery(sinks, live=watch.live, close_s=0.5) as delivery:
        for one in watch.answers():
            delivery.put(one)
            stuck, quick = delivery.sinks()
            if stuck.queued + stuck.dropped >= 20 and quick.delivered >= 20:
                break
        assert stuck.delivered == 0
        assert one.results[0].frame_age < 5
    blocked.set()


def test_two_sinks_that_go_to_one_place_are_refused(tmp_path: Path) -> None:
    sinks = [open_sink(str(tmp_path / "a.jsonl")), open_sink(f"lines:{tmp_path / 'a.jsonl'}")]
    with pytest.raises(InputError, match=r"two sinks are .*a\.jsonl; leave one out"):
        Delivery(sinks, live=True)


def test_the_loop_is_busy_until_who_takes_its_answers_is_back(model: palijet.Model) -> None:
    with Watch(model, [WatchedCamera("belt", "synthetic://?width=320&height=240", CAPTION)]) as watch:
        answers = watch.answers()
        next(answers)
        time.sleep(0.2)
        assert watch.busy_s >= 0.2  # /healthz sees a consumer that is stuck
    assert list(answers) == []
    assert watch.busy_s == 0


def test_what_cannot_be_asked_is_said_before_anything_is_opened(model: palijet.Model, tmp_path: Path) -> None:
    long = WatchedCamera("long", str(tmp_path / "none.mp4"), (Prompt("part " * 3000),))
    with pytest.raises(InputError, match="larger max_rows") as error:
        Watch(model, [long])
    assert len(str(error.value)) < 250
    with pytest.raises(InputError, match="max_tokens is 0; give 1 or more"):
        Watch(model, [WatchedCamera("mute", "0", (Prompt("caption en", max_tokens=0),))])
    with pytest.raises(InputError, match="two cameras are called a"):
        Watch(model, [WatchedCamera("a", "0", CAPTION), WatchedCamera("a", "1", CAPTION)])
    with pytest.raises(SourceError, match="does not exist"):
        Watch(model, [WatchedCamera("a", str(tmp_path / "none.mp4"), CAPTION)])
    for wrong in ({"fps": 0}, {"every": 0}, {"max_staleness": -1.0}, {"prompts": ()}):
        with pytest.raises(InputError):
            WatchedCamera(**{"name": "a", "source": "0", "prompts": CAPTION, **wrong})  # type: ignore[arg-type]


def test_a_stream_takes_several_sources_by_name_and_camera_options(model: palijet.Model, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        for picture in range(3):
            cv2.imwrite(str(tmp_path / str(number) / f"{picture}.png"), np.full((48, 64, 3), 60 * picture, np.uint8))
    sources = {"gate": tmp_path / "0", "yard": tmp_path / "1"}
    results = list(model.stream(sources, "caption en", silence_s=3))
    assert Counter(result.camera for result in results) == {"gate": 3, "yard": 3}
    with pytest.raises(InputError, match="stream has no option smoke"):
        next(iter(model.stream(sources, "caption en", smoke=1)))
    with pytest.raises(InputError, match="rotation is 45"):
        next(iter(model.stream(sources, "caption en", rotation=45)))
    with pytest.raises(InputError, match="give seconds above 0"):
        CameraOptions(silence_s=0)
