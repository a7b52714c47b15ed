"""Where frames come from: a picture, a folder of pictures, a video file, a camera; one interface for all."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import SourceError
from .local_camera import Camera
from .pictures import PICTURES, Folder, Pictures
from .source import Frame, Source
from .video_file import VideoFile

__all__ = ["PICTURES", "Folder", "Frame", "Pictures", "Source", "VideoFile", "open_source"]


def open_source(source: str | os.PathLike[str] | int | Source) -> Source:
    """A source by its URI: a path (or file://) of a picture, a video or a folder, a camera's index, /dev/video0.

    Raises:
        SourceError: there is no such thing, or it cannot be read.
    """
    if isinstance(source, Source):
        return source
    if not isinstance(source, str | os.PathLike | int):
        raise SourceError(
            f"a {type(source).__name__} is no source; give a picture, a video, a folder or a camera's index"
        )
    text = str(source)
    if not text:
        raise SourceError("the source is empty; give a picture, a video, a folder or a camera's index")
    if re.fullmatch(r"[0-9]+", text) or re.fullmatch(r"/dev/video\d+", text):
        return Camera(int(re.sub(r"\D", "", text)))
    scheme = re.match(r"(\w+)://", text)
    if scheme and scheme.group(1) != "file":
        raise SourceError(
            f"{scheme.group(1)}:// sources are not known; give a picture, a video, a folder or a camera's index"
        )
    path = Path(text.removeprefix("file://"))
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist; check the path of the source")
    return Pictures([path]) if path.suffix.lower() in PICTURES else VideoFile(path)
