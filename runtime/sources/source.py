"""What every source of frames is: a Source gives Frames, each with its number and the moment it was captured."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """One picture of a source."""

    image: NDArray[np.uint8]  # [height, width, 3] BGR
    index: int  # from 0, as the source counts; what is dropped is counted too
    captured_at: float  # seconds since 1970
    source: str  # what it came from: a path, a device or an address without its password
    captured_monotonic: float = field(default_factory=time.monotonic)  # the same moment, on a clock that never jumps

    @property
    def age_s(self) -> float:
        """Seconds since it was captured, whatever the wall clock does meanwhile."""
        return time.monotonic() - self.captured_monotonic


class Source(ABC):
    """Yields frames between `with` and its end."""

    live: bool = False  # frames that nobody takes are gone
    ended_early: str | None = None  # why it ended before its time, if it did
    fps: float = 25.0  # frames per second, as the source says or a usual rate

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:  # noqa: B027  (most sources hold nothing)
        """Give back what the source holds; nothing, where it holds nothing."""

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
