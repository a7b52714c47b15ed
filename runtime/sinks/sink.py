"""What every sink is, and what it is given: an answered frame, and every change of a camera's state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..cameras.status import CameraStatus, StateChange
from ..result import StreamResult
from ..sources.source import Frame

Policy = Literal["drop-oldest", "spill"]


@dataclass(frozen=True)
class AnsweredFrame:
    """A frame of a camera and all its answers."""

    camera: str
    frame: Frame
    results: tuple[StreamResult, ...]  # one per prompt that had its turn
    status: CameraStatus | None = None  # of the camera, when it was answered; None: a file

    @cached_property
    def annotated(self) -> NDArray[np.uint8]:
        """The picture with its answers drawn on it; drawn once, for all sinks. [height, width, 3] BGR."""
        from ..draw import draw

        return draw(self.frame.image, self.results)


class Sink(ABC):
    """Takes results somewhere. All but `prepare` runs on a thread of the sink's own, so it may block.

    `open` may fail: a broker that is down is a state, and `SinkQueue` tries again.
    """

    name: str  # for logs, status and metrics: "mqtt broker.local"
    queue_length: ClassVar[int] = 256  # items that wait at most; few where an item holds a picture
    policy: ClassVar[Policy] = "drop-oldest"

    def open(self) -> None:  # noqa: B027  (not every sink has something to open)
        """Connect, create the file: what may fail."""

    def prepare(self, answered: AnsweredFrame) -> Any:
        """What is kept of an answered frame until `write`; None: nothing. Runs on the answering thread, so it is quick."""
        return answered

    @abstractmethod
    def write(self, item: Any) -> None:
        """Deliver what `prepare` gave. Raises SinkError where that fails."""

    def write_state(self, change: StateChange) -> None:  # noqa: B027
        """Tell of a camera's new state."""

    def close(self) -> None:  # noqa: B027
        """Finish the file, say goodbye."""


@dataclass(frozen=True)
class SinkStatus:
    """A sink at one moment, by its counters since the start."""

    name: str
    ready: bool  # open and not failing
    queued: int
    delivered: int
    dropped: int  # for the queue was full
    failed: int  # attempts that raised
    reason: str = ""  # why it is not ready
    spooled: int = 0  # waiting on disk
