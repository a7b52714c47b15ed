"""Calibration: frames, what is asked about them and what the model answers, from a folder, a video or a list of JSON lines.

A folder of pictures or a video is asked the prompts that the user names; a .jsonl file (or a folder that holds one) in the form
in which PaliGemma is fine-tuned, {"image": "a.jpg", "prefix": "detect part", "suffix": "<loc0100>... part"}, brings its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import CalibrationError, InputError, SourceError
from ..runtime.preprocess import read_image
from ..runtime.sources import PICTURES, Folder, VideoFile

log = logging.getLogger(__name__)
T = TypeVar("T")

ENOUGH_FRAMES = 32
"""Below this many the scales still move from set to set."""

_DARKEST_SPREAD = 2.0  # of 255: the standard deviation of a picture that shows something


@dataclass(frozen=True)
class Example:
    """A frame, a prompt, and the answer where it is known."""

    image: NDArray[np.uint8]  # [height, width, 1, 3 or 4], BGR
    prompt: str
    name: str  # of the frame: its file, or its place in a video
    answer: str | None = None


@dataclass(frozen=True)
class Calibration:
    """What a model is calibrated with, and what it is judged by."""

    examples: tuple[Example, ...]
    held_out: tuple[Example, ...]
    source: str  # where they come from, for the manifest
    notes: tuple[str, ...] = field(default=())  # what was left out, and warnings


def load_calibration(
    source: Path, prompts: Sequence[str] = (), *, limit: int = 64, held_out: float = 0.25
) -> Calibration:
    """Examples of `source`, at most `limit`, evenly chosen; the share `held_out` of them is kept apart for judging.

    Raises:
        CalibrationError: there are none, none can be used, or nothing is asked.
    """
    if not source.exists():
        raise CalibrationError(f"{source} does not exist; give a folder of pictures, a video or a .jsonl file")
    if source.is_dir():
        lists = sorted(path for path in source.iterdir() if path.suffix.lower() == ".jsonl")
    else:
        lists = [source] if source.suffix.lower() == ".jsonl" else []
    if lists and prompts:
        raise CalibrationError(
            f"{lists[0]} brings its own prompts; leave --calibrate-prompt out, or give a folder without .jsonl files"
        )
    notes: list[str] = []
    examples = list(_listed(lists, limit, notes) if lists else _asked(source, prompts, limit, notes))
    usable = [example for example in examples if _shows_something(example)]
    if len(usable) < len(examples):
        blank = [example.name for example in examples if not _shows_something(example)]
        notes.append(f"{len(blank)} of {len(examples)} frames are of one colour and were left out, {blank[0]} first")
    if not usable:
        why = "all are of one colour" if examples else notes[0] if notes else "it is empty"
        raise CalibrationError(
            f"{source} has no frame to calibrate with: {why}; give frames as the camera sees them in use"
        )
    frames = len({example.name for example in usable})
    if frames < ENOUGH_FRAMES:
        limited = " (--calibrate-samples is the limit)" if len(usable) + len(prompts) > limit else ""
        notes.append(f"{frames} frames are few to calibrate with; {ENOUGH_FRAMES} or more would do{limited}")
    return split(usable, str(source), held_out, notes)


def split(examples: Sequence[Example], source: str, held_out: float = 0.25, notes: Sequence[str] = ()) -> Calibration:
    """Keep every n-th frame apart, with all that is asked about it; a lone frame serves for both, and a note says so."""
    names = list(dict.fromkeys(example.name for example in examples))
    every = max(2, min(round(1 / held_out), len(names)))
    apart = set(names[every - 1 :: every])
    if not apart:
        note = "there is one frame only, so the bundle is judged by what it was calibrated with"
        return Calibration(tuple(examples), tuple(examples), source, (*notes, note))
    kept = tuple(example for example in examples if example.name not in apart)
    judged = tuple(example for example in examples if example.name in apart)
    return Calibration(kept, judged, source, tuple(notes))


class _Line(msgspec.Struct):
    image: str
    prefix: str
    suffix: str | None = None


def _listed(lists: Sequence[Path], limit: int, notes: list[str]) -> Iterator[Example]:
    lines: list[tuple[Path, _Line]] = []
    for path in lists:
        for number, text in enumerate(path.read_bytes().splitlines(), 1):
            if not text.strip():
                continue
            try:
                lines.append((path, msgspec.json.decode(text, type=_Line)))
            except msgspec.DecodeError as error:
                raise CalibrationError(
                    f'{path}, line {number}: {error}; a line is {{"image": "a.jpg", "prefix": "detect part", "suffix": "..."}}'
                ) from None
    for path, line in _evenly(lines, limit):
        yield from _read(path.parent / line.image, [line.prefix], line.suffix, notes)


def _asked(source: Path, prompts: Sequence[str], limit: int, notes: list[str]) -> Iterator[Example]:
    if not prompts:
        raise CalibrationError(
            f"say what will be asked about the frames of {source}: --calibrate-prompt 'detect part', as often as needed"
        )
    frames = max(1, limit // len(prompts))
    if source.is_dir() or source.suffix.lower() in PICTURES:
        try:
            paths = Folder(source).paths if source.is_dir() else [source]
        except SourceError as error:
            raise CalibrationError(str(error)) from None
        for path in _evenly(paths, frames):
            yield from _read(path, prompts, None, notes)
        return
    try:
        video = VideoFile(source)
        with video:
            length = video.promised or sum(1 for _ in VideoFile(source))  # some containers do not know
            chosen = set(_evenly(range(length), frames))
            for frame in video:
                if frame.index in chosen:
                    for prompt in prompts:
                        yield Example(frame.image, prompt, f"{source.name}, frame {frame.index}")
        if video.ended_early:
            notes.append(video.ended_early)
    except SourceError as error:
        raise CalibrationError(str(error)) from None


def _read(path: Path, prompts: Sequence[str], answer: str | None, notes: list[str]) -> Iterator[Example]:
    try:
        image = read_image(path)
    except InputError as error:
        notes.append(f"{error}: left out")
        log.warning(notes[-1])
        return
    for prompt in prompts:
        yield Example(image, prompt, str(path), answer)


def _evenly(things: Sequence[T], count: int) -> list[T]:
    if len(things) <= count:
        return list(things)
    return [things[i * len(things) // count] for i in range(count)]


def _shows_something(example: Example) -> bool:
    image = example.image
    channels = image.reshape(image.shape[0] * image.shape[1], -1)[:, :3]  # alpha shows nothing
    return float(channels.std(axis=0).max()) >= _DARKEST_SPREAD


def answered(examples: Sequence[Example], answers: Sequence[str]) -> tuple[Example, ...]:
    """The examples with answers where they had none."""
    return tuple(
        example if example.answer is not None else replace(example, answer=answer)
        for example, answer in zip(examples, answers, strict=True)
    )
