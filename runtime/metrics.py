"""What Prometheus is told: counters of cameras and sinks from a snapshot, and histograms of ages and stages from every answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from .cameras.status import CameraState, CameraStatus
from .errors import SinkError
from .sinks.sink import SinkStatus

try:
    from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError:
    raise SinkError("prometheus-client is not installed; run: pip install 'palijet[page]'") from None

if TYPE_CHECKING:
    from .result import StreamResult, Timings
    from .sinks.sink import AnsweredFrame
    from .watch.status import WatchStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # of Prometheus' text format

_AGES_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0)
_STAGES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Is fed every answered frame, and asks how the whole is when it is read."""

    def __init__(self, status: Callable[[], WatchStatus], *, backend: str = "") -> None:
        """backend: what the model runs on, for `palijet_build_info`."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._frame_age = Histogram(
            "palijet_frame_age_seconds",
            "From the capture of a frame to its answers.",
            ["camera"],
            buckets=_AGES_S,
            registry=self._registry,
        )
        self._stage = Histogram(
            "palijet_stage_seconds",
            "Time of a stage of a frame; prefill and decode of each call of the model about it. Answers of one call share it.",
            ["camera", "stage"],
            buckets=_STAGES_S,
            registry=self._registry,
        )
        self._answers = _AnswerCounters()
        self._registry.register(self._answers)
        self._registry.register(_Snapshot(status, backend))

    def answered(self, answered: AnsweredFrame) -> None:
        """Count a frame's answers; some microseconds, on the answering thread."""
        if answered.results:  # the last one is the oldest
            oldest_s = max(result.frame_age for result in answered.results)
            self._frame_age.labels(answered.camera).observe(oldest_s)
        fresh = [result for result in answered.results if not result.repeated]
        self._answers.count(answered.camera, fresh)
        for stage, took_ms in _stages([result.timings for result in fresh]):
            self._stage.labels(answered.camera, stage).observe(took_ms / 1e3)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format. From any thread."""
        return generate_latest(self._registry)


def _stages(answers: Sequence[Timings]) -> Iterator[tuple[str, float]]:
    """Each stage of a frame and what it took, milliseconds: the picture's once, those of each call of the model about it.

    A frame is encoded once, and every answer about it tells that time as its own; answers of one call tell the same of all else.
    """
    if not answers:
        return
    preprocess, vision = answers[0].preprocess, answers[0].vision
    calls = {(answer.prefill, answer.decode, answer.total) for answer in answers}
    yield from (("preprocess", preprocess), ("vision", vision))
    for prefill, decode, _ in calls:
        yield from (("prefill", prefill), ("decode", decode))
    encoded = preprocess + vision
    yield "total", encoded + sum(total - encoded for *_, total in calls)


class _AnswerCounters(Collector):
    """What answers took, by camera; repeated ones took nothing."""

    _HELP = (
        ("palijet_tokens", "Tokens of answers."),
        ("palijet_decoder_calls", "Runs of the decoder, once for each answer that took part."),
        ("palijet_drafted_tokens", "Guessed tokens that were verified."),
        ("palijet_accepted_tokens", "Guessed tokens that held."),
    )

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, int, int, int]] = {}  # replaced, never changed: a reader needs no lock

    def count(self, camera: str, results: list[StreamResult]) -> None:
        tokens, calls, drafted, accepted = self._counts.get(camera, (0, 0, 0, 0))
        for timings in (result.timings for result in results):
            tokens += timings.tokens
            calls += timings.decoder_calls
            drafted += timings.drafted
            accepted += timings.accepted
        self._counts[camera] = (tokens, calls, drafted, accepted)

    def collect(self) -> Iterator[Metric]:
        counts = self._counts.copy()
        for place, (name, text) in enumerate(self._HELP):
            family = CounterMetricFamily(name, text, labels=["camera"])
            for camera, values in counts.items():
                family.add_metric([camera], values[place])
            yield family


class _Snapshot(Collector):
    """Counters that are kept elsewhere, as they are when Prometheus asks."""

    def __init__(self, status: Callable[[], WatchStatus], backend: str) -> None:
        self._status = status
        self._backend = backend

    def describe(self) -> list[Metric]:
        return []  # without it, registering would ask for a snapshot before there is one

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        build = GaugeMetricFamily("palijet_build_info", "What runs.", labels=["version", "backend"])
        build.add_metric([version("palijet"), self._backend], 1)
        yield build
        yield GaugeMetricFamily("palijet_start_time_seconds", "When watching began, since 1970.", status.started_at)
        yield GaugeMetricFamily("palijet_loop_alive", "1: the answering loop runs.", int(status.loop_alive))
        yield GaugeMetricFamily("palijet_loop_busy_seconds", "For how long it is at work on a batch.", status.busy_s)
        yield from _of_cameras(status.cameras)
        yield from _of_sinks(status.sinks)


_CAMERA_COUNTERS: tuple[tuple[str, str, Callable[[CameraStatus], int]], ...] = (
    ("frames", "Frames captured.", lambda camera: camera.frames),
    ("dropped_frames", "Frames passed over because a newer one came first.", lambda camera: camera.dropped),
    ("too_old_frames", "Frames not answered because they were too old.", lambda camera: camera.too_old),
    ("answered_frames", "Frames answered.", lambda camera: camera.answered),
    ("repeated_frames", "Frames answered by the last answer.", lambda camera: camera.repeated),
    ("reconnects", "New connections after the first.", lambda camera: camera.reconnects),
)

_SINK_COUNTERS: tuple[tuple[str, str, Callable[[SinkStatus], int]], ...] = (
    ("delivered", "Items delivered.", lambda sink: sink.delivered),
    ("dropped", "Items dropped because the queue was full.", lambda sink: sink.dropped),
    ("failures", "Attempts that failed.", lambda sink: sink.failed),
)

_SINK_GAUGES: tuple[tuple[str, str, Callable[[SinkStatus], int]], ...] = (
    ("queued", "Items that wait in memory.", lambda sink: sink.queued),
    ("spooled", "Items that wait on disk.", lambda sink: sink.spooled),
    ("ready", "1: open and not failing.", lambda sink: int(sink.ready)),
)


def _of_cameras(cameras: tuple[CameraStatus, ...]) -> Iterator[Metric]:
    for name, text, value in _CAMERA_COUNTERS:
        counter = CounterMetricFamily(f"palijet_camera_{name}", text, labels=["camera"])
        for camera in cameras:
            counter.add_metric([camera.name], value(camera))
        yield counter
    states = GaugeMetricFamily("palijet_camera_state", "1: it is in this state.", labels=["camera", "state"])
    silences = GaugeMetricFamily("palijet_camera_silence_seconds", "Since the last frame.", labels=["camera"])
    for camera in cameras:
        for state in CameraState:
            states.add_metric([camera.name, str(state)], int(camera.state is state))
        if camera.last_frame_age_s is not None:
            silences.add_metric([camera.name], camera.last_frame_age_s)
    yield states
    yield silences


def _of_sinks(sinks: tuple[SinkStatus, ...]) -> Iterator[Metric]:
    for name, text, value in _SINK_COUNTERS:
        counter = CounterMetricFamily(f"palijet_sink_{name}", text, labels=["sink"])
        for sink in sinks:
            counter.add_metric([sink.name], value(sink))
        yield counter
    for name, text, value in _SINK_GAUGES:
        gauge = GaugeMetricFamily(f"palijet_sink_{name}", text, labels=["sink"])
        for sink in sinks:
            gauge.add_metric([sink.name], value(sink))
        yield gauge
