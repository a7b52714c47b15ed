"""Judges a camera by what its capture process says and when: waiting, live, stale, lost or over.

Pure logic: every moment is passed in, seconds by time.monotonic(), so a wall clock that jumps changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from ..capture.protocol import LASTING, Captured, Ended, Failed, FromProcess, Opened
from .backoff import Backoff
from .options import CameraOptions

BLANK_DEVIATION = 3.0  # grey levels: codecs leave under 1 in an even picture, a sensor in the dark some 2
BLACK_BELOW, WHITE_ABOVE = 32.0, 223.0  # mean of a blank picture, 0 to 255
SELDOM_S = 3600.0  # the longest wait before a picture that stays frozen or blank is connected anew once more


@dataclass(frozen=True)
class Waiting:
    """No frame yet on this connection."""


@dataclass(frozen=True)
class Live:
    """Frames come."""


@dataclass(frozen=True)
class Stale:
    """Connected, but not to be trusted."""

    reason: str


@dataclass(frozen=True)
class Lost:
    """This connection is to be given up."""

    reason: str
    lasting: bool = False  # waiting alone does not mend it


@dataclass(frozen=True)
class Over:
    """The stream has come to its end."""

    reason: str


Verdict = Waiting | Live | Stale | Lost | Over


class Watchdog:
    """Of one camera, over all its connections: `begin` each, `hear` what comes, ask for the `verdict`.

    A picture that is frozen or blank makes the camera stale while its frames go on. Since a dark room at night looks no
    different, it is connected anew ever more seldom: after a random wait below `longest_wait_s` at first, then below twice
    that, and so on up to an hour. A connection that brings the same trouble is stale from its first frame.
    """

    def __init__(self, options: CameraOptions, random: Random | None = None) -> None:
        self._options = options
        self._renewals = Backoff(
            options.longest_wait_s,
            max(SELDOM_S, options.longest_wait_s),
            steady_s=2 * max(options.frozen_s, options.blank_s),
            random=random,
        )
        self._trouble = ""  # with the picture
        self._renew_at = 0.0  # when a picture in trouble is connected anew
        self._well_since = 0.0  # since when there is no trouble
        self._digest: int | None = None
        self._same_since = 0.0  # since when the pictures have this digest
        self._blank = ""  # black, white or grey; empty: the pictures show something
        self._blank_since = 0.0
        self.begin(0.0)

    def begin(self, now: float) -> None:
        """A connection is attempted."""
        self._begun = now
        self._first_frame: float | None = None
        self._last_frame = now
        self._end: Lost | Over | None = None
        if not self._trouble:  # what was seen before the connection was lost says nothing about the time between
            self._digest, self._blank = None, ""

    def hear(self, message: FromProcess, now: float) -> None:
        """The capture process has said something."""
        match message:
            case Captured():
                self._look_at(message, now)
            case Failed(kind, reason):
                self._end = Lost(reason, lasting=kind in LASTING)
            case Ended(reason):
                self._end = Over(reason)
            case Opened():
                pass  # only a frame proves that there is a picture

    def verdict(self, now: float) -> Verdict:
        """How the camera is now. Ask after `hear`: a frame that waits to be heard is no silence."""
        options = self._options
        if self._end is not None:
            return self._end
        if self._first_frame is None:
            if now - self._begun >= options.connect_s:
                return Lost(f"no frame came within {options.connect_s:g} s")
            return Waiting()
        silent_s = now - self._last_frame
        if silent_s >= options.silence_s:
            return Lost(f"no frame for {options.silence_s:g} s")
        if silent_s >= options.silence_s / 2:
            return Stale(f"no frame for {options.silence_s / 2:g} s")
        if self._trouble:
            return Lost(self._trouble) if now >= self._renew_at else Stale(self._trouble)
        return Live()

    def next_look_s(self, now: float) -> float:
        """Seconds until the verdict can change though nothing is heard."""
        if self._first_frame is None:
            return max(0.0, self._begun + self._options.connect_s - now)
        stale_at, lost_at = (self._last_frame + self._options.silence_s / part for part in (2, 1))
        moments = [stale_at if now < stale_at else lost_at]
        if self._trouble:
            moments.append(self._renew_at)
        return max(0.0, min(moments) - now)

    @property
    def gave_frames_s(self) -> float:
        """For how long this connection has given frames."""
        return 0.0 if self._first_frame is None else self._last_frame - self._first_frame

    def _look_at(self, captured: Captured, now: float) -> None:
        if self._first_frame is None:
            self._first_frame = now
        self._last_frame = now
        if captured.digest != self._digest:
            self._digest, self._same_since = captured.digest, now
        if (blank := _blankness(captured)) != self._blank:
            self._blank, self._blank_since = blank, now
        before, self._trouble = self._trouble, self._find_trouble(now)
        if self._trouble and (not before or self._first_frame == now):
            self._renew_at = now + self._renewals.next_wait_s()
        if not self._trouble:
            if before:
                self._well_since = now
            self._renewals.settle(now - self._well_since)

    def _find_trouble(self, now: float) -> str:
        options = self._options
        if self._blank and options.blank_s and now - self._blank_since >= options.blank_s:
            return f"the picture has been all {self._blank} for {now - self._blank_since:.0f} s"
        if options.frozen_s and now - self._same_since >= options.frozen_s:
            return f"the picture has been frozen for {now - self._same_since:.0f} s"
        return ""


def _blankness(captured: Captured) -> str:
    """Of a picture in which nothing can be seen: black, white or grey; else empty.

    A picture of one colour, as the green that some decoders give for missing data, deviates between its channels and is told by
    being frozen.
    """
    if captured.deviation >= BLANK_DEVIATION:
        return ""
    if captured.mean < BLACK_BELOW:
        return "black"
    return "white" if captured.mean > WHITE_ABOVE else "grey"
