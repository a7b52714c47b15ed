"""What GStreamer's errors mean for a source: its domains and codes, and the words of its elements, as kinds of failure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..sources.uri import SourceKind, SourceUri, redact
from .failures import not_found, refused, without_video
from .gst_pipelines import PACKAGES
from .reachability import why_unreachable
from .reader import CaptureError

ALL_PACKAGES = "gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav"


@dataclass(frozen=True)
class GstError:
    """An error message of the pipeline's bus."""

    domain: str  # "gst-resource-error-quark"
    code: int  # gst/gsterror.h has them by name
    message: str
    detail: str = ""  # by the element, with file and line


# (domain, code): gst/gsterror.h
_NOT_FOUND = ("gst-resource-error-quark", 3)
_BUSY = ("gst-resource-error-quark", 4)
_OPEN = tuple(("gst-resource-error-quark", code) for code in (5, 6, 7))
_READ = tuple(("gst-resource-error-quark", code) for code in (9, 10, 11))
_NOT_AUTHORIZED = ("gst-resource-error-quark", 15)
_CODEC = (("gst-stream-error-quark", 6), ("gst-core-error-quark", 12))
_TYPE = (("gst-stream-error-quark", 4), ("gst-stream-error-quark", 5))
_DECODE = tuple(("gst-stream-error-quark", code) for code in (7, 9, 11))


def failure_of(error: GstError, uri: SourceUri, *, missing: Sequence[str] = (), has_video: bool = True) -> CaptureError:
    """What went wrong, with the mend.

    missing: what GStreamer said it has no plug-in for. has_video: false where the stream told what it holds, and that is none.
    """
    what = (error.domain, error.code)
    where = uri.shown
    words = redact(" ".join(f"{error.message} {_without_place(error.detail)}".split()))
    if what == _NOT_AUTHORIZED or re.search(r"\b40[13]\b|unauthori[sz]ed|forbidden", words, re.I):
        return refused(uri)
    if not has_video:
        return without_video(uri)
    if any(kind.startswith("text/") for kind in missing):  # a page that says so, instead of a stream
        return without_video(uri)
    if missing:
        return without_codec(uri, missing)
    if what in _CODEC:
        return CaptureError(
            "codec",
            f"{where} is coded in a way that GStreamer has no decoder for here; run: sudo apt install {ALL_PACKAGES}",
        )
    if uri.kind == SourceKind.DEVICE:
        return _device_failure(what, uri, words)
    if uri.kind == SourceKind.CSI:
        return CaptureError(
            "device",
            f"{where} gives no pictures ({words}); is the camera's ribbon seated, its device tree overlay chosen"
            " (sudo /opt/nvidia/jetson-io/jetson-io.py), and nvargus-daemon up (sudo systemctl restart nvargus-daemon)?",
        )
    if what == _NOT_FOUND and "resolve" not in words:
        return not_found(uri)
    if what in _OPEN or "resolve" in words:
        return CaptureError("unreachable", why_unreachable(uri) or f"{where} cannot be opened: {words}")
    if "any UDP packets" in words:
        return CaptureError(
            "unreachable",
            f"{where} sends nothing by UDP, or a firewall keeps it; try TCP (transport = tcp), which is the default",
        )
    if what in _READ:
        return CaptureError("unreachable", f"{where} was lost: {words}")
    if what in _TYPE or "not-linked" in words:
        return without_video(uri)
    if what in _DECODE:
        return CaptureError("decode", f"{where} cannot be decoded: {words}")
    return CaptureError("other", f"{where} failed: {words}")


def without_codec(uri: SourceUri, missing: Sequence[str]) -> CaptureError:
    """missing: as GStreamer words it: "H.265 (Main Profile) decoder"."""
    return CaptureError(
        "codec",
        f"{uri.shown} needs what GStreamer lacks here: {', '.join(missing)}; run: sudo apt install {ALL_PACKAGES}",
    )


def without_elements(uri: SourceUri, missing: Sequence[str]) -> CaptureError:
    """missing: names of elements that this machine does not have."""
    packages = " ".join(sorted({PACKAGES.get(name, ALL_PACKAGES) for name in missing}))
    return CaptureError(
        "plugin",
        f"{uri.shown} needs GStreamer's {', '.join(missing)}, which is not installed; run: sudo apt install {packages}",
    )


def _device_failure(what: tuple[str, int], uri: SourceUri, words: str) -> CaptureError:
    if what == _BUSY or "busy" in words.lower():
        reason = f"{uri.shown} is in use by another program; close that (fuser {uri.path} names it)"
    elif what == _NOT_FOUND or "no such" in words.lower() or "cannot identify" in words.lower():
        reason = f"{uri.shown} is not there; is it plugged in? `palijet cameras` lists what is"
    elif "permission" in words.lower():
        reason = f"{uri.shown} is not yours to read; run: sudo usermod -aG video $USER, and log in again"
    elif "not-negotiated" in words:
        reason = f"{uri.shown} does not have the size or rate that it is asked for; `palijet cameras` lists its modes"
    else:
        reason = f"{uri.shown} gives no pictures: {words}"
    return CaptureError("device", reason)


def _without_place(detail: str) -> str:
    """An element's detail without the line that says where in GStreamer's source, and in which element, it arose."""
    return "\n".join(line for line in detail.splitlines() if not re.search(r"\.[cy](pp)?\(\d+\)", line))
