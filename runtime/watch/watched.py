"""What is watched: a source, what is asked about its frames, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from ..cameras.options import CameraOptions
from ..errors import InputError
from ..sources import Source

if TYPE_CHECKING:
    from ..tracking import Line, Zone
    from .condition import Condition


@dataclass(frozen=True)
class Prompt:
    """Something that is asked about a camera's frames."""

    text: str
    name: str = ""  # by which conditions call it; none: its text
    every_s: float = 0.0  # asked once in so many seconds; 0: about every frame that is answered
    when: Condition | None = None  # asked only where it holds, by the other answers about the same frame
    choices: Sequence[str] | None = None  # the answers that there are; None: any
    max_tokens: int | None = None  # of the answer
    track: bool = False  # its objects keep an id from frame to frame

    @property
    def key(self) -> str:
        """By which conditions call it."""
        return self.name or self.text

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise InputError("a prompt is empty; give what is asked")


@dataclass(frozen=True)
class WatchedCamera:
    """A source and what is asked about it. Two of these that are equal are the same to a reload."""

    name: str
    source: str | Source
    prompts: tuple[Prompt, ...]
    fps: float | None = None  # answered frames per second, at most
    priority: int = 0  # higher ones have their turn first
    every: int = 1  # each n-th frame only
    max_staleness: float | None = None  # seconds; an older frame is not answered but counted
    skip_unchanged: bool = False  # repeat the last answer while the picture does not change
    realtime: bool = False  # play a file as if it were a live camera
    options: CameraOptions = field(default_factory=CameraOptions)
    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"every is {self.every}; give 1 or more")
        if self.fps is not None and not self.fps > 0:
            raise InputError(f"fps is {self.fps}; give frames per second above 0")
        if self.max_staleness is not None and not self.max_staleness > 0:
            raise InputError(f"max_staleness is {self.max_staleness}; give seconds above 0")
        if not self.prompts:
            raise InputError(f"nothing is asked about {self.name}; give a prompt")


@dataclass(frozen=True)
class Changes:
    """Names of cameras that a reload adds, removes, watches otherwise or leaves as they are."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    kept: tuple[str, ...]

    def __str__(self) -> str:
        said = [
            f"{', '.join(getattr(self, kind.name))} {kind.name}" for kind in fields(self) if getattr(self, kind.name)
        ]
        return "; ".join(said)


def differences(old: Sequence[WatchedCamera], new: Sequence[WatchedCamera]) -> Changes:
    """What a reload has to do, camera by camera."""
    before = {camera.name: camera for camera in old}
    after = {camera.name: camera for camera in new}
    both = [name for name in after if name in before]
    return Changes(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(name for name in both if after[name] != before[name]),
        kept=tuple(name for name in both if after[name] == before[name]),
    )
