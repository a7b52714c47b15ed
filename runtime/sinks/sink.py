"""What every sink is, and what it is given: an answered frame, and every change of a camera's state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..cameras.status import CameraStatus, StateChange
from ..errors import SinkError
from ..result import StreamResult
from ..sources.source import Frame

if TYPE_CHECKING:
    from .spool_options import SpoolOptions

Policy = Literal["drop-oldest", "spill"]


@dataclass(frozen=True)
class AnsweredFrame:
    """A frame of a camera and all its answers."""

    camera: str
    frame: Frame
    results: tuple[StreamResult, ...]  # one per prompt that had its turn
    status: CameraStatus | None = None  # of the camera, when it was answered
    keys: tuple[str, ...] = ()  # by which conditions call the prompts, as many as results; none: by their texts

    @property
    def answers(self) -> dict[str, StreamResult]:
        """The results, as conditions call them."""
        keys = self.keys or tuple(result.prompt for result in self.results)
        return dict(zip(keys, self.results, strict=True))

    @cached_property
    def annotated(self) -> NDArray[np.uint8]:
        """The picture with its answers drawn on it; drawn once, for all sinks. [height, width, 3] BGR."""
        from ..draw import draw

        return draw(self.frame.image, self.results)


class Sink(ABC):
    """Takes results somewhere. All but `prepare` and `prepare_state` runs on a thread of the sink's own, so it may block.

    `open` may fail: a broker that is down is a state, and `SinkQueue` tries again. It is called once more after every failure.
    """

    name: str  # for logs, status, metrics and the spool's file: "mqtt broker.local"
    queue_length: ClassVar[int] = 256  # items that wait at most; few where an item holds a picture
    batch_length: ClassVar[int] = 1  # items that `write_many` is given together
    policy: ClassVar[Policy] = "drop-oldest"  # spill: items are Messages, and what is not delivered waits on disk
    reader_gone: bool = False  # nobody will take anything more, as of a closed pipe: what runs for it alone may end
    spool: SpoolOptions | None = None  # where and how much, of a sink that spills; None: the default

    @property
    def place(self) -> str:
        """Where it delivers: of two sinks to one place each would spoil what the other writes."""
        return self.name

    def open(self) -> None:  # noqa: B027  (not every sink has something to open)
        """Connect, create the file: what may fail."""

    def prepare(self, answered: AnsweredFrame) -> Any:
        """What is kept of an answered frame until `write`; None: nothing; a list: several items.

        Runs on the answering thread, so it is quick.
        """
        return answered

    def prepare_state(self, change: StateChange) -> Any:
        """What is kept of a change of state, as `prepare`; the change itself goes to `write_state`."""
        return change

    @abstractmethod
    def write(self, item: Any) -> None:
        """Deliver what `prepare` gave.

        Raises:
            SinkError, OSError: that fails; `open` and it are tried again, with the same item.
            RefusedError: that fails and always will; the item is given up.
        """

    def write_state(self, change: StateChange) -> None:  # noqa: B027
        """Tell of a camera's new state; raises as `write`."""

    def write_many(self, items: Sequence[Any]) -> Iterator[None]:
        """Deliver items in order, and yield after each that is delivered; raises as `write`."""
        for item in items:
            if isinstance(item, StateChange):
                self.write_state(item)
            else:
                self.write(item)
            yield

    def idle(self) -> None:  # noqa: B027
        """Called about every second while nothing waits: look whether the other side is there. Raises as `open`."""

    def close(self) -> None:  # noqa: B027
        """Finish the file, say goodbye."""


class RefusedError(SinkError):
    """An item that is not taken and never will be, however often it is tried."""


class BusyError(SinkError):
    """The other side says when to try again."""

    def __init__(self, sentence: str, wait_s: float) -> None:
        super().__init__(sentence)
        self.wait_s = wait_s


@dataclass(frozen=True)
class SinkStatus:
    """A sink at one moment, by its counters since the start."""

    name: str
    ready: bool  # open and not failing
    queued: int
    delivered: int
    dropped: int  # for the queue, or the spool, was full
    failed: int  # attempts that raised
    reason: str = ""  # why it is not ready
    spooled: int = 0  # waiting on disk
