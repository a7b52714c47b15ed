"""What the loop hands to sinks: frames of a camera, one after the other, and changes of its state."""

from __future__ import annotations

import time

import numpy as np
from answered_frames import stream_result

from palijet.runtime.cameras.status import CameraState, StateChange
from palijet.runtime.result import DetectedObject
from palijet.runtime.sinks.sink import AnsweredFrame
from palijet.runtime.sources.source import Frame


def answered_frame(
    index: int = 0,
    *,
    camera: str = "door",
    prompts: tuple[str, ...] = ("how many people",),
    text: str = "2",
    objects: tuple[DetectedObject, ...] = (),
    image: np.ndarray | None = None,
    at_s: float | None = None,
) -> AnsweredFrame:
    """at_s: when it was captured, in seconds from 2026-11-25 09:46:40 UTC; None: now."""
    if image is None:
        image = np.zeros((48, 64, 3), np.uint8)
    captured_at = time.time() if at_s is None else 1_795_600_000.0 + at_s
    captured_monotonic = time.monotonic() if at_s is None else 1_000.0 + at_s
    size = (image.shape[1], image.shape[0])
    results = tuple(
        stream_result(
            camera, prompt, text, objects=objects, image_size=size, frame_index=index, captured_at=captured_at
        )
        for prompt in prompts
    )
    return AnsweredFrame(camera, Frame(image, index, captured_at, camera, captured_monotonic), results)


def state_change(after: CameraState = CameraState.STALE, *, camera: str = "door", reason: str = "") -> StateChange:
    """From live, after three seconds."""
    return StateChange(camera, time.time(), CameraState.LIVE, after, reason, lasted_s=3.0)
