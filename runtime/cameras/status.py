"""How a camera is: its state, since when and why, and what it has given so far."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class CameraState(str, Enum):
    """What a camera is doing."""

    CONNECTING = "connecting"  # for the first time
    LIVE = "live"  # frames come
    STALE = "stale"  # connected, but frames have stopped, are frozen, or are blank
    RECONNECTING = "reconnecting"  # it was lost; attempts go on
    FAILED = "failed"  # for a reason that waiting does not mend, as a wrong password; tried again, seldom
    ENDED = "ended"  # a source that has an end has come to it, or was closed

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class CameraStatus:
    """A camera at one moment. Times are seconds since 1970."""

    name: str
    source: str  # its address without its password
    state: CameraState
    since: float  # when it came into this state
    reason: str = ""  # why, where it is not live
    frames: int = 0  # captured since the start
    dropped: int = 0  # of them, passed over because a newer one came first
    too_old: int = 0  # of them, older than `max_staleness` when their turn came
    answered: int = 0
    repeated: int = 0  # of them, by the last answer, for nothing had changed
    reconnects: int = 0
    size: tuple[int, int] | None = None  # width and height of the last frame, pixels
    fps: float = 0.0  # frames per second that came in the last seconds
    last_frame_at: float | None = None
    last_frame_age_s: float | None = None  # at that moment, whatever the wall clock did meanwhile
    last_answer_at: float | None = None
    reader: str = ""  # gstreamer or opencv

    def to_dict(self) -> dict[str, Any]:
        """Of plain types."""
        return {**asdict(self), "state": str(self.state)}


@dataclass(frozen=True)
class StateChange:
    """A camera went from one state to another."""

    camera: str
    at: float  # seconds since 1970
    before: CameraState
    after: CameraState
    reason: str
    lasted_s: float  # how long it had been in the state before

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"{self.camera} is {self.after}{why} (was {self.before} for {self.lasted_s:.1f} s)"
