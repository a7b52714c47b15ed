"""Picture files, one by one or of a folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError, SourceError
from ..preprocess import read_image
from .source import Frame, Source

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class Pictures(Source):
    """Picture files, in their order."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self.paths):
            try:
                image = read_image(path)
            except InputError as error:
                raise SourceError(str(error)) from None
            yield Frame(image, index, time.time(), str(path))


class Folder(Pictures):
    """The picture files of a folder, by name."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
        if not paths:
            raise SourceError(f"{folder} holds no pictures ({', '.join(PICTURES)}); check the path of the folder")
        super().__init__(paths)
