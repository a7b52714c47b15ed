"""What can be asked of a view, and the right answers, in PaliGemma's prompt and answer grammar.

    caption en                          a red bolt, a white gear and a red bolt
    detect bolt ; gear                  <loc0128><loc0256><loc0384><loc0512> bolt ; <loc...>... gear
    ocr                                 K7P3
    answer en how many red parts        2
    answer en what colour is the bolt   red
    answer en is there a label          yes

Boxes are `y0 x0 y1 x1` in 1/1023 (big_vision, `configs/proj/paligemma`), objects go from left to right, the
classes of `detect X ; Y` one after the other. What is not there is detected, or read, as the empty text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .drawing import Seen
from .scene import COLOURS, SHAPES

TASKS = ("caption", "detect", "detect_two", "ocr", "count", "colour", "presence")

Box = tuple[float, float, float, float]

_GRID = 128
"""Corners are rounded to 1/128 of the frame, about a pixel of the input: few loc tokens are in use."""


@dataclass(frozen=True)
class Question:
    """A prompt and its answer. objects: for detections, the true labels and boxes (y0 x0 y1 x1, 0 to 1)."""

    task: str
    prompt: str
    answer: str
    objects: tuple[tuple[str, Box], ...] = ()


def loc(coordinate: float) -> int:
    """The number of the loc token for a coordinate between 0 and 1."""
    return round(round(coordinate * _GRID) / _GRID * 1023)


def box_text(label: str, box: Box) -> str:
    """One detected object."""
    return "".join(f"<loc{loc(corner):04d}>" for corner in box) + f" {label}"


def caption(parts: tuple[Seen, ...]) -> Question:
    names = [f"a {part.colour} {part.name}" for part in parts]
    text = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "an empty belt"
    return Question("caption", "caption en", text)


def detect(parts: tuple[Seen, ...], labels: tuple[Seen, ...], *names: str) -> Question:
    """`detect X`, or `detect X ; Y`; "part" stands for a part of any shape."""
    found = tuple(
        (name, seen.box)
        for name in names
        for seen in parts + labels
        if name == seen.name or (name == "part" and seen in parts)
    )
    answer = " ; ".join(box_text(name, box) for name, box in found)
    return Question("detect" if len(names) == 1 else "detect_two", "detect " + " ; ".join(names), answer, found)


def read(labels: tuple[Seen, ...]) -> Question:
    return Question("ocr", "ocr", labels[0].serial if labels else "")


def count(parts: tuple[Seen, ...], what: str) -> Question:
    """what: a shape, "part", or a colour with "part", such as "red part"."""
    number = sum(what in (part.name, "part", f"{part.colour} part") for part in parts)
    return Question("count", f"answer en how many {what}s", str(number))


def colour(parts: tuple[Seen, ...], name: str) -> Question:
    """The colour of the one part of a shape."""
    (part,) = [part for part in parts if part.name == name]
    return Question("colour", f"answer en what colour is the {name}", part.colour)


def presence(parts: tuple[Seen, ...], labels: tuple[Seen, ...], what: str) -> Question:
    """what: a shape, a colour and a shape, or "label"."""
    there = any(what in (seen.name, f"{seen.colour} {seen.name}") for seen in parts + labels)
    return Question("presence", f"answer en is there a {what}", "yes" if there else "no")


def ask(rng: np.random.Generator, task: str, parts: tuple[Seen, ...], labels: tuple[Seen, ...]) -> Question | None:
    """A question of one task, drawn so that neither "yes" nor "no" is rare. None if none can be asked."""
    names = sorted({part.name for part in parts})

    def shape() -> str:
        return str(rng.choice(names)) if names and rng.random() < 0.7 else str(rng.choice(SHAPES))

    if task == "caption":
        return caption(parts)
    if task == "detect":
        what = rng.random()
        return detect(parts, labels, "label" if what < 0.15 else "part" if what < 0.35 else shape())
    if task == "detect_two":
        if rng.random() < 0.2:
            return detect(parts, labels, "part", "label")
        first, second = shape(), "label" if rng.random() < 0.2 else shape()
        return detect(parts, labels, first, second) if first != second else detect(parts, labels, first, "label")
    if task == "ocr":
        return read(labels)
    if task == "count":
        what = rng.random()
        if what < 0.25:
            return count(parts, "part")
        if what < 0.5:
            tint = rng.choice([part.colour for part in parts]) if parts and rng.random() < 0.7 else rng.choice(COLOURS)
            return count(parts, f"{tint} part")
        return count(parts, shape())
    if task == "colour":
        single = [name for name in names if sum(part.name == name for part in parts) == 1]
        return colour(parts, str(rng.choice(single))) if single else None
    if task == "presence":
        what = rng.random()
        if what < 0.2:
            return presence(parts, labels, "label")
        if what < 0.65:
            name = str(rng.choice(names)) if names and rng.random() < 0.5 else str(rng.choice(SHAPES))
            return presence(parts, labels, name)
        if parts and rng.random() < 0.5:
            part = parts[rng.integers(len(parts))]
            return presence(parts, labels, f"{part.colour} {part.name}")
        return presence(parts, labels, f"{rng.choice(COLOURS)} {shape()}")
    raise ValueError(f"there is no task {task!r}; the tasks are {', '.join(TASKS)}")
