"""A feed and what the loop remembers of it: what was last said about its picture, what its trackers follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from ..cameras.change_detector import ChangeDetector
from ..cameras.status import CameraState, StateChange
from ..errors import SourceError
from ..result import Result, StreamResult
from ..sources import Frame
from .feed import open_feed
from .watched import Prompt, WatchedCamera

if TYPE_CHECKING:
    from ..tracking import Tracker


class WatchedFeed:
    """Opened and closed with its source.

    Raises:
        SourceError: the source is none, or a file that cannot be read. A camera that is off is a state.
    """

    def __init__(
        self, watched: WatchedCamera, on_frame: Callable[[], None], on_change: Callable[[StateChange], None]
    ) -> None:
        """on_frame, on_change: called from the source's thread when a frame is there or its state changes."""
        self.watched = watched
        self.answered = 0  # frames
        self.replaced = False  # another source has this one's name now, and speaks for it
        self._on_change = on_change
        self._known: dict[str, StreamResult] = {}  # what was said about the remembered picture, by prompts' keys
        self._remembered = ChangeDetector() if watched.skip_unchanged else None
        self._trackers: dict[str, Tracker] = {}
        if tracked := [prompt for prompt in watched.prompts if prompt.track]:
            from ..tracking import Tracker

            self._trackers = {prompt.key: Tracker(zones=watched.zones, lines=watched.lines) for prompt in tracked}
        try:
            self.source = open_feed(watched, on_frame, self._changed)
        except SourceError as error:
            named = watched.name in str(error)
            raise error if named else SourceError(f"{watched.name}: {error}") from None

    def unchanged(self, frame: Frame) -> bool:
        """Whether a picture is as the remembered one, where the camera is to be asked nothing twice."""
        return self._remembered is not None and not self._remembered.changed(frame.image)

    def see(self, frame: Frame) -> None:
        """Remember a picture, and that nothing was said about it, unless it is as the remembered one."""
        if self._remembered is not None and self._remembered.changed(frame.image):
            self._remembered.remember(frame.image)
            self._known = {}

    def known(self, prompt: Prompt, frame: Frame) -> StreamResult | None:
        """What was said to a prompt about this picture, which `see` has seen, or one that is as it."""
        last = self._known.get(prompt.key)
        if last is None:
            return None
        said = replace(self._said(frame, last), repeated=True, zones=last.zones)
        return self._follow(prompt, said, frame)

    def say(self, prompt: Prompt, frame: Frame, result: Result) -> StreamResult:
        """A fresh answer, with its frame's times and its objects' ids."""
        said = self._follow(prompt, self._said(frame, result), frame)
        if self._remembered is not None:
            self._known[prompt.key] = said
        return said

    def close(self) -> None:
        self.source.close()

    def _said(self, frame: Frame, result: Result) -> StreamResult:
        age_s, limit = frame.age_s, self.watched.max_staleness
        stale = (limit is not None and age_s > limit) or self.source.status().state is CameraState.STALE
        return StreamResult(
            **{field.name: getattr(result, field.name) for field in fields(Result)},
            camera=self.watched.name,
            source=frame.source,
            frame_index=frame.index,
            captured_at=frame.captured_at,
            frame_age=age_s,
            dropped=frame.index - self.answered,
            stale=stale,
        )

    def _follow(self, prompt: Prompt, result: StreamResult, frame: Frame) -> StreamResult:
        tracker = self._trackers.get(prompt.key)
        return result if tracker is None else tracker.update(result, captured_monotonic=frame.captured_monotonic)

    def _changed(self, change: StateChange) -> None:
        if not self.replaced:
            self._on_change(change)
