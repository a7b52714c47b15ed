"""What a capture process and its parent say to each other: msgpack over a SOCK_SEQPACKET pair, pixels in shared memory.

The parent makes the memory (a memfd) of BUFFERS places of BUFFER_BYTES each; only pages that are written exist. The process writes
a frame into a place that is free and says `Captured`; the place is the parent's until it says `Release`. Where no place is free the
process drops the frame and counts it, so a parent that is busy holds up nobody.
"""

from __future__ import annotations

from typing import Literal

import msgspec

BUFFERS = 3
BUFFER_BYTES = 7680 * 4320 * 3 + 4096 - (7680 * 4320 * 3) % 4096  # a BGR frame of 8K, in whole pages

Failure = Literal["credentials", "unreachable", "no-video", "codec", "plugin", "decode", "device", "region", "other"]
LASTING: frozenset[str] = frozenset(
    {"credentials", "no-video", "codec", "plugin", "region"}
)  # waiting alone mends none of these


class Open(msgspec.Struct, tag=True, frozen=True):
    """Parent's first word: what to capture. The address travels here and not on the command line, which others can read."""

    uri: str
    options: dict[str, object]  # of CameraOptions
    loop: bool = False  # a file begins again at its end
    factory: str = ""  # of a registered source: "module:function"


class Release(msgspec.Struct, tag=True, frozen=True):
    """Parent: a place is free again."""

    place: int


class Opened(msgspec.Struct, tag=True, frozen=True):
    """Process: connected; frames follow. Said again when size or format change in mid-stream."""

    width: int
    height: int
    fps: float  # as the stream says; 0: it does not
    reader: str  # gstreamer, opencv, or paced: a file or a registered source
    format: str = ""  # the stream's own: "H264", "JPEG"


class Captured(msgspec.Struct, tag=True, frozen=True):
    """Process: a frame lies in `place`, [height, width, 3] uint8 BGR, rows without gaps."""

    place: int
    number: int  # from 0; frames that were dropped for want of a place are counted too
    width: int
    height: int
    captured_at: float  # seconds since 1970, by the stream's own clock where it has one
    captured_monotonic: float  # the same moment by time.monotonic(), which all processes of a machine share
    digest: int  # of the pixels: equal for equal pictures
    mean: float  # of a sample of pixels and channels, 0 to 255
    deviation: float  # the standard deviation of the sample


class Failed(msgspec.Struct, tag=True, frozen=True):
    """Process: it cannot go on, and ends."""

    kind: Failure
    reason: str  # a sentence with the mend, without the password


class Ended(msgspec.Struct, tag=True, frozen=True):
    """Process: the stream has come to its end, and so does the process."""

    reason: str = "the stream ended"


FromParent = Open | Release
FromProcess = Opened | Captured | Failed | Ended
