"""The newest answered picture of a camera with its boxes, as a JPEG that is made when somebody wants it.

Answers without boxes are text on the page; written below the picture they would change its size from frame to frame.
"""

from __future__ import annotations

import asyncio

import cv2
import numpy as np

from ..draw import draw
from ..sinks.sink import AnsweredFrame
from .options import PageOptions
from .wake import Wake


class Picture:
    """One camera's. `put` is the answering thread's, the rest the event loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: PageOptions) -> None:
        self._options = options
        self._came = Wake(loop)
        self._newest: tuple[int, AnsweredFrame] | None = None  # numbered from 1
        self._jpeg: tuple[int, bytes] = (0, b"")  # the last one made; viewers share it
        self._making = asyncio.Lock()

    def put(self, answered: AnsweredFrame) -> None:
        """Keep it in place of the one before. Never blocks."""
        self._newest = (self.number + 1, answered)
        self._came.call()

    @property
    def number(self) -> int:
        """Of the newest; 0: there is none yet."""
        return self._newest[0] if self._newest else 0

    async def after(self, number: int) -> tuple[int, bytes]:
        """The newest picture and its number, once that is above `number`; those that a slow viewer missed are gone."""
        while self._newest is None or self.number <= number:
            await self._came.wait()
        async with self._making:
            newest, answered = self._newest
            if self._jpeg[0] != newest:
                jpeg = await asyncio.get_running_loop().run_in_executor(None, _jpeg, answered, self._options)
                self._jpeg = (newest, jpeg)
        return self._jpeg

    def close(self) -> None:
        self._came.close()


def _jpeg(answered: AnsweredFrame, options: PageOptions) -> bytes:
    image = draw(answered.frame.image, [result for result in answered.results if result.objects])
    height, width = image.shape[:2]
    if (factor := options.longest_side / max(height, width)) < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, options.jpeg_quality])  # raises where it cannot
    return encoded.tobytes()
