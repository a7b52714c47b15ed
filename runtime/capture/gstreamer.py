"""Reads a source through GStreamer (PyGObject): its own plug-ins for a Jetson's camera and decoder, decodebin elsewhere."""

from __future__ import annotations

import importlib
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..cameras.options import CameraOptions
from ..sources.uri import SourceKind, SourceUri, redact
from .geometry import apply_geometry, check_region
from .gst_errors import GstError, failure_of, without_elements
from .gst_pipelines import PACKAGES, GstPipeline, gst_pipeline
from .protocol import Ended, Opened
from .reader import CaptureError, Picture, Reader

DEBIAN_PACKAGES = Path("/usr/lib/python3/dist-packages")
LOOKED_S = 0.1  # for a picture, before the bus is looked at again
SANE_S = 2.0  # a sender's clock that differs more from ours is not believed
NTP_1970_S = 2_208_988_800  # seconds from 1900, where NTP begins, to 1970
FORMATS = {"video/x-h264": "H264", "video/x-h265": "H265", "image/jpeg": "JPEG", "video/mpeg": "MPEG"}


class GStreamerReader(Reader):
    """A pipeline that plays, and the pictures that fall out of it.

    When a picture was captured is told from its buffer's time on the pipeline's clock: for a device when the driver had it, for a
    network stream when its packets arrived, so that jitter buffer and decoder count as age. Where an RTSP camera reports its own
    clock (RTCP sender reports) and that is at most SANE_S behind ours and not ahead, its word is taken, and the way through the
    network counts too. HLS, which says neither, counts from when a picture is due.
    """

    name: ClassVar[str] = "gstreamer"

    def __init__(self, uri: SourceUri, options: CameraOptions) -> None:
        """Launch; whether it connects is seen by `read`.

        Raises:
            CaptureError: a plug-in is missing, or a pipeline of the user's is none.
        """
        self._gst = gst = load_gstreamer()
        self._uri, self._options = uri, options
        self._plan = gst_pipeline(uri, options, _elements_here())
        lacking = [name for name in self._plan.elements if gst.ElementFactory.find(name) is None]
        if lacking:
            raise without_elements(uri, lacking)
        self._pipeline = _launch(gst, self._plan, uri)
        self._frames = self._pipeline.get_by_name("frames")
        self._frames.set_property("sync", self._plan.paced)
        self._bus = self._pipeline.get_bus()
        self._caps = ""  # of the last picture
        self._waiting: Any = None  # the sample that came with new caps
        self._missing: list[str] = []
        self._streams: list[str] = []  # what an RTSP server offers: "video", "audio"
        self._pipeline.connect("deep-element-added", _tune)
        _configure(self._pipeline, uri, self._select)
        self._pipeline.set_state(gst.State.PLAYING)

    def read(self) -> Opened | Picture | Ended | None:
        if self._has_ended():
            return Ended()
        sample = self._waiting or self._frames.try_pull_sample(int(LOOKED_S * self._gst.SECOND))
        if sample is None:
            return None
        caps = sample.get_caps().to_string()
        if caps != self._caps:
            self._caps, self._waiting = caps, sample
            return self._opened(sample)
        self._waiting = None
        return self._picture(sample)

    def close(self) -> None:
        self._pipeline.set_state(self._gst.State.NULL)

    def _has_ended(self) -> bool:
        """Look at what the pipeline says; its errors are raised."""
        gst = self._gst
        wanted = gst.MessageType.ERROR | gst.MessageType.EOS | gst.MessageType.ELEMENT
        while (message := self._bus.pop_filtered(wanted)) is not None:
            if message.type == gst.MessageType.EOS:
                return True
            if message.type == gst.MessageType.ERROR:
                error, detail = message.parse_error()
                raise failure_of(
                    GstError(error.domain, error.code, error.message, detail or ""),
                    self._uri,
                    missing=self._missing,
                    has_video="video" in self._streams or not self._streams,
                )
            structure = message.get_structure()
            if structure is not None and structure.get_name() == "missing-plugin":
                self._missing.append(structure.get_string("name") or structure.get_string("type"))
        return False

    def _select(self, _source: Any, _number: int, caps: Any) -> bool:
        """Whether an RTSP stream is to be sent: the first video stream, and no other."""
        media = caps.get_structure(0).get_string("media") or ""
        self._streams.append(media)
        return media == "video" and self._streams.count("video") == 1

    def _opened(self, sample: Any) -> Opened:
        caps = sample.get_caps().get_structure(0)
        if self._plan.converted:
            before = self._pipeline.get_by_name("convert").get_static_pad("sink").get_current_caps().get_structure(0)
            check_region(self._options, before.get_value("width"), before.get_value("height"))
        if self._uri.kind == SourceKind.PIPELINE and self._is_live():
            self._frames.set_property("sync", False)
        picture = self._picture(sample)
        known, over, under = caps.get_fraction("framerate")
        return Opened(
            width=picture.image.shape[1],
            height=picture.image.shape[0],
            fps=over / under if known and under else 0.0,
            reader=self.name,
            format=self._format(),
        )

    def _is_live(self) -> bool:
        """Asked above the appsink, which calls itself live where it waits for the clock."""
        latency = self._gst.Query.new_latency()
        return bool(self._frames.get_static_pad("sink").peer_query(latency) and latency.parse_latency()[0])

    def _format(self) -> str:
        """The stream's own, by what the decoder is given."""
        found: list[str] = []

        def look(element: Any) -> None:
            factory = element.get_factory()
            kind = factory.get_metadata("klass") if factory else ""
            pad = element.get_static_pad("sink")
            if (
                "Decoder" in kind
                and ("Video" in kind or "Image" in kind)
                and pad is not None
                and pad.get_current_caps()
            ):
                found.append(pad.get_current_caps().get_structure(0).get_name())

        self._pipeline.iterate_recurse().foreach(look)
        return FORMATS.get(found[0], found[0].rpartition("/")[2].removeprefix("x-").upper()) if found else ""

    def _picture(self, sample: Any) -> Picture:
        gst = self._gst
        caps, buffer = sample.get_caps().get_structure(0), sample.get_buffer()
        width, height = caps.get_value("width"), caps.get_value("height")
        mapped, memory = buffer.map(gst.MapFlags.READ)
        if not mapped:
            raise CaptureError("other", f"{self._uri.shown}: GStreamer has no memory left for a picture")
        data = np.frombuffer(memory.data, np.uint8)  # PyGObject has copied it
        buffer.unmap(memory)
        # Rows end at multiples of 4 bytes.
        image = data.reshape(height, -1)[:, : width * 3].reshape(height, width, 3)
        if not self._plan.converted:
            image = apply_geometry(image, self._options, scale=self._uri.kind != SourceKind.DEVICE)
        now, now_monotonic = time.time(), time.monotonic()
        age_s = self._age_s(sample, buffer, now)
        return Picture(image, now - age_s, now_monotonic - age_s)

    def _age_s(self, sample: Any, buffer: Any, now: float) -> float:
        """Seconds since it was captured, as far as the stream tells; 0: it does not."""
        gst, clock = self._gst, self._pipeline.get_clock()
        if clock is None or buffer.pts == gst.CLOCK_TIME_NONE:
            return 0.0
        running = sample.get_segment().to_running_time(gst.Format.TIME, buffer.pts)
        if running == gst.CLOCK_TIME_NONE:
            return 0.0
        # The jitter buffer smooths arrivals, so a buffer may be some milliseconds early.
        age_s = max(0.0, (clock.get_time() - self._pipeline.get_base_time() - running) / gst.SECOND)
        # GStreamer before 1.22 has no such property, and nothing comes.
        reference = buffer.get_reference_timestamp_meta(None)
        if reference is not None and reference.reference.get_structure(0).get_name() == "timestamp/x-ntp":
            sent_s = now - (reference.timestamp / gst.SECOND - NTP_1970_S)
            if age_s <= sent_s <= age_s + SANE_S:
                return sent_s
        return age_s


