"""The demo's clip as a camera: synthetic://, or synthetic://?seed=3&width=640&height=480 for another belt or size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from ..runtime.errors import SourceError
from ..runtime.sources import Frame, Source
from .clip import Clip, views

_SETTINGS = ("seed", "frames", "width", "height", "fps")


class SyntheticCamera(Source):
    """Draws a clip frame by frame, as fast as they are taken; at its end there are no more."""

    def __init__(self, clip: Clip, address: str) -> None:
        self.clip = clip
        self.fps = clip.fps
        self._address = address

    def __iter__(self) -> Iterator[Frame]:
        for index, view in enumerate(views(self.clip)):
            yield Frame(view.image, index, time.time(), self._address)


def open_synthetic(address: str) -> SyntheticCamera:
    """The clip that an address names.

    Raises:
        SourceError: it has a setting that there is none of, or a value that is no whole number.
    """
    given = dict(parse_qsl(urlsplit(address).query, keep_blank_values=True))
    for name, value in given.items():
        if name not in _SETTINGS:
            raise SourceError(f"synthetic:// has no setting {name}; it has {', '.join(_SETTINGS)}")
        if not value.isdecimal() or (name != "seed" and int(value) == 0):
            raise SourceError(f"{name} of synthetic:// is {value!r}; give a whole number above 0")
    return SyntheticCamera(Clip(**{name: int(value) for name, value in given.items()}), address)
