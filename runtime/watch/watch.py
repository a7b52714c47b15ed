"""The loop that answers: takes frames of many sources in fair turns, asks one model about them together, gives what it said.

A round is: choose whose frames are due, encode them in one run, ask what is due about each, then what depends on those answers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from ..cameras.status import CameraStatus, StateChange
from ..errors import InputError, PaliJetError
from ..model import Model
from ..sinks.file_name import file_name
from ..sinks.sink import AnsweredFrame
from .feed import FileFeed, LiveFeed
from .round import Round, Taken
from .schedule import Schedule
from .watched import WatchedCamera, differences
from .watched_feed import WatchedFeed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WatchOptions:
    """How the loop answers."""

    drafts: bool = True  # verify the last answer within the prefill of the next
    pipeline: bool = False  # encode the next frames while some are decoded
    max_frames: int | None = None  # encoded together; None: as many as the model decodes together


class Watch:
    """Watches sources with a model; iterate `answers`, from one thread. Used in a `with`, which closes the sources.

    Raises:
        SourceError: a source is none, or a file that cannot be read. A camera that is off is a state.
        InputError: two cameras of one name, or a prompt that the model's cache has no room for.
    """

    def __init__(
        self,
        model: Model,
        cameras: Sequence[WatchedCamera],
        options: WatchOptions | None = None,
        on_change: Callable[[StateChange], None] = lambda change: None,
    ) -> None:
        """on_change: called from a camera's thread when its state changes."""
        self.model = model
        self._on_change = on_change
        self.options = options or WatchOptions()
        self.answered = 0  # frames
        self.tokens = 0
        self._woken = threading.Condition()
        self._frames_came = False
        self._reload: tuple[WatchedCamera, ...] | None = None
        self._closed = False
        self._at_work: deque[float] = deque()  # when the rounds at work began, by time.monotonic()
        self._thread: threading.Thread | None = None
        self._feeds: dict[str, WatchedFeed] = {}
        self._leaving: list[threading.Thread] = []  # that close what is watched no longer
        self._schedule = Schedule()
        self._check(cameras)
        try:
            self._replace(cameras)
        except BaseException:
            self.close()
            raise

    def answers(self) -> Iterator[AnsweredFrame]:
        """Answered frames as they come, until every source has ended or `close` is called.

        Raises:
            SourceError: a file could not be read on; the frames before it, and all other sources, were answered.
        """
        self._thread = threading.current_thread()
        try:
            for round_ in self._encoded():
                round_.answer(self._schedule, drafts=self.options.drafts)
                for one in round_.taken:
                    yield self._finish(one)
                self._at_work.popleft()  # who takes the answers has come back
        finally:
            self._thread = None
        for feed in self._feeds.values():
            if isinstance(feed.source, FileFeed) and feed.source.error is not None and not self._closed:
                raise feed.source.error

    def reload(self, cameras: Sequence[WatchedCamera]) -> None:
        """Watch these from the next round on; those that are as before keep their connection. From any thread.

        Raises:
            InputError: as the constructor; what is watched stays as it is.
        """
        self._check(cameras)
        with self._woken:
            self._reload = tuple(cameras)
            self._woken.notify()

    @property
    def live(self) -> bool:
        """Whether any source is live: its frames do not wait."""
        return any(isinstance(feed.source, LiveFeed) for feed in self._feeds.values())

    def cameras(self) -> tuple[CameraStatus, ...]:
        """How each is, in the order of their names as given. From any thread."""
        return tuple(feed.source.status() for feed in list(self._feeds.values()))

    @property
    def busy_s(self) -> float:
        """For how long the loop, or who takes its answers, has been at work on a round; 0: it waits for frames."""
        try:
            return time.monotonic() - self._at_work[0]
        except IndexError:
            return 0.0

    @property
    def alive(self) -> bool:
        """Somebody iterates `answers`, on a thread that runs."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def close(self) -> None:
        """End `answers` after the round at work, and let go of all sources. From any thread."""
        with self._woken:
            self._closed = True
            self._woken.notify()
        self._let_go(self._feeds.values())
        for thread in self._leaving:
            thread.join()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, cameras: Sequence[WatchedCamera]) -> None:
        names = [camera.name for camera in cameras]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"two cameras are called {name}; give each a name of its own")
        written: dict[str, str] = {}  # as files and topics are called
        for name in names:
            if (other := written.setdefault(file_name(name), name)) != name:
                raise InputError(f"files and topics of {other} and {name} would be called the same; rename one camera")
        for camera in cameras:
            for prompt in camera.prompts:
                self.model.check_prompt(prompt.text, max_tokens=prompt.max_tokens, choices=prompt.choices)

    def _replace(self, cameras: Sequence[WatchedCamera]) -> None:
        """Open what is new, close what is gone, keep the rest; where something cannot be opened, all stays as it was."""
        opened: dict[str, WatchedFeed] = {}
        try:
            for camera in cameras:
                before = self._feeds.get(camera.name)
                keep = before is not None and before.watched == camera
                opened[camera.name] = before if keep and before else WatchedFeed(camera, self._wake, self._changed)
        except BaseException:
            self._let_go(feed for name, feed in opened.items() if feed is not self._feeds.get(name))
            raise
        replaced, self._feeds = self._feeds, opened
        self._schedule.watch(cameras)
        gone = [feed for name, feed in replaced.items() if feed is not opened.get(name)]
        for feed in gone:
            feed.replaced = feed.watched.name in opened
        self._let_go(gone)

    def _let_go(self, feeds: Iterable[WatchedFeed]) -> None:
        """Close feeds, each on a thread of its own: a camera that hangs holds up neither the loop nor the others."""
        leaving = [threading.Thread(target=feed.close, name=f"palijet-closing-{feed.watched.name}") for feed in feeds]
        for thread in leaving:
            thread.start()
        self._leaving = [thread for thread in (*self._leaving, *leaving) if thread.is_alive()]

    def _wake(self) -> None:
        with self._woken:
            self._frames_came = True
            self._woken.notify()

    def _changed(self, change: StateChange) -> None:
        self._on_change(change)
        self._wake()

    def _rounds(self) -> Iterator[Round]:
        """What is taken together, until there is nothing more to come."""
        while not self._closed:
            if self._reload is not None:
                self._read_anew(self._reload)
            self._frames_came = False
            now = time.monotonic()
            ready = [name for name, feed in self._feeds.items() if feed.source.ready()]
            most = self.options.max_frames or self.model.options.max_batch
            taken = [self._take(self._feeds[name], now) for name in self._schedule.due(now, ready, most)]
            if found := [one for one in taken if one is not None]:
                yield Round(self.model, found)
            elif all(feed.source.ended for feed in self._feeds.values()):
                return
            elif not taken:
                self._wait(self._schedule.next_due(now, ready))

    def _read_anew(self, cameras: tuple[WatchedCamera, ...]) -> None:
        before = [feed.watched for feed in self._feeds.values()]
        self._reload = None
        try:
            self._replace(cameras)
        except PaliJetError as error:  # a file that is not there, say
            log.error("cameras stay as they are: %s", error)
        else:
            log.info("cameras are read anew: %s", differences(before, cameras))

    def _wait(self, until: float | None) -> None:
        """Until a frame comes, a rate lets a waiting one through, or the cameras change. until: by time.monotonic()."""
        timeout_s = _LONGEST_WAIT_S if until is None else min(_LONGEST_WAIT_S, max(0.0, until - time.monotonic()))
        with self._woken:
            self._woken.wait_for(lambda: self._frames_came or self._closed or self._reload is not None, timeout_s)

    def _take(self, feed: WatchedFeed, now: float) -> Taken | None:
        frame = feed.source.take()
        if frame is None:
            return None
        limit = feed.watched.max_staleness
        if limit is not None and frame.age_s > limit:
            feed.source.count("too_old")
            return None
        return Taken(feed, frame, self._schedule.prompts_due(feed.watched.name, now))

    def _encoded(self) -> Iterator[Round]:
        """Round after round, encoded; with `pipeline`, one round ahead, on a thread of its own."""
        rounds = self._rounds()

        def fetch() -> Round | None:
            round_ = next(rounds, None)
            if round_ is not None:
                self._at_work.append(round_.began)
                round_.encode()
            return round_

        if not self.options.pipeline:
            while (round_ := fetch()) is not None:
                yield round_
            return
        with ThreadPoolExecutor(1, thread_name_prefix="palijet-encode") as worker:
            ahead: Future[Round | None] = worker.submit(fetch)
            try:
                while (round_ := ahead.result()) is not None:
                    ahead = worker.submit(fetch)
                    yield round_
            except BaseException:
                self.close()  # the worker may wait for a frame
                raise

    def _finish(self, one: Taken) -> AnsweredFrame:
        """Into the books."""
        feed, answers = one.feed, one.results
        self.tokens += sum(len(result.tokens) for result in answers.values() if not result.repeated)
        if all(result.repeated for result in answers.values()):
            feed.source.count("repeated")
        feed.source.count("answered")
        feed.answered += 1
        self.answered += 1
        return AnsweredFrame(
            feed.watched.name, one.frame, tuple(answers.values()), feed.source.status(), tuple(answers)
        )


_LONGEST_WAIT_S = 1.0  # without a frame: then the feeds are asked whether they have ended
