"""The names of files that are made of a camera and a moment: door-20261125T084200.250Z."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_UNSAFE = re.compile(r"[^\w.-]+")


def file_name(name: str) -> str:
    """A name with what files, topics and addresses give a meaning to replaced by _: "rtsp://door/1" is "rtsp_door_1"."""
    return _UNSAFE.sub("_", name).strip("._") or "_"


def moment(at: float) -> str:
    """Seconds since 1970 as UTC, to the millisecond; later moments sort behind earlier ones."""
    when = datetime.fromtimestamp(at, timezone.utc)
    return f"{when:%Y%m%dT%H%M%S}.{when.microsecond // 1000:03d}Z"
