"""Log lines: one for each change of state, for people or as JSON."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest
from rich.console import Console
from rich.live import Live

from palijet.runtime.cameras.state_log import log_change
from palijet.runtime.cameras.status import CameraState, StateChange
from palijet.runtime.errors import InputError
from palijet.runtime.watch.logs import configure

LOST = StateChange("gate", 0.0, CameraState.LIVE, CameraState.RECONNECTING, "no frame for 5.0 s", 84.2468)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("palijet")
    kept = (root.handlers[:], root.level, ours.level)
    root.handlers[:] = []  # pytest's own, which `configure` would close
    yield
    root.handlers[:], root.level = kept[:2]
    ours.setLevel(kept[2])


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_a_change_of_state_is_one_short_line(stream: io.StringIO) -> None:
    configure(stream=stream)
    log_change(LOST)
    stamp, line = stream.getvalue()[:19], stream.getvalue()[20:]
    assert abs(datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S").timestamp() - time.time()) < 20
    assert line == "warning  gate is reconnecting: no frame for 5.0 s (was live for 84.2 s)\n"


def test_messages_of_all_levels_begin_in_one_column(stream: io.StringIO) -> None:
    configure("debug", stream=stream)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger("palijet.runtime").log(level, "HERE")
    assert len({line.index("HERE") for line in stream.getvalue().splitlines()}) == 1


def test_a_reason_of_several_lines_is_still_one_line(stream: io.StringIO) -> None:
    configure(stream=stream)
    log_change(StateChange("gate", 0.0, CameraState.LIVE, CameraState.FAILED, "one\ntwo\r\nthree", 1.0))
    assert len(stream.getvalue().splitlines()) == 1
    assert "one two three" in stream.getvalue()


def test_json_lines_carry_their_fields(stream: io.StringIO) -> None:
    configure(format="json", stream=stream)
    log_change(LOST)
    line = json.loads(stream.getvalue())
    assert datetime.fromisoformat(line.pop("time")).tzinfo == timezone.utc
    assert line == {
        "level": "warning",
        "logger": "palijet.runtime.cameras.state_log",
        "message": "gate is reconnecting: no frame for 5.0 s (was live for 84.2 s)",
        "camera": "gate",
        "state": "reconnecting",
        "before": "live",
        "reason": "no frame for 5.0 s",
        "lasted_s": 84.247,
    }


def test_a_traceback_stays_within_its_json_line(stream: io.StringIO) -> None:
    configure(format="json", stream=stream)
    try:
        raise ValueError("ünusual")
    except ValueError:
        logging.getLogger("palijet.runtime").exception("a sink failed", extra={"sink": object()})
    (text,) = stream.getvalue().splitlines()
    line = json.loads(text)
    assert line["traceback"].endswith("ValueError: ünusual")
    assert line["sink"].startswith("<object object")


@pytest.mark.parametrize(
    ("after", "level"),
    [
        (CameraState.CONNECTING, "info"),
        (CameraState.LIVE, "info"),
        (CameraState.STALE, "warning"),
        (CameraState.RECONNECTING, "warning"),
        (CameraState.FAILED, "error"),
        (CameraState.ENDED, "info"),
    ],
)
def test_trouble_is_a_warning_or_an_error(stream: io.StringIO, after: CameraState, level: str) -> None:
    configure(format="json", stream=stream)
    log_change(StateChange("gate", 0.0, CameraState.LIVE, after, "", 1.0))
    assert json.loads(stream.getvalue())["level"] == level


def test_the_level_holds_for_palijet_and_others_are_heard_from_warnings_on(stream: io.StringIO) -> None:
    configure("debug", stream=stream)
    logging.getLogger("palijet.runtime").debug("ours")
    logging.getLogger("httpx").info("theirs")
    logging.getLogger("asyncio").warning("trouble")
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["ours", "trouble"]
    configure("error", stream=stream)
    log_change(LOST)
    assert len(stream.getvalue().splitlines()) == 2


def test_configuring_again_replaces(stream: io.StringIO) -> None:
    configure(stream=io.StringIO())
    configure(stream=stream)
    log_change(LOST)
    assert len(stream.getvalue().splitlines()) == 1


def test_lines_appear_above_a_view_that_is_updated_in_place() -> None:
    screen = io.StringIO()
    configure()
    with Live("the table", console=Console(file=screen, force_terminal=True, width=120), auto_refresh=False):
        log_change(LOST)
    assert "gate is reconnecting" in screen.getvalue()
    assert screen.getvalue().rindex("the table") > screen.getvalue().index("gate is reconnecting")


def test_standard_error_that_nobody_reads_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    configure()
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log_change(LOST)


@pytest.mark.parametrize("options", [{"level": "loud"}, {"format": "xml"}])
def test_an_unknown_level_or_format_is_a_sentence(options: dict[str, str]) -> None:
    with pytest.raises(InputError, match="give"):
        configure(**options)  # type: ignore[arg-type]
