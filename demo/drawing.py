"""Paints a scene as a camera would see it, and says what can be seen: `draw(scene, width, height)` -> `View`.

Every part is a signed distance function, evaluated where each pixel's ray meets the belt. That gives tilt,
smooth edges and exact masks with numpy alone; OpenCV only blurs. (It draws differently in versions 4 and 5.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .glyphs import text_dots
from .scene import FRAME_WIDTH, LABEL_ASPECT, Camera, Label, Part, Scene

Floats = NDArray[np.float32]

PAINT: dict[str, tuple[float, float, float]] = {  # B, G, R
    "red": (0.13, 0.12, 0.82),
    "green": (0.20, 0.62, 0.14),
    "blue": (0.85, 0.36, 0.10),
    "yellow": (0.08, 0.78, 0.92),
    "white": (0.86, 0.88, 0.88),
}
_PAPER = (0.74, 0.84, 0.88)
_INK = (0.10, 0.08, 0.08)
_RAIL = (0.52, 0.50, 0.48)

SEEN_PART = 0.4
"""A part counts as seen from this share of its surface on."""
SEEN_LABEL = 0.85
"""A label counts as seen when it is nearly whole: a tilt makes it smaller, a part may touch its rim."""


@dataclass(frozen=True)
class Seen:
    """An object that can be seen. box: y0 x0 y1 x1 of what is visible, 0 to 1."""

    name: str
    colour: str
    serial: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class View:
    """A frame and what is in it: `parts` and `labels` from left to right (by their middles).

    image: [height, width, 3] uint8, BGR. owner: [height, width] int8, at each pixel the index of the object
    seen there in `parts + labels`, -1 for none.
    """

    image: NDArray[np.uint8]
    owner: NDArray[np.int8]
    parts: tuple[Seen, ...]
    labels: tuple[Seen, ...]


def draw(scene: Scene, width: int = 320, height: int = 240) -> View:
    """Paint `scene` into a frame of `width` x `height` pixels (4:3)."""
    x, y = _belt_coordinates(scene.camera, width, height)
    canvas = _belt(scene, x, y)
    owner = np.full((height, width), -1, np.int8)
    things: list[Part | Label] = [*scene.labels, *scene.parts]
    whole = []
    for index, thing in enumerate(things):
        whole.append(_paint(thing, index, scene, canvas, owner, x, y))
    seen = _seen(things, whole, owner)
    return View(_expose(scene, canvas, x, y), *seen)


def _belt_coordinates(camera: Camera, width: int, height: int) -> tuple[Floats, Floats]:
    """The point of the belt under each pixel's centre: x, y, each [height, width]."""
    u = ((np.arange(width, dtype=np.float32) + 0.5) / height - FRAME_WIDTH / 2)[None, :]
    v = ((np.arange(height, dtype=np.float32) + 0.5) / height - 0.5)[:, None]
    cos, sin = np.float32(math.cos(camera.roll)), np.float32(math.sin(camera.roll))
    depth = 1 + np.float32(camera.tilt[0]) * u + np.float32(camera.tilt[1]) * v
    x = (cos * u - sin * v) / depth + np.float32(FRAME_WIDTH / 2)
    y = (sin * u + cos * v) / depth + np.float32(0.5)
    return x, y


def _pixel_of(camera: Camera, x: float, y: float, height: int) -> tuple[float, float]:
    """The pixel (column, row) above a point of the belt: `_belt_coordinates` turned round."""
    a, b = x - FRAME_WIDTH / 2, y - 0.5
    cos, sin = math.cos(camera.roll), math.sin(camera.roll)
    u, v = cos * a + sin * b, cos * b - sin * a
    scale = 1 / (1 - camera.tilt[0] * u - camera.tilt[1] * v)
    return (u * scale + FRAME_WIDTH / 2) * height, (v * scale + 0.5) * height


def _belt(scene: Scene, x: Floats, y: Floats) -> Floats:
    """The empty belt between its rails: [height, width, 3] float32, 0 to about 1."""
    belt = scene.belt
    across = (np.int32(1) * (y * 160)).astype(np.int32) & 255
    along = ((x + np.float32(belt.travelled)) * 40).astype(np.int32) & 255
    grey = np.float32(belt.grey) * (1 + np.float32(belt.texture) * _GRAIN[across, along])
    phase = (x + np.float32(belt.travelled)) / np.float32(belt.ribs)
    phase = np.abs(phase - np.rint(phase)) * np.float32(belt.ribs)
    grey *= 1 - np.float32(0.3) * np.clip(1.5 - phase * 160, 0, 1)
    rail = np.clip((np.abs(y - np.float32(0.5)) - np.float32(0.47)) * 150 + np.float32(0.5), 0, 1)[..., None]
    surface = grey[..., None] * np.array(belt.tint, np.float32)
    surface += rail * (np.array(_RAIL, np.float32) * np.float32(0.6 + belt.floor) - surface)
    return surface


