"""The failures that both readers know, in the same words."""

from __future__ import annotations

from ..sources.uri import SourceUri
from .reader import CaptureError


def refused(uri: SourceUri) -> CaptureError:
    """Wrong user or password, or none."""
    how = (
        "its user or password is wrong"
        if uri.user
        else f"it wants a user and a password: {uri.scheme}://USER:PASSWORD@…"
    )
    return CaptureError("credentials", f"{uri.shown} refuses: {how}")


def not_found(uri: SourceUri) -> CaptureError:
    """The host is there, and what the address names on it is not."""
    return CaptureError(
        "unreachable", f"{uri.shown} is not there, says its server (404); check the path of the address"
    )


def without_video(uri: SourceUri) -> CaptureError:
    """A stream that holds none."""
    return CaptureError("no-video", f"{uri.shown} has no video stream; check the path of the address")
