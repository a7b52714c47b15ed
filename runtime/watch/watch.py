"""The loop that answers: takes frames of many sources in fair turns, asks one model about them together, gives what it said.

A round is: choose whose frames are due, encode them in one run, ask what is due about each, then what depends on those answers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from ..cameras.change_detector import ChangeDetector
from ..cameras.status import CameraState, CameraStatus, StateChange
from ..errors import InputError, PaliJetError
from ..model import Encoded, Model, Question
from ..result import Result, StreamResult
from ..sinks.sink import AnsweredFrame
from ..sources import Frame
from .feed import Feed, FileFeed, LiveFeed, open_feed
from .schedule import Schedule
from .watched import Prompt, WatchedCamera

if TYPE_CHECKING:
    from ..tracking import Tracker

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
        self._feeds: dict[str, _Feed] = {}
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
        for round_, encoded in self._encoded(self._rounds()):
            yield from self._answer(round_, encoded)
            self._at_work.popleft()  # who takes the answers has come back
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
        """The thread that iterates `answers` runs."""
        return self._thread is not None and self._thread.is_alive()

    def close(self) -> None:
        """End `answers` after the round at work, and let go of all sources. From any thread."""
        with self._woken:
            self._closed = True
            self._woken.notify()
        for feed in list(self._feeds.values()):
            feed.source.close()

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
        for camera in cameras:
            for prompt in camera.prompts:
                self.model.check_prompt(prompt.text, max_tokens=prompt.max_tokens, choices=prompt.choices)

    def _replace(self, cameras: Sequence[WatchedCamera]) -> None:
        """Open what is new, close what is gone, keep the rest; where something cannot be opened, all stays as it was."""
        opened: dict[str, _Feed] = {}
        try:
            for camera in cameras:
                before = self._feeds.get(camera.name)
                if before is None or before.watched != camera:
                    before = _Feed(camera, partial(open_feed, camera, self._wake, self._changed))
                opened[camera.name] = before
        except BaseException:
            _close_all_but(self._feeds, opened)
            raise
        replaced, self._feeds = self._feeds, opened
        _close_all_but(opened, replaced)
        self._schedule.watch(cameras)

    def _wake(self) -> None:
        with self._woken:
            self._frames_came = True
            self._woken.notify()

    def _changed(self, change: StateChange) -> None:
        self._on_change(change)
        self._wake()

    def _rounds(self) -> Iterator[list[_Taken]]:
        """What is taken together, until there is nothing more to come."""
        while not self._closed:
            if self._reload is not None:
                cameras, self._reload = self._reload, None
                try:
                    self._replace(cameras)
                except PaliJetError as error:  # a file that is not there, say
                    log.error("cameras stay as they are: %s", error)
            self._frames_came = False
            now = time.monotonic()
            ready = [name for name, feed in self._feeds.items() if feed.source.ready()]
            most = self.options.max_frames or self.model.options.max_batch
            taken = [self._take(self._feeds[name], now) for name in self._schedule.due(now, ready, most)]
            if found := [one for one in taken if one is not None]:
                yield found
            elif all(feed.source.ended for feed in self._feeds.values()):
                return
            elif not taken:
                self._wait(self._schedule.next_due(now, ready))

    def _wait(self, until: float | None) -> None:
        """Until a frame comes, a rate lets a waiting one through, or the cameras change. until: by time.monotonic()."""
        timeout_s = _LONGEST_WAIT_S if until is None else min(_LONGEST_WAIT_S, max(0.0, until - time.monotonic()))
        with self._woken:
            self._woken.wait_for(lambda: self._frames_came or self._closed or self._reload is not None, timeout_s)

    def _take(self, feed: _Feed, now: float) -> _Taken | None:
        frame = feed.source.take()
        if frame is None:
            return None
        limit = feed.watched.max_staleness
        if limit is not None and frame.age_s > limit:
            feed.source.count("too_old")
            return None
        if feed.changes is not None and feed.last and not feed.changes.changed(frame.image):
            return _Taken(feed, frame, ())
        return _Taken(feed, frame, self._schedule.prompts_due(feed.watched.name, now))

    def _encoded(self, rounds: Iterator[list[_Taken]]) -> Iterator[tuple[list[_Taken], Encoded | None]]:
        """Each round with its encoded pictures; with `pipeline`, one round ahead, on a thread of its own."""

        def fetch() -> tuple[list[_Taken], Encoded | None] | None:
            taken = next(rounds, None)
            if taken is None:
                return None
            self._at_work.append(time.monotonic())
            images = [one.frame.image for one in taken if one.prompts]
            return taken, self.model.encode(images) if images else None

        if not self.options.pipeline:
            while (found := fetch()) is not None:
                yield found
            return
        with ThreadPoolExecutor(1, thread_name_prefix="palijet-encode") as worker:
            waiting: Future[tuple[list[_Taken], Encoded | None] | None] = worker.submit(fetch)
            try:
                while (found := waiting.result()) is not None:
                    waiting = worker.submit(fetch)
                    yield found
            finally:
                self.close()  # the worker may wait for a frame

    def _answer(self, taken: list[_Taken], encoded: Encoded | None) -> list[AnsweredFrame]:
        asked = [one for one in taken if one.prompts]
        answers: list[dict[str, StreamResult]] = [{} for _ in asked]
        while encoded is not None and (due := _due(asked, answers)):
            for image, prompt in due:
                self._schedule.asked(asked[image].feed.watched.name, prompt, time.monotonic())
            questions = [self._question(image, asked[image], prompt) for image, prompt in due]
            for (image, prompt), result in zip(due, self.model.ask(encoded, questions), strict=True):
                answers[image][prompt.key] = _stream_result(asked[image], result)
        said = {id(one): tuple(found.values()) for one, found in zip(asked, answers, strict=True)}
        return [self._finish(one, said.get(id(one))) for one in taken]

    def _question(self, image: int, one: _Taken, prompt: Prompt) -> Question:
        camera = one.feed.watched.name if self.options.drafts else None
        return Question(image, prompt.text, camera, prompt.max_tokens, prompt.choices)

    def _finish(self, one: _Taken, results: tuple[StreamResult, ...] | None) -> AnsweredFrame:
        """Into the books. results: none where the last ones are repeated."""
        feed = one.feed
        if results is None:
            results = tuple(feed.tracked(_repeated(one, result)) for result in feed.last.values())
            feed.source.count("repeated")
        else:
            results = tuple(feed.tracked(result) for result in results)
            if feed.changes is not None:
                feed.changes.remember(one.frame.image)
            self.tokens += sum(len(result.tokens) for result in results)
        feed.last.update((result.prompt, result) for result in results)
        feed.source.count("answered")
        feed.taken += 1
        self.answered += 1
        return AnsweredFrame(feed.watched.name, one.frame, results, feed.source.status())


_LONGEST_WAIT_S = 1.0  # without a frame: then the feeds are asked whether they have ended


class _Feed:
    """A feed and what the loop remembers of it."""

    def __init__(self, watched: WatchedCamera, open_source: Callable[[], Feed]) -> None:
        self.watched = watched
        self.taken = 0  # frames that were answered before
        self.last: dict[str, StreamResult] = {}  # of each prompt
        self.changes = ChangeDetector() if watched.skip_unchanged else None
        self._trackers: dict[str, Tracker] = {}
        if counts := [prompt for prompt in watched.prompts if prompt.track]:
            from ..tracking import Tracker

            self._trackers = {prompt.text: Tracker(zones=watched.zones, lines=watched.lines) for prompt in counts}
        self.source = open_source()  # last, for it is to be closed

    def tracked(self, result: StreamResult) -> StreamResult:
        """With ids and counts, where the prompt's objects are tracked."""
        tracker = self._trackers.get(result.prompt)
        return result if tracker is None else tracker.update(result)


