"""How a live source is captured and watched."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class CameraOptions:
    """Of one camera. Sizes in pixels, durations in seconds unless they end in _ms."""

    width: int | None = None  # wanted of the device or scaled to; None: as it comes
    height: int | None = None
    capture_fps: float | None = None  # wanted of the device; None: as it comes
    rotation: int = 0  # clockwise: 0, 90, 180 or 270 degrees
    crop: tuple[int, int, int, int] | None = None  # x0, y0, x1, y1 of the region of interest, before rotation
    latency_ms: int = 100  # of a network stream's jitter buffer
    transport: str = "tcp"  # of RTSP: tcp or udp
    reader: str = "auto"  # what captures: gstreamer or opencv; auto: GStreamer where it is there
    connect_s: float = 10.0  # a connection that gives no frame in this time has failed
    silence_s: float = 5.0  # no frame for so long: connected anew; stale after half of it
    frozen_s: float = 60.0  # the same bytes for so long: stale, and connected anew; 0: never
    blank_s: float = 60.0  # all black or all grey for so long: stale, and connected anew; 0: never
    first_wait_s: float = 0.25  # before the first new attempt; it doubles
    longest_wait_s: float = 30.0  # between attempts

    def __post_init__(self) -> None:
        if self.rotation not in (0, 90, 180, 270):
            raise InputError(f"rotation is {self.rotation}; give 0, 90, 180 or 270")
        if self.transport not in ("tcp", "udp"):
            raise InputError(f"transport is {self.transport!r}; give tcp or udp")
        if self.reader not in ("auto", "gstreamer", "opencv"):
            raise InputError(f"reader is {self.reader!r}; give auto, gstreamer or opencv")
        if self.crop is not None:
            x0, y0, x1, y1 = self.crop
            if not (0 <= x0 < x1 and 0 <= y0 < y1):
                raise InputError(f"crop is {x0},{y0},{x1},{y1}; give x0,y0,x1,y1 with x0 < x1 and y0 < y1, in pixels")
        for name in ("connect_s", "silence_s", "first_wait_s", "longest_wait_s"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; give seconds above 0")
