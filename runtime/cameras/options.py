"""How a live source is captured and watched."""

from __future__ import annotations

import math
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
        for name in ("width", "height"):
            if (size := getattr(self, name)) is not None and not _is_whole(size, least=1):
                raise InputError(f"{name} is {size!r}; give a whole number of pixels above 0")
        if self.capture_fps is not None and not (_is_number(self.capture_fps) and self.capture_fps >= 0.001):
            raise InputError(f"capture_fps is {self.capture_fps!r}; give frames per second, 0.001 or more")
        if not _is_whole(self.rotation, least=0) or self.rotation not in (0, 90, 180, 270):
            raise InputError(f"rotation is {self.rotation!r}; give 0, 90, 180 or 270")
        if self.crop is not None and not _is_region(self.crop):
            crop = ",".join(map(str, self.crop)) if isinstance(self.crop, tuple | list) else repr(self.crop)
            raise InputError(f"crop is {crop}; give x0,y0,x1,y1 with x0 < x1 and y0 < y1, in pixels")
        if not _is_whole(self.latency_ms, least=0):
            raise InputError(f"latency_ms is {self.latency_ms!r}; give a whole number of milliseconds, 0 or more")
        if self.transport not in ("tcp", "udp"):
            raise InputError(f"transport is {self.transport!r}; give tcp or udp")
        if self.reader not in ("auto", "gstreamer", "opencv"):
            raise InputError(f"reader is {self.reader!r}; give auto, gstreamer or opencv")
        for name in ("connect_s", "silence_s", "first_wait_s", "longest_wait_s"):
            if not (_is_number(seconds := getattr(self, name)) and seconds > 0):
                raise InputError(f"{name} is {seconds!r}; give seconds above 0")
        for name in ("frozen_s", "blank_s"):
            if not (_is_number(seconds := getattr(self, name)) and seconds >= 0):
                raise InputError(f"{name} is {seconds!r}; give seconds, or 0 for never")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_region(crop: object) -> bool:
    if not isinstance(crop, tuple | list) or len(crop) != 4 or not all(_is_whole(edge, least=0) for edge in crop):
        return False
    x0, y0, x1, y1 = crop
    return bool(x0 < x1 and y0 < y1)
