"""A live source that never dies: captured in a process of its own, watched, and connected anew when it fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from ..capture.capture_process import CaptureProcess
from ..capture.protocol import Captured, Failed, Opened
from ..errors import SourceError
from ..sources.source import Frame, Source
from ..sources.uri import SourceUri
from .backoff import Backoff
from .frame_rate import FrameRate
from .latest_frame import CapturedFrame, LatestFrame
from .options import CameraOptions
from .state_log import log_change
from .status import CameraState, CameraStatus, StateChange
from .watchdog import Live, Lost, Over, Stale, Watchdog

log = logging.getLogger(__name__)


class Camera(Source):
    """Keeps the newest frame of a source, whatever happens to it. A camera that is off is a state, not an exception.

    A thread of its own starts a capture process, hears it, and replaces it. All methods are for any thread.
    """

    live = True

    def __init__(
        self,
        uri: SourceUri,
        options: CameraOptions | None = None,
        name: str | None = None,
        on_change: Callable[[StateChange], None] | None = None,
        on_frame: Callable[[], None] | None = None,
    ) -> None:
        """on_change, on_frame: called from the camera's thread when its state changes or a new frame is there; to be quick."""
        self.uri = uri
        self.options = options or CameraOptions()
        self.name = name or uri.shown
        self.on_change = on_change
        self.on_frame = on_frame
        self._slot = LatestFrame()
        self._watchdog = Watchdog(self.options)
        self._backoff = Backoff(self.options.first_wait_s, self.options.longest_wait_s)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._lock = threading.Lock()  # over all that follows
        self._process: CaptureProcess | None = None
        self._state, self._reason = CameraState.CONNECTING, ""
        self._since, self._since_monotonic = time.time(), time.monotonic()
        self._last: Captured | None = None
        self._frames = 0  # captured
        self._rate = FrameRate()
        self._reader = ""
        self._reconnects = 0  # that gave frames
        self._counts = {"answered": 0, "repeated": 0, "too_old": 0}
        self._last_answer_at: float | None = None

    def start(self) -> None:
        """Begin to connect; returns at once. Once more is harmless."""
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._since, self._since_monotonic = time.time(), time.monotonic()
                self._thread = threading.Thread(target=self._supervise, name=f"palijet-camera-{self.name}", daemon=True)
                self._thread.start()

    @property
    def waiting_index(self) -> int | None:
        """The number of the frame that `take` would give; None: there is none."""
        return self._slot.waiting_index

    def take(self) -> Frame | None:
        """The newest frame that was not taken yet; None: there is none. Never waits for one."""
        try:
            return self._slot.take()
        except SourceError as error:
            if not self._closing.is_set():
                log.warning("%s: %s", self.name, error)
            return None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until a frame is there or none will come any more; whether one is there. None: for ever."""
        return self._slot.wait(timeout_s)

    def count(self, what: str) -> None:
        """Count a frame as "answered", "repeated" or "too_old"."""
        with self._lock:
            self._counts[what] += 1
            if what != "too_old":
                self._last_answer_at = time.time()

    def status(self) -> CameraStatus:
        """How it is now."""
        with self._lock:
            last = self._last
            return CameraStatus(
                name=self.name,
                source=self.uri.shown,
                state=self._state,
                since=self._since,
                reason=self._reason,
                frames=self._frames,
                dropped=self._slot.dropped,
                reconnects=self._reconnects,
                size=(last.width, last.height) if last else None,
                fps=self._rate.at(time.monotonic()),
                last_frame_at=last.captured_at if last else None,
                last_frame_age_s=time.monotonic() - last.captured_monotonic if last else None,
                last_answer_at=self._last_answer_at,
                reader=self._reader,
                **self._counts,
            )

    def close(self) -> None:
        """End it, with its process and its thread. Once more is harmless."""
        self._closing.set()
        self._slot.end(discard=True)
        with self._lock:
            process, thread = self._process, self._thread
        if process is not None:
            process.stop()
        if thread is None:
            self._enter(CameraState.ENDED, "closed")
        elif thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> Camera:
        self.start()
        return self

    def __iter__(self) -> Iterator[Frame]:
        """Newest frame after newest frame, until it is closed or a source that has an end has come to it."""
        self.start()
        while self.wait():
            frame = self.take()
            if frame is not None:
                yield frame

    def _supervise(self) -> None:
        """The camera's thread: connection after connection."""
        reason = "closed"
        while not self._closing.is_set():
            end = self._connection()
            if self._closing.is_set():
                break
            if isinstance(end, Over):
                reason = end.reason
                break
            self._enter(CameraState.FAILED if end.lasting else CameraState.RECONNECTING, end.reason)
            self._closing.wait(self.options.longest_wait_s if end.lasting else self._backoff.next_wait_s())
        self._enter(CameraState.ENDED, reason)
        self._slot.end(discard=False)

    def _connection(self) -> Lost | Over:
        """One connection from its attempt to its end."""
        process = CaptureProcess()
        try:
            self._watchdog.begin(time.monotonic())
            process.start(self.uri, self.options)
            with self._lock:
                self._process = process
            return self._follow(process)
        except SourceError as error:
            return Lost(str(error))
        except Exception as error:  # whatever it is, the next attempt may do better
            log.exception("%s: an error that was not foreseen", self.name)
            return Lost(f"an error that was not foreseen: {error!r}")
        finally:
            self._backoff.settle(self._watchdog.gave_frames_s)
            with self._lock:
                self._process = None
            self._let_go(process)

    def _follow(self, process: CaptureProcess) -> Lost | Over:
        """Hear the process until this connection is lost, or `close` kills it."""
        first_index = self._frames
        while not self._closing.is_set():
            message = process.receive(self._watchdog.next_look_s(time.monotonic()))
            now = time.monotonic()
            if message is None and not process.alive:
                message = Failed("other", process.exit_reason or "the capture process has closed its connection")
            if message is not None:
                self._watchdog.hear(message, now)
            if isinstance(message, Opened):
                self._note_stream(message)
            if isinstance(message, Captured):
                self._note_frame(message, first_index + message.number, now)
            match self._watchdog.verdict(now):
                case Lost() as lost:
                    return lost
                case Over() as over:
                    return over if self.uri.has_end else Lost(over.reason)
                case Stale(reason):
                    self._enter(CameraState.STALE, reason)
                case Live():
                    self._enter(CameraState.LIVE)
            if isinstance(message, Captured):
                self._slot.put(CapturedFrame(process, message, first_index + message.number, self.uri.shown))
                if self.on_frame is not None:
                    self._tell(self.on_frame)
        return Over("closed")

    def _let_go(self, process: CaptureProcess) -> None:
        try:
            self._slot.detach()
        except SourceError as error:
            log.debug("%s: %s", self.name, error)
        process.kill()

    def _note_stream(self, opened: Opened) -> None:
        with self._lock:
            self._reader = opened.reader
        if opened.fps > 0:
            self.fps = opened.fps
        log.debug("%s: %s", self.name, opened)

    def _note_frame(self, captured: Captured, index: int, now: float) -> None:
        last = self._last
        if last is not None and (last.width, last.height) != (captured.width, captured.height):
            log.info(
                "%s gives %d x %d pixels (was %d x %d)",
                self.name,
                captured.width,
                captured.height,
                last.width,
                last.height,
            )
        with self._lock:
            self._last = captured
            self._frames = index + 1
            self._rate.count(self._frames, now)

    def _enter(self, state: CameraState, reason: str = "") -> None:
        """Be in a state. Only a change is logged and told; another reason for the same state is merely kept."""
        with self._lock:
            self._reason = reason
            before, since = self._state, self._since_monotonic
            if before is state:
                return
            self._state, self._since, self._since_monotonic = state, time.time(), time.monotonic()
            if before in (CameraState.RECONNECTING, CameraState.FAILED) and state in (
                CameraState.LIVE,
                CameraState.STALE,
            ):
                self._reconnects += 1
            change = StateChange(self.name, self._since, before, state, reason, self._since_monotonic - since)
        log_change(change)
        if self.on_change is not None:
            self._tell(self.on_change, change)

    def _tell(self, callback: Callable[..., None], *told: object) -> None:
        """A callback that raises is logged, and does not end the camera."""
        try:
            callback(*told)
        except Exception:
            log.exception("%s: a callback raised", self.name)
