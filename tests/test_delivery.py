"""Handing answered frames to all sinks, and letting go of all of them."""

from __future__ import annotations

import pytest
from frames_for_sinks import answered_frame

from palijet.runtime.sinks.function import FunctionSink
from palijet.runtime.sinks.sink import Sink
from palijet.runtime.watch.delivery import Delivery


class Bad(Sink):
    """Cannot be finished."""

    name = "bad"

    def write(self, item: object) -> None:
        pass

    def close(self) -> None:
        raise OSError(5, "Input/output error")


class Good(Sink):
    name = "good"
    closed = False

    def write(self, item: object) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("live", [False, True])
def test_a_sink_that_cannot_be_finished_keeps_no_other_from_it(live: bool) -> None:
    first, last = Good(), Good()
    last.name = "last"
    taken: list[object] = []

    def use() -> None:
        with Delivery([first, Bad(), last, FunctionSink(taken.append)], live=live) as delivery:
            delivery.put(answered_frame())

    if live:
        use()
    else:
        with pytest.raises(OSError, match="Input/output error"):
            use()
    assert first.closed
    assert last.closed
    assert len(taken) == 1
