"""GStreamer's launch description for a source: by its kind, the options, and the elements that this machine has. Pure text.

Addresses, users and passwords are no part of it: the element named `source` is given them as properties, so that no message about
the description can tell them. The picture arrives at an appsink named `frames`, which holds one and drops older ones.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..cameras.options import CameraOptions
from ..sources.uri import SourceKind, SourceUri

# Of HTTP: what is downloaded ahead of its time, and played at its own rate.
PACED_SUFFIXES = (".m3u8", ".m3u", ".mpd", ".mp4", ".mkv", ".webm", ".mov", ".avi", ".ts")

_TO_BGR = "videoconvert ! video/x-raw,format=BGR ! appsink name=frames max-buffers=1 drop=true"
# Between the decoder, which must see every frame, and the conversion, which need not.
_NEWEST = "queue max-size-buffers=1 max-size-bytes=0 max-size-time=0 leaky=downstream"

# Debian's and Ubuntu's package of every element that is named here; L4T's are NVIDIA's own.
PACKAGES = {
    "appsink": "gstreamer1.0-plugins-base",
    "decodebin": "gstreamer1.0-plugins-base",
    "uridecodebin": "gstreamer1.0-plugins-base",
    "videoconvert": "gstreamer1.0-plugins-base",
    "rtspsrc": "gstreamer1.0-plugins-good",
    "rtpjitterbuffer": "gstreamer1.0-plugins-good",
    "udpsrc": "gstreamer1.0-plugins-good",
    "souphttpsrc": "gstreamer1.0-plugins-good",
    "v4l2src": "gstreamer1.0-plugins-good",
    "nvarguscamerasrc": "nvidia-l4t-gstreamer",
    "nvvidconv": "nvidia-l4t-gstreamer",
}


@dataclass(frozen=True)
class GstPipeline:
    """What to launch, and what is left to do to its pictures."""

    description: str
    elements: tuple[str, ...]  # that it cannot do without, beside the core's
    paced: bool = False  # not live: its pictures have times at which they are due
    converted: bool = False  # region, rotation and scale are done on the way; `convert` is the element that does it


def gst_pipeline(uri: SourceUri, options: CameraOptions, elements: Set[str]) -> GstPipeline:
    """The pipeline for a source. elements: the names of those that this machine has."""
    nvidia = "nvvidconv" in elements
    kind = uri.kind
    if kind == SourceKind.PIPELINE:
        return GstPipeline(f"{uri.address} ! {_TO_BGR}", ("appsink", "videoconvert"), paced=True)
    if kind == SourceKind.CSI:
        asked = f"video/x-raw(memory:NVMM),format=NV12{_asked(options)}"
        return GstPipeline(
            f"nvarguscamerasrc name=source sensor-id={uri.path} ! {asked} ! {_nvidia(options, scale=False)}",
            ("nvarguscamerasrc", "nvvidconv", "appsink", "videoconvert"),
            converted=True,
        )
    if kind == SourceKind.DEVICE:
        asked = _asked(options)
        head = f"v4l2src name=source ! video/x-raw{asked};image/jpeg{asked} ! decodebin name=decode"
        needed: tuple[str, ...] = ("v4l2src", "decodebin")
    elif kind == SourceKind.RTSP:
        head = (
            f"rtspsrc name=source latency={options.latency_ms} protocols={options.transport} drop-on-latency=true"
            f" tcp-timeout={_microseconds(options.connect_s)} timeout={_microseconds(options.silence_s)}"
            " ! application/x-rtp,media=video ! decodebin name=decode"
        )
        needed = ("rtspsrc", "rtpjitterbuffer", "decodebin")
    elif kind == SourceKind.RTP:
        head = (
            "udpsrc name=source"
            f' caps="application/x-rtp,media=video,clock-rate=90000,encoding-name={uri.encoding}"'
            f" ! rtpjitterbuffer latency={options.latency_ms} drop-on-latency=true ! decodebin name=decode"
        )
        needed = ("udpsrc", "rtpjitterbuffer", "decodebin")
    elif is_paced(uri):
        head, needed = 'uridecodebin name=source caps="video/x-raw(ANY)"', ("uridecodebin", "souphttpsrc")
    else:
        head = (
            f"souphttpsrc name=source is-live=true do-timestamp=true timeout={max(1, round(options.connect_s))} retries=0"
            ' ! decodebin name=decode caps="video/x-raw(ANY)"'
        )
        needed = ("souphttpsrc", "decodebin")
    scale = kind != SourceKind.DEVICE
    tail = _nvidia(options, scale=scale) if nvidia else _TO_BGR
    if not is_paced(uri):
        tail = f"{_NEWEST} ! {tail}"
    return GstPipeline(f"{head} ! {tail}", (*needed, "appsink", "videoconvert"), paced=is_paced(uri), converted=nvidia)


def is_paced(uri: SourceUri) -> bool:
    """Whether it is downloaded ahead of its time, as HLS is, and not sent as it happens."""
    return uri.kind == SourceKind.HTTP and urlsplit(uri.address).path.lower().endswith(PACED_SUFFIXES)


def _asked(options: CameraOptions) -> str:
    """What the camera is asked for, as caps fields."""
    asked = f",width={options.width}" if options.width else ""
    asked += f",height={options.height}" if options.height else ""
    if options.capture_fps:
        asked += f",framerate={round(options.capture_fps * 1000)}/1000"
    return asked


def _nvidia(options: CameraOptions, *, scale: bool) -> str:
    """From NVMM, where decoder and camera leave a picture, to BGR: region, rotation and scale by the video engine.

    The last step, BGRx to BGR, is the CPU's, for the engine writes no packed 24-bit format.
    """
    region = ""
    if options.crop:
        x0, y0, x1, y1 = options.crop
        region = f" left={x0} right={x1} top={y0} bottom={y1}"
    flip = {0: "", 90: " flip-method=3", 180: " flip-method=2", 270: " flip-method=1"}[options.rotation]
    size = ""
    if scale:
        size = f",width={options.width}" if options.width else ""
        size += f",height={options.height}" if options.height else ""
    return f"nvvidconv name=convert{region}{flip} ! video/x-raw,format=BGRx{size} ! {_TO_BGR}"


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
