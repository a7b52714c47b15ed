"""A result of a stream, made up: what it says is chosen by the test."""

from __future__ import annotations

from palijet.runtime.result import DetectedObject, StreamResult, Timings


def stream_result(
    text: str = "",
    objects: tuple[DetectedObject, ...] = (),
    *,
    prompt: str = "detect part",
    index: int = 0,
    at_s: float = 0.0,
    size: tuple[int, int] = (320, 240),
    logprob: float = -0.1,
) -> StreamResult:
    """at_s: when its frame was captured, in seconds from a fixed moment; size: of the picture, width and height."""
    return StreamResult(
        prompt=prompt,
        text=text,
        tokens=(5, 6),
        logprobs=(logprob, logprob),
        stop_reason="stop",
        stop_logprob=logprob,
        objects=objects,
        incomplete="",
        image_size=size,
        timings=Timings(1.0, 2.0, 3.0, 4.0, 10.0, 2, 2),
        source="0",
        frame_index=index,
        captured_at=1_795_600_000.0 + at_s,
        frame_age=0.1,
        dropped=0,
        stale=False,
    )
