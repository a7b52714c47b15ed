"""A table of cameras, their last answers and the sinks on a terminal, updated in place."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .runtime.cameras.status import CameraState, CameraStatus
from .runtime.result import StreamResult
from .runtime.sinks.sink import AnsweredFrame, SinkStatus
from .runtime.watch.status import WatchStatus

_UPDATES_PER_S = 4
_RATE_OVER_S = 5.0
_WIDE = 110  # columns of a terminal that has room for all figures
_MIDDLING = 80  # and of one that has room for some
_FRAME_LINES = 4  # of the table itself

_COLOURS = {
    CameraState.LIVE: "green",
    CameraState.CONNECTING: "blue",
    CameraState.STALE: "yellow",
    CameraState.RECONNECTING: "yellow",
    CameraState.FAILED: "red",
    CameraState.ENDED: "dim",
}


class TerminalView:
    """Used in a `with`. `answered` is for the answering thread; a thread of rich's draws."""

    def __init__(self, status: Callable[[], WatchStatus], console: Console | None = None) -> None:
        """status: called whenever the table is drawn. console: standard output, where none is given."""
        self._status = status
        self._console = console or Console()
        self._answers: dict[str, tuple[StreamResult, ...]] = {}  # the last ones of each camera
        self._times: dict[str, deque[float]] = {}  # when frames were answered, by time.monotonic()
        self._live = Live(
            get_renderable=self.table,
            console=self._console,
            refresh_per_second=_UPDATES_PER_S,
        )

    def answered(self, answered: AnsweredFrame) -> None:
        """Show a frame's answers at the next update. Quick."""
        self._answers[answered.camera] = answered.results
        self._times.setdefault(answered.camera, deque(maxlen=1024)).append(time.monotonic())

    def table(self) -> RenderableType:
        """How all is now."""
        status = self._status()
        width = self._console.width
        cameras = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
        cameras.add_column("camera", overflow="ellipsis", no_wrap=True, max_width=max(10, width // 5))
        cameras.add_column("state", no_wrap=True)
        figures = [name for name, least in _FIGURES if width >= least]
        for name in figures:
            cameras.add_column(name, justify="right", no_wrap=True)
        cameras.add_column("answers", ratio=1, no_wrap=True, overflow="ellipsis")
        said = {camera.name: _said(camera, self._answers.get(camera.name, ())) for camera in status.cameras}
        lines = sum(len(one) or 1 for one in said.values()) + len(status.sinks) + _FRAME_LINES
        between = "\n" if lines <= self._console.height else "  "
        now = time.time()
        for camera in status.cameras:
            values = self._figures(camera)
            answers = Text(between, no_wrap=True).join(said[camera.name])
            state = _state(camera, now if width >= _MIDDLING else None)
            cameras.add_row(Text(camera.name), state, *(values[name] for name in figures), answers)
        return Group(cameras, *(_sink_line(sink) for sink in status.sinks))

    def __enter__(self) -> TerminalView:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def _figures(self, camera: CameraStatus) -> dict[str, str]:
        results = self._answers.get(camera.name)
        return {
            "in/s": f"{camera.fps:.1f}",
            "answers/s": f"{self._rate(camera.name):.1f}",
            "age ms": f"{results[0].frame_age_ms:.0f}" if results else "",
            "dropped": str(camera.dropped),
        }

    def _rate(self, camera: str) -> float:
        """Answered frames per second, of the last seconds."""
        times = list(self._times.get(camera, ()))
        recent = [at for at in times if at > time.monotonic() - _RATE_OVER_S]
        return 0.0 if len(recent) < 2 else (len(recent) - 1) / (time.monotonic() - recent[0])


_FIGURES = (("in/s", _WIDE), ("answers/s", _MIDDLING), ("age ms", 0), ("dropped", _WIDE))  # and from what width on


def _state(camera: CameraStatus, now: float | None) -> Text:
    """now: seconds since 1970; None: there is no room to say since when."""
    state = Text(str(camera.state), _COLOURS[camera.state])
    return state if now is None else state.append(f" {_duration(now - camera.since)}", "dim")


def _said(camera: CameraStatus, results: Sequence[StreamResult]) -> list[Text]:
    """Why it is not live, and each of its last answers."""
    lines = [Text.assemble((result.prompt, "dim"), ": ", _answer(result)) for result in results]
    if camera.reason and camera.state is not CameraState.LIVE:
        lines.insert(0, Text(camera.reason, _COLOURS[camera.state]))
    return lines


def _answer(result: StreamResult) -> Text:
    text = ", ".join(thing.label for thing in result.objects) if result.objects else result.text
    return Text.assemble(text.replace("\n", " "), (f" {result.confidence:.0%}", "dim"))


def _sink_line(sink: SinkStatus) -> Text:
    counts = {"queued": sink.queued, "spooled": sink.spooled, "dropped": sink.dropped, "failed": sink.failed}
    told = [f"{sink.delivered} delivered", *(f"{count} {what}" for what, count in counts.items() if count)]
    line = Text.assemble((sink.name, "green" if sink.ready else "red"), f": {', '.join(told)}")
    return line.append(f" ({sink.reason})", "red") if sink.reason else line


def _duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"
