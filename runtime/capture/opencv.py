"""Reads a source through OpenCV, by its FFmpeg or V4L2, where there is no GStreamer."""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from ..cameras.options import CameraOptions
from ..sources.uri import SourceKind, SourceUri
from .failures import not_found, refused, without_video
from .geometry import apply_geometry
from .gst_pipelines import is_paced
from .pace import Pace
from .protocol import Ended, Opened
from .reachability import why_unreachable
from .reader import CaptureError, Picture, Reader

SAID_BYTES = 16 * 1024  # of what is printed while a source is opened: the first of it tells why it is not
NEARLY = 0.9  # of a time limit: who gave up then, gave up because of it


class OpenCvReader(Reader):
    """cv2.VideoCapture. A picture counts as captured when `read` gives it, for OpenCV tells no more.

    A stream that changes its size in mid-stream goes on in the size that it began with, to which OpenCV scales it.
    """

    name: ClassVar[str] = "opencv"

    def __init__(self, uri: SourceUri, options: CameraOptions) -> None:
        """Connect, which takes at most the options' connect_s.

        Raises CaptureError.
        """
        if not self.reads(uri):
            raise CaptureError(
                "plugin",
                f"{uri.shown} needs GStreamer, which OpenCV cannot stand in for; run: sudo apt install python3-gi"
                " gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav",
            )
        self._uri, self._options = uri, options
        self._pace = Pace() if is_paced(uri) else None
        self._waiting: Any = None
        # FFmpeg is told by the environment, where the address and its password have no place; what went wrong it prints.
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = (
            f"rtsp_transport;{options.transport}|fflags;nobuffer|flags;low_delay|max_delay;{options.latency_ms * 1000}"
        )
        os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "24"  # errors and warnings; "401 Unauthorized" is one
        began = time.monotonic()
        with _printed() as said:
            self._capture = self._open()
            opened = self._capture.isOpened()
            if opened:
                read, self._waiting = self._capture.read()
        if not opened or not read:
            self._capture.release()
            raise self._failure("\n".join(said), time.monotonic() - began)
        self._opened_as: Opened | None = self._opened()

    @staticmethod
    def reads(uri: SourceUri) -> bool:
        """Whether OpenCV can read this kind of source at all."""
        return uri.kind in (SourceKind.RTSP, SourceKind.HTTP, SourceKind.DEVICE)

    def read(self) -> Opened | Picture | Ended | None:
        if self._opened_as is not None:
            opened, self._opened_as = self._opened_as, None
            return opened
        if self._waiting is not None:
            image, self._waiting = self._waiting, None
        else:
            asked = time.monotonic()
            read, image = self._capture.read()
            if not read and time.monotonic() - asked >= self._options.silence_s * NEARLY:
                raise CaptureError(
                    "unreachable", f"{self._uri.shown} has sent nothing for {self._options.silence_s:g} s"
                )
            if not read:
                return Ended()
        if self._pace:
            self._pace.wait_until(self._position_s())
        return Picture(self._shaped(image))

    def close(self) -> None:
        self._capture.release()

    def _open(self) -> Any:
        from ..sources.opencv import cv2

        options, uri = self._options, self._uri
        if uri.kind == SourceKind.DEVICE:
            capture = cv2.VideoCapture(uri.path, cv2.CAP_V4L2)
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # an old frame is worth less than none
            wanted = (
                (cv2.CAP_PROP_FRAME_WIDTH, options.width),
                (cv2.CAP_PROP_FRAME_HEIGHT, options.height),
                (cv2.CAP_PROP_FPS, options.capture_fps),
            )
            for key, value in wanted:
                if value:
                    capture.set(key, value)
            return capture
        limits = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(options.connect_s * 1e3)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(options.silence_s * 1e3)),
        ]
        return cv2.VideoCapture(uri.text, cv2.CAP_FFMPEG, limits)

    def _opened(self) -> Opened:
        from ..sources.opencv import cv2

        shape = self._shaped(self._waiting).shape
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        letters = code.to_bytes(4, "little", signed=code < 0).decode("ascii", "replace").strip("\0 ")
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        return Opened(
            width=shape[1],
            height=shape[0],
            fps=fps if 0 < fps <= 1000 else 0.0,
            reader=self.name,
            format={"h264": "H264", "avc1": "H264", "hevc": "H265", "MJPG": "JPEG"}.get(letters, letters.upper()),
        )

    def _position_s(self) -> float:
        from ..sources.opencv import cv2

        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3

    def _shaped(self, image: Any) -> Any:
        scale = self._uri.kind != SourceKind.DEVICE
        return apply_geometry(np.asarray(image, np.uint8), self._options, scale=scale)

    def _failure(self, said: str, took_s: float) -> CaptureError:
        """By what FFmpeg or V4L2 wrote while it opened the source, and how long that took."""
        uri = self._uri
        if re.search(r"\b40[13]\b", said):
            return refused(uri)
        if uri.kind == SourceKind.DEVICE:
            return CaptureError(
                "device",
                f"{uri.shown} cannot be opened; is it plugged in, yours to read, and not in use by another program?",
            )
        if re.search(r"\b404\b", said):
            return not_found(uri)
        if reason := why_unreachable(uri):
            return CaptureError("unreachable", reason)
        if "ecoder" in said and "not found" in said:
            return CaptureError(
                "codec", f"{uri.shown} is coded in a way that OpenCV's FFmpeg has no decoder for; use GStreamer"
            )
        if took_s >= self._options.connect_s * NEARLY:
            return CaptureError("unreachable", f"{uri.shown} gave no picture in {self._options.connect_s:g} s")
        return without_video(uri)


@contextmanager
def _printed() -> Iterator[list[str]]:
    """What libraries print to standard output and error meanwhile: one text, at the end."""
    said: list[str] = []
    kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    with tempfile.TemporaryFile() as file:
        for descriptor in kept:
            os.dup2(file.fileno(), descriptor)
        try:
            yield said
        finally:
            ctypes.CDLL(None).fflush(None)  # C's own buffers
            for descriptor, copy in kept.items():
                os.dup2(copy, descriptor)
                os.close(copy)
            file.seek(0)
            said.append(file.read(SAID_BYTES).decode(errors="replace"))
