"""The moving clip that stands in for a camera: parts and labels enter on the right and leave on the left."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from .drawing import View, draw
from .scene import (
    FRAME_WIDTH,
    MAX_PARTS,
    SHAPES,
    Label,
    Part,
    Scene,
    random_belt,
    random_camera,
    random_light,
    random_part,
    random_serial,
)


@dataclass(frozen=True)
class Clip:
    """How long, how large and how fast. speed: heights of the frame per frame; fps: as a file is played."""

    seed: int = 18
    frames: int = 360
    width: int = 640
    height: int = 480
    speed: float = 0.012
    fps: float = 25.0


def views(clip: Clip) -> Iterator[View]:
    """The frames of a clip one by one, each with the truth about it."""
    rng = np.random.default_rng([0xC11F, clip.seed])
    belt, light, camera = random_belt(rng), random_light(rng), random_camera(rng)
    camera = replace(camera, blur=0.0012, noise=4.0)
    parts, labels = _load(rng, FRAME_WIDTH + clip.frames * clip.speed)
    for frame in range(clip.frames):
        gone = frame * clip.speed
        flicker = 0.05 * math.sin(frame / 37)
        yield draw(
            Scene(
                tuple(replace(part, x=part.x - gone) for part in parts if _near(part.x - gone)),
                tuple(replace(label, x=label.x - gone) for label in labels if _near(label.x - gone)),
                replace(belt, travelled=belt.travelled + gone),
                replace(light, gain=light.gain + flicker),
                replace(camera, noise_seed=clip.seed * 100_000 + frame),
            ),
            clip.width,
            clip.height,
        )


def write_clip(path: Path, clip: Clip | None = None) -> int:
    """Write a clip as an MP4 (MPEG-4 part 2, which every OpenCV carries). Returns the number of frames.

    Raises OSError if the file cannot be written.
    """
    clip = clip or Clip()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), clip.fps, (clip.width, clip.height))
    if not writer.isOpened():
        raise OSError(f"{path}: OpenCV cannot write a video there; choose another folder or a name that ends in .mp4")
    written = 0
    try:
        for view in views(clip):
            writer.write(view.image)
            written += 1
    finally:
        writer.release()
    return written


def _load(rng: np.random.Generator, length: float) -> tuple[list[Part], list[Label]]:
    """Parts and labels on a belt: never more parts in one frame than scenes have, one label at most."""
    parts: list[Part] = []
    labels: list[Label] = []
    end, since_label, group = 0.9, 0, 3
    while end < length:
        if since_label == group:
            width = float(rng.uniform(0.55, 0.6))
            labels.append(
                Label(
                    random_serial(rng),
                    end + width / 2 + 0.06,
                    float(rng.uniform(0.3, 0.7)),
                    width,
                    float(rng.uniform(-0.06, 0.06)),
                )
            )
            end += width + 0.12
            since_label, group = 0, int(rng.integers(2, 6))
            continue
        part = random_part(rng, str(rng.choice(SHAPES)))
        x = end + part.radius
        if since_label and rng.random() < 0.6 and abs(parts[-1].y - 0.5) > 0.1:
            # Beside the one before it: near enough to overlap at times.
            x = parts[-1].x + 0.16
            y = 0.5 - math.copysign(0.1, parts[-1].y - 0.5)
        else:
            y = float(rng.uniform(0.2, 0.8))
        if len(parts) >= MAX_PARTS:
            x = max(x, parts[-MAX_PARTS].x + FRAME_WIDTH + 0.05)
        parts.append(replace(part, x=x, y=y))
        end = max(end, x + part.radius + 0.02)
        since_label += 1
    return parts, labels


def _near(x: float) -> bool:
    return -0.4 < x < FRAME_WIDTH + 0.4
