"""Whether a disk has room: asked before writing what cannot say so itself, and to leave some for the rest of the machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import SinkError


def need_space(folder: Path, least_bytes: int) -> None:
    """See that so many bytes are free on the folder's disk.

    Raises:
        SinkError: they are not, or the folder is gone.
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise SinkError(f"{folder} cannot be written: {error.strerror}; make the folder or give another") from None
    if free < least_bytes:
        raise SinkError(f"{folder} has {free / 1e6:.0f} MB left, and {least_bytes / 1e6:.0f} are kept free: make room")
