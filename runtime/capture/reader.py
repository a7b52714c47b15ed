"""What every reader in the capture process is: it opens one source and gives pictures, or says in one sentence why it cannot."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .protocol import Ended, Failure, Opened


@dataclass(frozen=True)
class Picture:
    """One frame as it was read. Its pixels may lie in the reader's memory, until the next `read`."""

    image: NDArray[np.uint8]  # [height, width, 3] BGR
    captured_at: float = field(default_factory=time.time)  # seconds since 1970
    captured_monotonic: float = field(default_factory=time.monotonic)


class CaptureError(Exception):
    """The source cannot be read, or no longer."""

    def __init__(self, kind: Failure, reason: str) -> None:
        super().__init__(reason)
        self.kind: Failure = kind
        self.reason = reason


class Reader(ABC):
    """Gives what comes: Opened before the first picture and after each change of size or format, pictures, Ended."""

    name: ClassVar[str]  # gstreamer or opencv, as Opened says it

    @abstractmethod
    def read(self) -> Opened | Picture | Ended | None:
        """The next thing; None: nothing for now, so that the caller can look around; nothing comes after Ended.

        Raises:
            CaptureError: it cannot be read, or no longer.
        """

    @abstractmethod
    def close(self) -> None:
        """Give everything back."""
