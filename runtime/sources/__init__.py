"""Where frames come from: a picture, a folder of pictures, a video file, a camera; one interface for all."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..cameras.options import CameraOptions
from ..errors import SourceError
from .pictures import PICTURES, Folder, Pictures
from .source import Frame, Source
from .uri import MEND, SourceKind, SourceUri, parse_uri, redact, register
from .video_file import VideoFile
from .watched_folder import WatchedFolder

__all__ = [
    "PICTURES",
    "Folder",
    "Frame",
    "Pictures",
    "Source",
    "SourceKind",
    "SourceUri",
    "VideoFile",
    "WatchedFolder",
    "open_source",
    "parse_uri",
    "redact",
    "register",
]


def open_source(
    source: str | os.PathLike[str] | int | SourceUri | Source,
    options: CameraOptions | None = None,
    *,
    name: str | None = None,
    realtime: bool = False,
    loop: bool = False,
) -> Source:
    """A source by its address.

    A path (or file://) of a picture, a video or a folder gives every frame, and dir://PATH?watch=1 the new pictures of a folder. A
    camera's index, /dev/video0, csi://0, rtsp://, rtp://, http://, gst:// and what was registered are live: `cameras.Camera`, which
    takes the options and the name.
    realtime: play a file or a folder's pictures as if by a camera; a watched folder is live already. loop: and at its end from the
    beginning.
    Raises:
        SourceError: there is no such thing, or it cannot be read. A camera that is off is no error but a state.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, bool) or not isinstance(source, str | os.PathLike | int | SourceUri):
        raise SourceError(f"a {type(source).__name__} is no source; {MEND}")
    uri = source if isinstance(source, SourceUri) else parse_uri(str(source))
    if uri.kind in (SourceKind.PATH, SourceKind.FOLDER):
        opened = _open_path(uri)
        if uri.watch or not realtime:
            return opened
        opened.close()  # what is no file is an error at once, and not a camera that is off
    from ..cameras.camera import Camera

    return Camera(replace(uri, loop=loop), options or CameraOptions(), name)


def _open_path(uri: SourceUri) -> Source:
    path = Path(uri.path)
    if uri.watch:
        return WatchedFolder(path)
    if path.is_dir():
        return Folder(path)
    if uri.kind == SourceKind.FOLDER:
        raise SourceError(f"{uri.shown} is no folder; check its path")
    try:
        there = path.exists()
    except OSError as error:  # a name that is too long, say
        raise SourceError(f"{uri.shown} cannot be opened: {error.strerror}") from None
    if not there:
        raise SourceError(f"{uri.shown} does not exist; check the path of the source")
    return Pictures([path]) if path.suffix.lower() in PICTURES else VideoFile(path)
