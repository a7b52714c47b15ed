"""Frame after frame: what a model says about each, with what a stream makes possible.

The last answer to a prompt is guessed to hold (drafts), and the next frame can be encoded while one is decoded (pipeline).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from .errors import InputError
from .result import Result, StreamResult
from .sources import Frame

if TYPE_CHECKING:
    from .model import Encoded, Model


@dataclass(frozen=True)
class StreamOptions:
    """How the frames of a source are answered."""

    max_tokens: int | None = None  # of an answer; None: 128, or what the cache has room for
    choices: Sequence[str] | None = None  # the answers that there are; None: any
    every: int = 1  # answer each n-th frame only
    max_staleness: float | None = None  # seconds after which a result counts as stale
    drafts: bool = True  # verify the last answer within the prefill of the next
    pipeline: bool = False  # encode the next frame while one is decoded

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"every is {self.every}; give 1 or more")


def answer_frames(
    model: Model, frames: Iterable[Frame], prompts: Sequence[str], options: StreamOptions | None = None
) -> Iterator[tuple[Frame, list[StreamResult]]]:
    """Each frame that is answered, with one result per prompt, in the order of the frames.

    With `pipeline`, at most one frame waits, encoded, for the one before it.
    """
    options = options or StreamOptions()
    encoded = _encoded(model, _every(frames, options.every), ahead=options.pipeline)
    for answered, (frame, images) in enumerate(encoded):
        results = model.answer(
            images,
            prompts,
            max_tokens=options.max_tokens,
            choices=options.choices,
            camera=frame.source if options.drafts else None,
        )
        age = time.time() - frame.captured_at
        yield (
            frame,
            [
                StreamResult(
                    **{field.name: getattr(result, field.name) for field in fields(Result)},
                    source=frame.source,
                    frame_index=frame.index,
                    captured_at=frame.captured_at,
                    frame_age=age,
                    dropped=frame.index - answered,
                    stale=options.max_staleness is not None and age > options.max_staleness,
                )
                for result in results
            ],
        )


def _every(frames: Iterable[Frame], every: int) -> Iterator[Frame]:
    for frame in frames:
        if frame.index % every == 0:
            yield frame


def _encoded(model: Model, frames: Iterator[Frame], *, ahead: bool) -> Iterator[tuple[Frame, Encoded]]:
    if not ahead:
        for frame in frames:
            yield frame, model.encode(frame.image)
        return

    def fetch() -> tuple[Frame, Encoded] | None:
        frame = next(frames, None)
        return None if frame is None else (frame, model.encode(frame.image))

    with ThreadPoolExecutor(1, thread_name_prefix="palijet-encode") as worker:
        waiting: Future[tuple[Frame, Encoded] | None] = worker.submit(fetch)
        while (found := waiting.result()) is not None:
            waiting = worker.submit(fetch)
            yield found