@cache
def load_gstreamer() -> Any:
    """The module gi.repository.Gst, ready for use.

    Debian, Ubuntu and so JetPack have PyGObject for the system's own Python, and a virtual environment hides it; where it was built
    for this very version of Python, it is taken from there.
    Raises CaptureError where it is not to be had.
    """
    try:
        gi = _import_gi()
        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        gst = importlib.import_module("gi.repository.Gst")
        importlib.import_module("gi.repository.GstApp")  # gives appsink its methods
    except (ImportError, ValueError) as error:
        raise CaptureError(
            "plugin",
            f"GStreamer is not there for Python {sys.version_info.major}.{sys.version_info.minor} ({error}); run:"
            " sudo apt install python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-good",
        ) from None
    gst.init(None)
    return gst


def _import_gi() -> Any:
    try:
        return importlib.import_module("gi")
    except ImportError:
        here = f"_gi.cpython-{sys.version_info.major}{sys.version_info.minor}-*.so"
        if not any((DEBIAN_PACKAGES / "gi").glob(here)):
            raise
    sys.path.append(str(DEBIAN_PACKAGES))
    try:
        return importlib.import_module("gi")
    finally:
        sys.path.remove(str(DEBIAN_PACKAGES))  # the rest of what lies there is not this environment's


def _elements_here() -> frozenset[str]:
    gst = load_gstreamer()
    return frozenset(name for name in PACKAGES if gst.ElementFactory.find(name) is not None)


