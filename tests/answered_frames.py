"""Answered frames whose answers are written down rather than a model's, for tests of what happens to them afterwards."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from palijet.runtime.result import DetectedObject, StreamResult, Timings
from palijet.runtime.sinks.sink import AnsweredFrame
from palijet.runtime.sources import Frame

TIMINGS = Timings(preprocess=1, vision=20, prefill=30, decode=40, total=91, tokens=7, decoder_calls=5)


def stream_result(
    camera: str = "gate", prompt: str = "caption en", text: str = "a red gear", **changed: Any
) -> StreamResult:
    """One answer; `changed`: fields of StreamResult that are to be others."""
    fields: dict[str, Any] = {
        "prompt": prompt,
        "text": text,
        "tokens": (5, 6),
        "logprobs": (-0.1, -0.2),
        "stop_reason": "stop",
        "stop_logprob": -0.05,
        "objects": (),
        "incomplete": "",
        "image_size": (64, 48),
        "timings": TIMINGS,
        "source": "rtsp://gate/stream",
        "frame_index": 0,
        "captured_at": time.time(),
        "frame_age": 0.12,
        "dropped": 0,
        "stale": False,
        "camera": camera,
    }
    return StreamResult(**(fields | changed))


def answered_frame(
    camera: str,
    *timings: Timings,
    image: np.ndarray | None = None,
    objects: tuple[DetectedObject, ...] = (),
    **changed: Any,
) -> AnsweredFrame:
    """A frame with an answer for each of `timings`. image: [height, width, 3] BGR, 64x48 and black where none is given."""
    if image is None:
        image = np.zeros((48, 64, 3), np.uint8)
    changed.setdefault("image_size", (image.shape[1], image.shape[0]))
    results = tuple(
        stream_result(camera, f"prompt {place}", timings=one, objects=objects, **changed)
        for place, one in enumerate(timings)
    )
    return AnsweredFrame(camera, Frame(image, 0, time.time(), "rtsp://gate/stream"), results)
