"""`palijet run`: sources watched by a model, and what it says to the terminal, to sinks, to a page, as it comes."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console

from .on_signal import OnSignal
from .runtime.cameras.status import StateChange
from .runtime.errors import PaliJetError, SinkError
from .runtime.model import Model
from .runtime.page.options import PageOptions
from .runtime.sinks.sink import AnsweredFrame, Sink, SinkStatus
from .runtime.watch.delivery import Delivery
from .runtime.watch.status import WatchStatus
from .runtime.watch.watch import Watch, WatchOptions
from .runtime.watch.watched import WatchedCamera

log = logging.getLogger(__name__)

_STATUS_EVERY_S = 1.0


@dataclass(frozen=True)
class RunOptions:
    """What a run does beside answering."""

    watch: WatchOptions = field(default_factory=WatchOptions)
    page: PageOptions | None = None
    status: Path | None = None  # a JSON file that says how everything is, written anew every second
    limit: int | None = None  # answered frames after which it stops
    terminal: bool = False  # show cameras and answers in place
    cameras_again: Callable[[], Sequence[WatchedCamera]] | None = None  # reads them anew at SIGHUP; None: that ends it


def run(
    model: Model,
    cameras: Sequence[WatchedCamera],
    open_sinks: Callable[[bool, float], Sequence[Sink]],
    options: RunOptions,
    hangup: OnSignal,
    talk: Console,
) -> None:
    """Answer until every source has ended, the limit is reached, or a signal comes.

    open_sinks: given whether any source is live, and frames per second of a video. hangup: SIGHUP.

    Raises:
        SourceError: a source is none, or a file that could not be read to its end.
        SinkError: a sink of files' results failed, nothing at all reached a sink, or the page's port is taken.
    """
    started_at, started = time.time(), time.monotonic()
    with ExitStack() as stack:
        changes = _Changes()
        watch = stack.enter_context(Watch(model, cameras, options.watch, on_change=changes.put))
        sinks = open_sinks(watch.live, watch.cameras()[0].fps or 25.0)
        delivery = stack.enter_context(Delivery(sinks, live=watch.live))

        def status() -> WatchStatus:
            return WatchStatus(
                started_at, watch.cameras(), delivery.sinks(), watch.answered, watch.tokens, watch.busy_s, watch.alive
            )

        takers: list[Callable[[AnsweredFrame], None]] = [delivery.put]
        if options.page is not None:
            from .runtime.metrics import Metrics
            from .runtime.page.server import PageServer

            metrics = Metrics(status, backend=model.engine_version)
            page = PageServer(options.page, status, metrics)
            page.start()
            stack.callback(page.close)
            talk.print(f"page: {page.url}", soft_wrap=True)
            takers += [metrics.answered, page.answered]
            changes.takers.append(page.changed)
        if options.terminal:
            from .terminal_view import TerminalView

            view = stack.enter_context(TerminalView(status))
            takers.append(view.answered)
        changes.takers.append(delivery.put_state)
        if options.status is not None:
            stack.enter_context(_StatusFile(options.status, status))
        again = options.cameras_again
        if again is not None:
            hangup.then(partial(_reload, watch, again))
        elif not hangup.was_ignored:
            hangup.then(watch.close)  # the terminal has gone
        stack.enter_context(OnSignal(signal.SIGTERM)).then(watch.close)
        stack.callback(watch.close)  # before the sinks, which are to hear of it
        for answered in watch.answers():
            for take in takers:
                take(answered)
            if watch.answered == options.limit:
                break
        if not watch.live:
            for camera in watch.cameras():
                if camera.reason:
                    talk.print(f"note: {camera.reason}", style="yellow", soft_wrap=True)
        rate = watch.answered / max(time.monotonic() - started, 1e-9)
        talk.print(f"{watch.answered} frames answered, {rate:.1f} per second")
    for sink in delivery.sinks():
        _say_what_is_left(sink, talk)


def _say_what_is_left(sink: SinkStatus, talk: Console) -> None:
    """Of its results, once it is closed.

    Raises:
        SinkError: not one was delivered, nor is any kept.
    """
    lost = sink.queued + sink.dropped
    if lost and not sink.delivered and not sink.spooled:
        raise SinkError(f"nothing reached {sink.name}: {sink.reason or f'{lost} results were not delivered'}")
    said = [f"{lost} results were not delivered"] if lost else []
    if sink.spooled:
        said.append(f"{sink.spooled} results wait on disk; the next run delivers them")
    if said:
        talk.print(f"{sink.name}: {', '.join(said)}", style="yellow", soft_wrap=True)


class _Changes:
    """Changes of state: into the log, and to whoever wants them. They come from the cameras' threads."""

    def __init__(self) -> None:
        self.takers: list[Callable[[StateChange], None]] = []

    def put(self, change: StateChange) -> None:
        for take in list(self.takers):
            take(change)


class _StatusFile:
    """Writes how everything is to a file, every second, whole each time."""

    def __init__(self, path: Path, status: Callable[[], WatchStatus]) -> None:
        if path.is_dir() or not os.access(path.absolute().parent, os.W_OK):
            raise PaliJetError(f"{path} cannot be written; give a file in a folder that is there and yours to write")
        self._path, self._status = path, status
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="palijet-status", daemon=True)

    def __enter__(self) -> _StatusFile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _write_on(self) -> None:
        failing = False
        while True:
            last = self._done.wait(_STATUS_EVERY_S)
            partial = self._path.with_name(f".{self._path.name}.partial")
            try:
                partial.write_text(json.dumps({"at": time.time(), **self._status().to_dict()}) + "\n")
                partial.replace(self._path)
                failing = False
            except OSError as error:
                if not failing:
                    log.warning("%s cannot be written: %s", self._path, error.strerror or error)
                failing = True
            if last:
                return


def _reload(watch: Watch, read: Callable[[], Sequence[WatchedCamera]]) -> None:
    try:
        watch.reload(read())
    except PaliJetError as error:
        log.error("cameras stay as they are: %s", error)