def _close_all_but(kept: Mapping[str, _Feed], feeds: Mapping[str, _Feed]) -> None:
    """Close those feeds that are not among the kept ones."""
    for name, feed in feeds.items():
        if kept.get(name) is not feed:
            feed.source.close()


@dataclass(frozen=True)
class _Taken:
    """A frame whose turn it is, and what is due about it; nothing, where the last answers are repeated."""

    feed: _Feed
    frame: Frame
    prompts: tuple[Prompt, ...]


def _due(asked: Sequence[_Taken], answers: Sequence[dict[str, StreamResult]]) -> list[tuple[int, Prompt]]:
    """What can be asked now, by number of the picture: what hangs on no answer, or on one that holds."""
    return [
        (image, prompt)
        for image, (one, found) in enumerate(zip(asked, answers, strict=True))
        for prompt in one.prompts
        if prompt.key not in found and (prompt.when is None or prompt.when.holds(found))
    ]


def _stream_result(one: _Taken, result: Result) -> StreamResult:
    watched, frame = one.feed.watched, one.frame
    age_s = frame.age_s
    stale = watched.max_staleness is not None and age_s > watched.max_staleness
    return StreamResult(
        **{field.name: getattr(result, field.name) for field in fields(Result)},
        camera=watched.name,
        source=frame.source,
        frame_index=frame.index,
        captured_at=frame.captured_at,
        frame_age=age_s,
        dropped=frame.index - one.feed.taken,
        stale=stale or one.feed.source.status().state is CameraState.STALE,
    )


def _repeated(one: _Taken, last: StreamResult) -> StreamResult:
    """The last answer, about another frame."""
    return replace(_stream_result(one, last), repeated=True, zones=last.zones)
