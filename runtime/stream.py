"""Frame after frame of one source or several: the same prompts about each, as `Model.stream` and `palijet run` ask them.

The last answer to a prompt is guessed to hold (drafts), and the next frame can be encoded while one is decoded (pipeline).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from .cameras.options import CameraOptions
from .errors import InputError
from .sources import Source, parse_uri
from .watch.watch import Watch, WatchOptions
from .watch.watched import Prompt, WatchedCamera

if TYPE_CHECKING:
    from .cameras.status import StateChange
    from .model import Model

OneSource = str | os.PathLike[str] | int | Source


@dataclass(frozen=True)
class StreamOptions:
    """How the frames of a source are answered."""

    max_tokens: int | None = None  # of an answer; None: 128, or what the cache has room for
    choices: Sequence[str] | None = None  # the answers that there are; None: any
    every: int = 1  # answer each n-th frame only
    fps: float | None = None  # answer so many frames per second at most, of each source
    max_staleness: float | None = None  # seconds; a frame that is older when its turn comes is not answered but counted
    skip_unchanged: bool = False  # repeat the last answer while the picture does not change
    realtime: bool = False  # play a file as if it were a live camera
    track: bool = False  # objects keep an id from frame to frame
    drafts: bool = True  # verify the last answer within the prefill of the next
    pipeline: bool = False  # encode the next frame while one is decoded
    camera: CameraOptions = field(default_factory=CameraOptions)  # how a live source is captured and watched


def stream_options(given: Mapping[str, Any]) -> StreamOptions:
    """From keyword arguments: fields of StreamOptions, and those of CameraOptions without a level between.

    Raises:
        InputError: there is no such option, or not such a value.
    """
    own = {field.name for field in fields(StreamOptions)}
    of_camera = {field.name for field in fields(CameraOptions)}
    if unknown := sorted(set(given) - own - of_camera):
        raise InputError(f"stream has no option {unknown[0]}; it has {', '.join(sorted(own | of_camera))}")
    camera = {name: value for name, value in given.items() if name in of_camera}
    plain = {name: value for name, value in given.items() if name in own}
    if camera:
        plain["camera"] = CameraOptions(**camera)
    return StreamOptions(**plain)


def open_watch(
    model: Model,
    source: OneSource | Mapping[str, OneSource],
    prompts: Sequence[str],
    options: StreamOptions | None = None,
    on_change: Callable[[StateChange], None] | None = None,
) -> Watch:
    """A watch over one source, or over several by their names; all are asked the same prompts.

    on_change: called from a camera's thread when its state changes.

    Raises:
        SourceError: a source is none, or a file that cannot be read. A camera that is off is a state.
    """
    options = options or StreamOptions()
    named = source if isinstance(source, Mapping) else {_name(source): source}
    cameras = watched_cameras(named, prompts, options)
    watch_options = WatchOptions(drafts=options.drafts, pipeline=options.pipeline)
    return Watch(model, cameras, watch_options, on_change or (lambda change: None))


def watched_cameras(
    sources: Mapping[str, OneSource], prompts: Sequence[str], options: StreamOptions
) -> tuple[WatchedCamera, ...]:
    """Sources by their names, all asked the same prompts."""
    asked = tuple(
        Prompt(text, choices=options.choices, max_tokens=options.max_tokens, track=options.track) for text in prompts
    )
    return tuple(
        WatchedCamera(
            name=name,
            source=source if isinstance(source, Source) else str(source),
            prompts=asked,
            fps=options.fps,
            every=options.every,
            max_staleness=options.max_staleness,
            skip_unchanged=options.skip_unchanged,
            realtime=options.realtime,
            options=options.camera,
        )
        for name, source in sources.items()
    )


def _name(source: OneSource) -> str:
    """What a source is called that was given no name."""
    return (
        getattr(source, "name", type(source).__name__) if isinstance(source, Source) else parse_uri(str(source)).shown
    )