def _launch(gst: Any, plan: GstPipeline, uri: SourceUri) -> Any:
    try:
        return gst.parse_launch(plan.description)
    except importlib.import_module("gi.repository.GLib").Error as error:
        raise CaptureError(
            "plugin" if "no element" in error.message else "other",
            f"{uri.shown} is no pipeline that GStreamer can play: {redact(error.message)}",
        ) from None


def _configure(pipeline: Any, uri: SourceUri, select: Any) -> None:
    """Give the source its address and what only some versions of GStreamer know."""
    source = pipeline.get_by_name("source")
    if source is None or uri.kind == SourceKind.PIPELINE:
        return
    if uri.kind == SourceKind.DEVICE:
        source.set_property("device", uri.path)
    elif uri.kind == SourceKind.RTP:
        source.set_property("address", uri.host)
        source.set_property("port", uri.port)
    elif uri.kind == SourceKind.RTSP:
        source.set_property("location", uri.address)
        source.connect("select-stream", select)
        if source.find_property("add-reference-timestamp-meta"):
            source.set_property("add-reference-timestamp-meta", True)
    elif uri.kind == SourceKind.HTTP:
        if source.find_property("uri"):  # uridecodebin, which makes its own
            source.set_property("uri", uri.address)
            source.connect("source-setup", lambda _, inner: _log_in(inner, uri))
        else:
            source.set_property("location", uri.address)
    _log_in(source, uri)


def _tune(_pipeline: Any, _bin: Any, element: Any) -> None:
    """What decodebin has chosen by itself."""
    factory = element.get_factory()
    name = factory.get_name() if factory else ""
    if name == "multipartdemux":
        element.set_property("single-stream", True)  # or decodebin waits for more, for seconds
    elif name == "nvv4l2decoder" and element.find_property("disable-dpb"):
        element.set_property("disable-dpb", True)  # a camera sends no frame before one that it refers to
    if element.find_property("wait-for-keyframe"):  # of RTP's depayloaders, also after packets were lost
        element.set_property("wait-for-keyframe", True)
    if element.find_property("output-corrupt"):  # of libav's decoders, which show grey until the first key frame comes
        element.set_property("output-corrupt", False)
    if element.find_property("discard-corrupted-frames"):
        element.set_property("discard-corrupted-frames", True)


def _log_in(source: Any, uri: SourceUri) -> None:
    if uri.user and source.find_property("user-id"):
        source.set_property("user-id", uri.user)
        source.set_property("user-pw", uri.password)
