"""Whose turn it is: which cameras' frames are answered together now, and what is asked about each. Time is passed in.

The rule: a higher priority goes first, and each second that a ready camera waits counts as one more priority, so that a low one has
its turn after so many seconds as the priorities differ. Among equals, the one that has waited longest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

from .watched import Prompt, WatchedCamera

_PRIORITY_PER_S = 1.0  # of waiting


class Schedule:
    """Fair turns of cameras, each at its rate, and their prompts' own rates. All times by one clock that never jumps."""

    def __init__(self) -> None:
        self._cameras: dict[str, _Camera] = {}
        self._turns = count(1)

    def watch(self, cameras: Sequence[WatchedCamera]) -> None:
        """From now on these; what is as before keeps its rate and its place in the queue."""
        before = self._cameras
        self._cameras = {}
        for camera in cameras:
            known = before.get(camera.name)
            self._cameras[camera.name] = known if known and known.watched == camera else _Camera(camera)

    def due(self, now: float, ready: Sequence[str], most: int) -> list[str]:
        """The cameras whose turn it is, at most so many, in the order of their turns; each of them is taken to have had it.

        ready: those that have a frame. One that has none holds up nobody and gathers no claim.
        """
        waiting = set(ready)
        for name, camera in self._cameras.items():
            if name not in waiting or camera.next_at() > now:
                camera.waiting_since = None
            elif camera.waiting_since is None:
                camera.waiting_since = now
        claims = [name for name, camera in self._cameras.items() if camera.waiting_since is not None]
        chosen = sorted(claims, key=lambda name: self._cameras[name].claim(now))[:most]
        for name in chosen:
            self._cameras[name].take(now, next(self._turns))
        return chosen

    def next_due(self, now: float, ready: Sequence[str]) -> float | None:
        """When the first of those that have a frame may have its turn, not before now; None: no frame is there."""
        times = [self._cameras[name].next_at() for name in ready]
        return max(now, min(times)) if times else None

    def prompts_due(self, name: str, now: float) -> tuple[Prompt, ...]:
        """What is asked about a camera's frame: what is due by time, and what may become due by a condition on the answers.

        A prompt with a condition keeps its claim until `asked` says that it was asked.
        """
        camera = self._cameras[name]
        due = tuple(prompt for prompt in camera.watched.prompts if camera.paces[prompt.key].next_at <= now)
        for prompt in due:
            if prompt.when is None:
                camera.paces[prompt.key].take(now)
        return due

    def may_ask(self, name: str, prompt: Prompt, now: float) -> bool:
        """Whether a prompt with a condition is due by time still: a frame that was taken before may have asked it meanwhile."""
        camera = self._cameras.get(name)  # none: it is gone since its frame was taken
        return camera is None or prompt.key not in camera.paces or camera.paces[prompt.key].next_at <= now

    def asked(self, name: str, prompt: Prompt, now: float) -> None:
        """The condition of a prompt held, so its seconds begin."""
        camera = self._cameras.get(name)
        if camera is not None and prompt.when is not None and prompt.key in camera.paces:
            camera.paces[prompt.key].take(now)


class _Pace:
    """Once per period, without drift: a turn that comes late by less than a period does not put off the next."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self.next_at = -math.inf

    def take(self, now: float) -> None:
        on_time = self.next_at + self._period_s
        self.next_at = on_time if on_time > now else now + self._period_s


class _Camera:
    """What the schedule remembers of a camera."""

    def __init__(self, watched: WatchedCamera) -> None:
        self.watched = watched
        self.paces = {prompt.key: _Pace(prompt.every_s) for prompt in watched.prompts}
        self.waiting_since: float | None = None  # ready and due, but not chosen
        self._pace = _Pace(1 / watched.fps if watched.fps else 0.0)
        self._turn = 0  # the number of its last one

    def next_at(self) -> float:
        """When its rate allows a frame and a prompt is due that hangs on no other's answer."""
        return max(
            self._pace.next_at,
            min(
                (self.paces[prompt.key].next_at for prompt in self.watched.prompts if prompt.when is None),
                default=-math.inf,
            ),
        )

    def claim(self, now: float) -> tuple[float, int]:
        """The least goes first."""
        waited_s = now - self.waiting_since if self.waiting_since is not None else 0.0
        return -(self.watched.priority + waited_s * _PRIORITY_PER_S), self._turn

    def take(self, now: float, turn: int) -> None:
        self._pace.take(now)
        self._turn = turn
        self.waiting_since = None
