"""What lies on the belt, and how the camera and the light see it. Nothing is drawn here: see `drawing`.

Lengths are in heights of the camera frame: x runs from 0 to 4/3, y from 0 to 1, before the camera's tilt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .glyphs import CHARACTERS

SHAPES = ("bolt", "gear", "washer", "plate", "bracket")
COLOURS = ("red", "green", "blue", "yellow", "white")
SERIAL_LENGTH = 4
FRAME_WIDTH = 4 / 3
MAX_PARTS = 4

LABEL_ASPECT = 0.38
"""Height of a label over its width."""


@dataclass(frozen=True)
class Part:
    """A part: its centre, the radius of the circle that holds it, and its turn in radians."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    angle: float


@dataclass(frozen=True)
class Label:
    """A sticker with a serial number: its centre, its width and its turn in radians."""

    serial: str
    x: float
    y: float
    width: float
    angle: float


@dataclass(frozen=True)
class Belt:
    """The belt's surface: its grey (0 to 1), a tint per channel (B, G, R), and how far it has run."""

    grey: float
    tint: tuple[float, float, float]
    texture: float
    ribs: float
    travelled: float
    floor: float


@dataclass(frozen=True)
class Light:
    """Gain of the exposure, fall-off across the frame as a vector, warmth (red over blue)."""

    gain: float
    falloff: tuple[float, float]
    warmth: float
    direction: float


@dataclass(frozen=True)
class Camera:
    """Tilt about both axes (perspective), roll in radians; blur and noise as the sensor leaves them.

    `blur` is the standard deviation in heights of the frame, `noise` in grey levels of 255.
    """

    tilt: tuple[float, float]
    roll: float
    blur: float
    noise: float
    noise_seed: int


@dataclass(frozen=True)
class Scene:
    """Everything that decides a frame. Later parts lie on earlier ones; labels lie below the parts."""

    parts: tuple[Part, ...]
    labels: tuple[Label, ...]
    belt: Belt
    light: Light
    camera: Camera


def random_scene(seed: int) -> Scene:
    """The scene of a seed: 0 to 4 parts, no or one label, and a camera, a light and a belt of its own."""
    rng = np.random.default_rng([0x9A11, seed])
    labels = _random_labels(rng)
    wanted = int(rng.choice(MAX_PARTS + 1, p=(0.06, 0.16, 0.26, 0.28, 0.24)))
    # Few shapes at a time, so that several of one shape are common.
    shapes = rng.permutation(SHAPES)[: rng.integers(1, 4)]
    parts: list[Part] = []
    for _ in range(40 * wanted):
        if len(parts) == wanted:
            break
        part = random_part(rng, str(rng.choice(shapes)))
        part = _at(part, *_random_place(rng, part.radius))
        if _fits(part, parts, labels):
            parts.append(part)
    return Scene(tuple(parts), labels, random_belt(rng), random_light(rng), random_camera(rng))


def random_part(rng: np.random.Generator, shape: str) -> Part:
    """A part of one shape at the origin, of any colour, size and turn."""
    return Part(
        shape=shape,
        colour=str(rng.choice(COLOURS)),
        x=0.0,
        y=0.0,
        radius=float(rng.uniform(0.13, 0.175)),
        angle=float(rng.uniform(-math.pi, math.pi)),
    )


def random_serial(rng: np.random.Generator) -> str:
    """A serial number of letters and digits."""
    return "".join(rng.choice(list(CHARACTERS), SERIAL_LENGTH))


def random_belt(rng: np.random.Generator) -> Belt:
    """A belt of a dull colour."""
    return Belt(
        grey=float(rng.uniform(0.16, 0.36)),
        tint=(float(rng.uniform(0.9, 1.12)), float(rng.uniform(0.95, 1.08)), float(rng.uniform(0.9, 1.1))),
        texture=float(rng.uniform(0.02, 0.09)),
        ribs=float(rng.uniform(0.3, 0.7)),
        travelled=float(rng.uniform(0, 50)),
        floor=float(rng.uniform(0.3, 0.6)),
    )


def random_light(rng: np.random.Generator) -> Light:
    """A light from anywhere, a little too weak or too strong."""
    return Light(
        gain=float(rng.uniform(0.78, 1.15)),
        falloff=(float(rng.uniform(-0.2, 0.2)), float(rng.uniform(-0.2, 0.2))),
        warmth=float(rng.uniform(-0.06, 0.06)),
        direction=float(rng.uniform(-math.pi, math.pi)),
    )


def random_camera(rng: np.random.Generator) -> Camera:
    """A camera that hangs a little askew over the belt."""
    return Camera(
        tilt=(float(rng.uniform(-0.06, 0.06)), float(rng.uniform(-0.06, 0.06))),
        roll=float(rng.uniform(-0.05, 0.05)),
        blur=float(rng.uniform(0.0, 0.004)),
        noise=float(rng.uniform(1.0, 7.0)),
        noise_seed=int(rng.integers(1 << 31)),
    )


def _random_labels(rng: np.random.Generator) -> tuple[Label, ...]:
    if rng.random() < 0.4:
        return ()
    width = float(rng.uniform(0.54, 0.62))
    x = float(rng.uniform(0.05 + width / 2, FRAME_WIDTH - 0.05 - width / 2))
    if rng.random() < 0.08:
        # Cut by the edge: neither seen as a label nor read.
        x = float(rng.choice((rng.uniform(-0.15, 0.12), FRAME_WIDTH + rng.uniform(-0.12, 0.15))))
    y = float(rng.uniform(0.2, 0.8))
    return (Label(random_serial(rng), x, y, width, float(rng.uniform(-0.08, 0.08))),)


def _random_place(rng: np.random.Generator, radius: float) -> tuple[float, float]:
    margin = radius if rng.random() < 0.85 else 0.35 * radius
    return float(rng.uniform(margin, FRAME_WIDTH - margin)), float(rng.uniform(0.9 * radius, 1 - 0.9 * radius))


def _at(part: Part, x: float, y: float) -> Part:
    return Part(part.shape, part.colour, x, y, part.radius, part.angle)


def _fits(part: Part, others: list[Part], labels: tuple[Label, ...]) -> bool:
    """Whether the order from left to right stays clear, overlaps stay small and labels stay free."""
    for other in others:
        if abs(part.x - other.x) < 0.1:
            return False
        if math.hypot(part.x - other.x, part.y - other.y) < 0.72 * (part.radius + other.radius):
            return False
    for label in labels:
        dx = max(abs(part.x - label.x) - label.width / 2, 0.0)
        dy = max(abs(part.y - label.y) - LABEL_ASPECT * label.width / 2, 0.0)
        if math.hypot(dx, dy) < 0.85 * part.radius + 0.02:
            return False
    return True
