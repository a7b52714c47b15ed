"""How the whole is: cameras, sinks and the loop that answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..cameras.status import CameraStatus
from ..sinks.sink import SinkStatus


@dataclass(frozen=True)
class WatchStatus:
    """A snapshot for `--status`, the terminal view, /metrics, /healthz and /readyz."""

    started_at: float  # seconds since 1970
    cameras: tuple[CameraStatus, ...]
    sinks: tuple[SinkStatus, ...]
    answered: int  # frames, of all cameras
    tokens: int  # of all answers
    busy_s: float  # how long the current batch has been at work; 0: waiting for frames
    loop_alive: bool  # the answering thread runs

    def to_dict(self) -> dict[str, Any]:
        """Of plain types."""
        from dataclasses import asdict

        return {
            **asdict(self),
            "cameras": [camera.to_dict() for camera in self.cameras],
            "sinks": [asdict(sink) for sink in self.sinks],
        }