def _paint(
    thing: Part | Label,
    index: int,
    scene: Scene,
    canvas: Floats,
    owner: NDArray[np.int8],
    x: Floats,
    y: Floats,
) -> float:
    """Paint one thing with its shadow and mark its pixels in `owner`. Returns its whole area in pixels."""
    height, width = owner.shape
    reach = thing.radius if isinstance(thing, Part) else 0.56 * thing.width
    column, row = _pixel_of(scene.camera, thing.x, thing.y, height)
    half = math.ceil(reach * height * 1.15) + 3
    top, left = int(row) - half, int(column) - half
    rows = slice(max(top, 0), max(min(top + 2 * half, height), 0))
    columns = slice(max(left, 0), max(min(left + 2 * half, width), 0))
    # The whole area, with what lies beyond the frame: the tilt is mild, so it does not depend on the place.
    unit = thing.radius if isinstance(thing, Part) else thing.width
    whole = _area(thing) * (unit * height) ** 2
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return whole
    cos, sin = np.float32(math.cos(thing.angle)), np.float32(math.sin(thing.angle))
    dx = (x[rows, columns] - np.float32(thing.x)) / np.float32(unit)
    dy = (y[rows, columns] - np.float32(thing.y)) / np.float32(unit)
    p, q = cos * dx + sin * dy, cos * dy - sin * dx
    pixels = np.float32(unit * height)
    distance = (_SHAPES[thing.shape] if isinstance(thing, Part) else _label_shape)(p, q) * pixels
    cover = np.clip(np.float32(0.5) - distance, 0, 1)

    light = scene.light
    step = max(1, round(0.012 * height))
    shift = (round(step * math.sin(light.direction)), round(step * math.cos(light.direction)))
    shadow = _shifted(np.clip(np.float32(0.5) - distance / np.float32(0.02 * height), 0, 1), *shift)
    patch = canvas[rows, columns]
    patch *= (1 - np.float32(0.45) * shadow)[..., None]
    if isinstance(thing, Part):
        # Lit from one side, darker towards the rim as on a bevel.
        toward = (
            np.float32(-math.sin(light.direction - thing.angle)) * q
            - np.float32(math.cos(light.direction - thing.angle)) * p
        )
        shade = (1 + np.float32(0.14) * toward) * (
            1 - np.float32(0.35) * np.clip(1 + distance / np.float32(0.014 * height), 0, 1)
        )
        colour = shade[..., None] * np.array(PAINT[thing.colour], np.float32)
    else:
        ink = _ink(thing.serial, p, q)[..., None]
        colour = np.array(_PAPER, np.float32) + ink * (np.array(_INK, np.float32) - np.array(_PAPER, np.float32))
    patch += cover[..., None] * (colour - patch)
    owner[rows, columns][cover > 0.5] = index
    return whole


def _shifted(mask: Floats, down: int, right: int) -> Floats:
    """`mask` moved by whole pixels; zeros come in."""
    height, width = mask.shape
    margin = max(abs(down), abs(right))
    padded = np.pad(mask, margin)
    return padded[margin - down : margin - down + height, margin - right : margin - right + width]


def _ink(serial: str, p: Floats, q: Floats) -> Floats:
    """How much ink lies at points of a label (in widths of the label, from its middle)."""
    dots = np.pad(np.kron(text_dots(serial), np.ones((4, 4), np.float32)), 3)
    pitch = 0.86 / (6 * len(serial) - 1) / 4
    column = np.clip(p / np.float32(pitch) + np.float32(dots.shape[1] / 2 - 0.5), 0, dots.shape[1] - 1.001)
    row = np.clip(q / np.float32(pitch) + np.float32(dots.shape[0] / 2 - 0.5), 0, dots.shape[0] - 1.001)
    j, i = column.astype(np.int32), row.astype(np.int32)
    fj, fi = column - j, row - i
    upper = dots[i, j] * (1 - fj) + dots[i, j + 1] * fj
    lower = dots[i + 1, j] * (1 - fj) + dots[i + 1, j + 1] * fj
    return np.asarray(upper * (1 - fi) + lower * fi, np.float32)


