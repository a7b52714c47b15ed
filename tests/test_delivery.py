"""Handing answered frames to all sinks, and letting go of all of them."""

from __future__ import annotations

import logging

import pytest
from frames_for_sinks import answered_frame

from palijet.runtime.errors import SinkError
from palijet.runtime.sinks.function import FunctionSink
from palijet.runtime.sinks.sink import Sink
from palijet.runtime.watch.delivery import Delivery


class Bad(Sink):
    """Cannot be finished."""

    def __init__(self, name: str = "bad") -> None:
        self.name = name

    def write(self, item: object) -> None:
        pass

    def close(self) -> None:
        raise OSError(5, "Input/output error", self.name)


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


def test_the_first_of_several_failures_comes_out_and_the_others_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(OSError, match="'first'"),
        Delivery([Bad("first"), Bad("second")], live=False) as delivery,
    ):
        delivery.put(answered_frame())
    assert [record.getMessage().split(" did not")[0] for record in caplog.records] == ["second"]


def test_what_ended_a_run_is_not_hidden_by_a_sink_that_cannot_be_finished(caplog: pytest.LogCaptureFixture) -> None:
    class Full(Good):
        def write(self, item: object) -> None:
            raise SinkError("the disk is full; make room")

    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(SinkError, match="the disk is full"),
        Delivery([Bad(), Full()], live=False) as delivery,
    ):
        delivery.put(answered_frame())
    assert "bad did not close well: [Errno 5] Input/output error" in caplog.text


def test_an_interrupt_while_one_sink_is_closed_keeps_no_other_from_it() -> None:
    class Slow(Good):
        def close(self) -> None:
            raise KeyboardInterrupt

    slow, last = Slow(), Good()
    last.name = "last"
    with pytest.raises(KeyboardInterrupt), Delivery([slow, last], live=False) as delivery:
        delivery.put(answered_frame())
    assert last.closed
