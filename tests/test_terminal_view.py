"""The terminal view on terminals from 60 to 200 columns, as rich records what it would show."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest
from answered_frames import TIMINGS, answered_frame
from rich.console import Console

from palijet.runtime.cameras.status import CameraState, CameraStatus
from palijet.runtime.result import DetectedObject
from palijet.runtime.sinks.sink import AnsweredFrame, SinkStatus
from palijet.runtime.watch.status import WatchStatus
from palijet.terminal_view import TerminalView

WIDTHS = (60, 80, 100, 120, 160, 200)


@pytest.fixture
def status() -> WatchStatus:
    now = time.time()
    return WatchStatus(
        started_at=now - 7000,
        cameras=(
            CameraStatus("gate", "", CameraState.LIVE, since=now - 3700, frames=100, dropped=1234, fps=29.97),
            CameraStatus("door", "", CameraState.RECONNECTING, since=now - 33, reason="no frame for 5.0 s"),
        ),
        sinks=(
            SinkStatus("jsonl out.jsonl", ready=True, queued=0, delivered=12, dropped=0, failed=0),
            SinkStatus("mqtt broker", False, queued=3, delivered=9, dropped=4, failed=5, reason="refused", spooled=8),
        ),
        answered=12,
        tokens=240,
        busy_s=0.1,
        loop_alive=True,
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_every_line_fits_and_what_matters_is_there(status: WatchStatus, width: int) -> None:
    text = shown(status, width, answered_frame("gate", TIMINGS, text="a red gear"))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    for word in (
        "gate",
        "live",
        "door",
        "reconnecting",
        "120",
        "jsonl out.jsonl",
        "12 delivered",
        "mqtt broker",
        "refused",
    ):
        assert word in text


@pytest.mark.parametrize(
    ("width", "figures"), [(60, ()), (80, ("answers/s",)), (120, ("in/s", "answers/s", "dropped"))]
)
def test_a_wider_terminal_shows_more_figures(status: WatchStatus, width: int, figures: tuple[str, ...]) -> None:
    (head,) = [line for line in shown(status, width).splitlines() if "age ms" in line]
    assert tuple(name for name in ("in/s", "answers/s", "dropped") if name in head) == figures


def test_figures_are_those_of_the_status(status: WatchStatus) -> None:
    (line,) = [line for line in shown(status, 160).splitlines() if "gate" in line]
    assert "live 1 h" in line
    assert line.split()[4:] == ["30.0", "0.0", "1234"]


def test_the_last_answer_of_each_prompt_has_a_line(status: WatchStatus) -> None:
    gear = DetectedObject("gear", (1, 1, 5, 5), 0.9)
    text = shown(
        status,
        160,
        answered_frame("gate", TIMINGS, TIMINGS, text="old"),
        answered_frame("gate", TIMINGS, TIMINGS, text="[red]new[/red]\nline", objects=()),
    )
    assert "old" not in text
    assert [line.split("prompt")[1].strip() for line in text.splitlines() if "prompt" in line] == [
        "0: [red]new[/red] line 89%",
        "1: [red]new[/red] line 89%",
    ]
    assert "gear, gear" in shown(status, 160, answered_frame("gate", TIMINGS, objects=(gear, gear)))


def test_why_a_camera_is_not_live_is_said(status: WatchStatus) -> None:
    assert "no frame for 5.0 s" in shown(status, 100)


def test_answers_share_a_line_where_the_terminal_is_low(status: WatchStatus) -> None:
    cameras = tuple(replace(status.cameras[0], name=f"camera {number}") for number in range(16))
    answers = [answered_frame(camera.name, TIMINGS, TIMINGS) for camera in cameras]
    low = shown(replace(status, cameras=cameras), 120, *answers, height=24)
    high = shown(replace(status, cameras=cameras), 120, *answers, height=60)
    assert len(low.splitlines()) <= 24 < len(high.splitlines())
    assert "prompt 0: a red gear" in low


def test_answers_per_second_are_those_of_the_last_seconds(status: WatchStatus, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("palijet.terminal_view.time.monotonic", lambda: clock[0])
    console = Console(file=io.StringIO(), record=True, width=160, height=40)
    view = TerminalView(lambda: status, console)
    for _ in range(101):
        view.answered(answered_frame("gate", TIMINGS))
        clock[0] += 0.1
    console.print(view.table())
    assert " 9.8 " in console.export_text(clear=True)  # 49 whole intervals in five seconds
    clock[0] += 60
    console.print(view.table())
    assert " 9.8 " not in console.export_text()


def test_it_is_drawn_anew_without_being_asked(status: WatchStatus) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, height=40)
    with TerminalView(lambda: status, console) as view:
        view.answered(answered_frame("gate", TIMINGS, text="a blue bolt"))
        deadline = time.monotonic() + 20
        while "a blue bolt" not in screen.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def shown(status: WatchStatus, width: int, *answers: AnsweredFrame, height: int = 40) -> str:
    console = Console(file=io.StringIO(), record=True, width=width, height=height)
    view = TerminalView(lambda: status, console)
    for answered in answers:
        view.answered(answered)
    console.print(view.table())
    return console.export_text()