def _expose(scene: Scene, canvas: Floats, x: Floats, y: Floats) -> NDArray[np.uint8]:
    """Light, lens and sensor: the canvas as 8-bit pixels."""
    light, camera = scene.light, scene.camera
    height = len(x)
    brightness = np.float32(light.gain) * (
        1
        + np.float32(light.falloff[0]) * (x - np.float32(FRAME_WIDTH / 2))
        + np.float32(2 * light.falloff[1]) * (y - np.float32(0.5))
    )
    canvas *= brightness[..., None] * np.array([1 - light.warmth, 1, 1 + light.warmth], np.float32) * 255
    if camera.blur * height > 0.25:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), camera.blur * height), np.float32)
    start = np.random.default_rng(camera.noise_seed).integers(0, max(_NOISE.size - canvas.size, 1))
    canvas += np.float32(camera.noise) * np.resize(_NOISE[start : start + canvas.size], canvas.shape)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _seen(
    things: list[Part | Label], whole: list[float], owner: NDArray[np.int8]
) -> tuple[NDArray[np.int8], tuple[Seen, ...], tuple[Seen, ...]]:
    """Those of `things` that can be seen, and `owner` renumbered to them."""
    height, width = owner.shape
    parts: list[tuple[int, Seen]] = []
    labels: list[tuple[int, Seen]] = []
    for index, thing in enumerate(things):
        mask = owner == index
        needed = SEEN_PART if isinstance(thing, Part) else SEEN_LABEL
        if mask.sum() < needed * whole[index]:
            continue
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (
            float(rows[0] / height),
            float(columns[0] / width),
            float((rows[-1] + 1) / height),
            float((columns[-1] + 1) / width),
        )
        if isinstance(thing, Part):
            parts.append((index, Seen(thing.shape, thing.colour, "", box)))
        else:
            labels.append((index, Seen("label", "white", thing.serial, box)))
    for found in (parts, labels):
        found.sort(key=lambda pair: pair[1].box[1] + pair[1].box[3])
    numbers = np.full(len(things) + 1, -1, np.int8)
    for number, (index, _) in enumerate(parts + labels):
        numbers[index] = number
    return numbers[owner], tuple(seen for _, seen in parts), tuple(seen for _, seen in labels)


def _box(p: Floats, q: Floats, half_p: float, half_q: float) -> Floats:
    """Distance to an upright box about the origin, negative inside."""
    a, b = np.abs(p) - np.float32(half_p), np.abs(q) - np.float32(half_q)
    outside = np.hypot(np.maximum(a, 0), np.maximum(b, 0))
    return np.asarray(outside + np.minimum(np.maximum(a, b), 0), np.float32)


def _bolt(p: Floats, q: Floats) -> Floats:
    head = _box(p + np.float32(0.68), q, 0.26, 0.6)
    thread = np.float32(0.03) * np.sin(p * 40)
    return np.minimum(head, _box(p - np.float32(0.24), q, 0.72, 0.24) + thread)


def _gear(p: Floats, q: Floats) -> Floats:
    radius = np.hypot(p, q)
    teeth = np.clip(np.float32(2.5) * np.cos(8 * np.arctan2(q, p)), -1, 1)
    return np.maximum(radius - (np.float32(0.82) + np.float32(0.16) * teeth), np.float32(0.24) - radius)


def _washer(p: Floats, q: Floats) -> Floats:
    radius = np.hypot(p, q)
    return np.maximum(radius - np.float32(0.88), np.float32(0.5) - radius)


def _plate(p: Floats, q: Floats) -> Floats:
    return _box(p, q, 0.68, 0.5) - np.float32(0.1)


def _bracket(p: Floats, q: Floats) -> Floats:
    return np.minimum(
        _box(p, q - np.float32(0.52), 0.78, 0.25),
        _box(p + np.float32(0.53), q, 0.25, 0.77),
    )


def _label_shape(p: Floats, q: Floats) -> Floats:
    return _box(p, q, 0.48, LABEL_ASPECT / 2 - 0.02) - np.float32(0.02)


_SHAPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "bolt": _bolt,
    "gear": _gear,
    "washer": _washer,
    "plate": _plate,
    "bracket": _bracket,
}


def _area(thing: Part | Label) -> float:
    """Surface of a thing over its unit squared (a part's radius, a label's width)."""
    return _AREAS[thing.shape if isinstance(thing, Part) else "label"]


def _measure(shape: Callable[[Floats, Floats], Floats]) -> float:
    side = ((np.arange(220, dtype=np.float32) + 0.5) / 100 - 1.1).astype(np.float32)
    return float((shape(side[None, :], side[:, None]) < 0).sum() / 1e4)


_AREAS = {name: _measure(shape) for name, shape in [*_SHAPES.items(), ("label", _label_shape)]}
_GRAIN = np.random.default_rng(7).standard_normal((256, 256)).astype(np.float32)
_NOISE = np.random.default_rng(8).standard_normal(1_500_000).astype(np.float32)
