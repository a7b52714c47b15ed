"""/metrics: Prometheus' own tool and parser accept it, and its counters are what was fed."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from answered_frames import answered_frame
from capture_stand_in import StandInCapture
from prometheus_client.parser import text_string_to_metric_families
from until import until

import palijet
from palijet.runtime.cameras.camera import Camera
from palijet.runtime.cameras.options import CameraOptions
from palijet.runtime.cameras.status import CameraState, CameraStatus
from palijet.runtime.metrics import Metrics
from palijet.runtime.model import Question
from palijet.runtime.page.options import PageOptions
from palijet.runtime.page.server import PageServer
from palijet.runtime.result import Timings
from palijet.runtime.sinks.sink import SinkStatus
from palijet.runtime.sources import parse_uri
from palijet.runtime.watch.status import WatchStatus

FIRST = Timings(
    preprocess=1, vision=20, prefill=30, decode=40, total=91, tokens=7, decoder_calls=5, drafted=3, accepted=2
)
SECOND = replace(FIRST, tokens=11, decoder_calls=9)
STATUS = WatchStatus(
    started_at=1_700_000_000.0,
    cameras=(
        CameraStatus(
            "gate",
            "rtsp://gate/stream",
            CameraState.LIVE,
            since=time.time(),
            frames=900,
            dropped=500,
            too_old=4,
            answered=396,
            repeated=6,
            reconnects=2,
            last_frame_at=time.time() - 7000,
            last_frame_age_s=100.0,
        ),
        CameraStatus('door "7"\\north', "rtsp://door", CameraState.FAILED, since=time.time(), reason="wrong password"),
    ),
    sinks=(
        SinkStatus(
            "mqtt broker", ready=False, queued=3, delivered=10, dropped=1, failed=5, reason="refused", spooled=8
        ),
        SinkStatus("jsonl out.jsonl", ready=True, queued=0, delivered=17, dropped=0, failed=0),
    ),
    answered=396,
    tokens=18,
    busy_s=0.25,
    loop_alive=True,
)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def scrape() -> Iterator[bytes]:
    """What the server gives once ten frames have been answered, each by two prompts that were asked together."""
    metrics = Metrics(lambda: STATUS, backend="onnxruntime 1.2")
    server = PageServer(PageOptions(port=0), lambda: STATUS, metrics)
    server.start()
    try:
        for _ in range(10):
            metrics.answered(answered_frame("gate", FIRST, SECOND, frame_age=0.28))
        answer = httpx.get(server.url + "metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        yield answer.content
    finally:
        server.close()


@pytest.fixture
def samples(scrape: bytes) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(scrape.decode())
        for sample in family.samples
    }


def test_promtool_finds_nothing_to_say(scrape: bytes) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt install prometheus")
    checked = subprocess.run([promtool, "check", "metrics"], input=scrape, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_no_series_is_given_twice(scrape: bytes) -> None:
    series = [line.rpartition(" ")[0] for line in scrape.decode().splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))


@pytest.mark.parametrize(
    ("name", "value"),
    [("frames", 900), ("dropped_frames", 500), ("too_old_frames", 4), ("answered_frames", 396), ("repeated_frames", 6)],
)
def test_counters_of_a_camera_are_those_of_its_status(samples: Samples, name: str, value: int) -> None:
    assert of(samples, f"palijet_camera_{name}_total", camera="gate") == value


def test_a_camera_is_in_one_state(samples: Samples) -> None:
    for camera, state in (("gate", "live"), ('door "7"\\north', "failed")):
        found = {one: of(samples, "palijet_camera_state", camera=camera, state=str(one)) for one in CameraState}
        assert found == {one: float(str(one) == state) for one in CameraState}


def test_silence_is_the_time_since_the_last_frame_and_absent_before_the_first(samples: Samples) -> None:
    assert of(samples, "palijet_camera_silence_seconds", camera="gate") == 100, "whatever the wall clock says"
    assert [dict(labels) for name, labels in samples if name == "palijet_camera_silence_seconds"] == [
        {"camera": "gate"}
    ]


def test_counters_of_sinks_are_those_of_their_status(samples: Samples) -> None:
    names = ("delivered_total", "dropped_total", "failures_total", "queued", "spooled", "ready")
    assert [of(samples, f"palijet_sink_{name}", sink="mqtt broker") for name in names] == [10, 1, 5, 3, 8, 0]
    assert of(samples, "palijet_sink_ready", sink="jsonl out.jsonl") == 1


def test_tokens_and_decoder_calls_are_counted_for_every_answer(samples: Samples) -> None:
    assert of(samples, "palijet_tokens_total", camera="gate") == 10 * (7 + 11)
    assert of(samples, "palijet_decoder_calls_total", camera="gate") == 10 * (5 + 9)
    assert of(samples, "palijet_drafted_tokens_total", camera="gate") == 10 * 2 * 3
    assert of(samples, "palijet_accepted_tokens_total", camera="gate") == 10 * 2 * 2


def test_stage_times_are_counted_once_for_prompts_that_are_asked_together(samples: Samples) -> None:
    for stage in ("preprocess", "vision", "prefill", "decode", "total"):
        assert of(samples, "palijet_stage_seconds_count", camera="gate", stage=stage) == 10
        in_s = 10 * getattr(FIRST, stage) / 1e3
        assert of(samples, "palijet_stage_seconds_sum", camera="gate", stage=stage) == pytest.approx(in_s)


def test_a_frame_is_encoded_once_however_often_it_is_asked_about() -> None:
    later = replace(
        FIRST, prefill=5, decode=15, total=41
    )  # a condition held, so it was asked once more: 20 ms of its own
    metrics = Metrics(lambda: STATUS)
    metrics.answered(answered_frame("gate", FIRST, SECOND, later))
    metrics.answered(answered_frame("gate", FIRST))
    text = metrics.text().decode()
    expected = {
        "preprocess": (2, 2),
        "vision": (2, 40),
        "prefill": (3, 65),
        "decode": (3, 95),
        "total": (2, 91 + 20 + 91),
    }
    for stage, (count, in_ms) in expected.items():
        assert f'palijet_stage_seconds_count{{camera="gate",stage="{stage}"}} {float(count)}\n' in text
        (told,) = re.findall(rf'palijet_stage_seconds_sum{{camera="gate",stage="{stage}"}} (.*)', text)
        assert float(told) == pytest.approx(in_ms / 1e3)


def test_the_model_tells_every_answer_about_a_frame_the_same_time_of_encoding(model: palijet.Model) -> None:
    picture = np.full((48, 64, 3), 90, np.uint8)
    encoded = model.encode([picture])
    answers = [model.ask(encoded, [Question(0, prompt)])[0].timings for prompt in ("caption en", "detect part")]
    assert len({(one.preprocess, one.vision) for one in answers}) == 1
    assert all(one.vision > 0 for one in answers)
    assert all(one.total >= one.preprocess + one.vision + one.prefill + one.decode for one in answers)


def test_a_cameras_silence_is_measured_by_a_clock_that_never_jumps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = StandInCapture(tmp_path, monkeypatch)
    capture.plan(["frames 1", "sleep 1000"])
    with Camera(parse_uri("rtsp://door.test/1"), CameraOptions(silence_s=1000)) as door:
        until(lambda: door.status().frames == 1)
        time.sleep(0.3)
        monkeypatch.setattr(time, "time", lambda: 0.0)
        silence_s = door.status().last_frame_age_s
    assert silence_s is not None
    assert 0.3 <= silence_s < 60


def test_the_age_of_a_frame_is_that_of_its_last_answer() -> None:
    metrics = Metrics(lambda: STATUS)
    frame = answered_frame("gate", FIRST, SECOND)
    first, second = frame.results
    metrics.answered(replace(frame, results=(replace(first, frame_age=0.1), replace(second, frame_age=0.4))))
    assert 'palijet_frame_age_seconds_sum{camera="gate"} 0.4\n' in metrics.text().decode()


def test_the_age_of_a_frame_falls_into_its_bucket(samples: Samples) -> None:
    assert of(samples, "palijet_frame_age_seconds_bucket", camera="gate", le="0.2") == 0
    assert of(samples, "palijet_frame_age_seconds_bucket", camera="gate", le="0.3") == 10
    assert of(samples, "palijet_frame_age_seconds_sum", camera="gate") == pytest.approx(2.8)


def test_the_loop_and_the_build_are_told(samples: Samples) -> None:
    assert of(samples, "palijet_loop_alive") == 1
    assert of(samples, "palijet_loop_busy_seconds") == 0.25
    assert of(samples, "palijet_start_time_seconds") == 1_700_000_000.0
    (build,) = [dict(labels) for name, labels in samples if name == "palijet_build_info"]
    assert build["backend"] == "onnxruntime 1.2"


def test_repeated_answers_take_no_tokens_and_no_time() -> None:
    metrics = Metrics(lambda: STATUS)
    metrics.answered(answered_frame("gate", FIRST, repeated=True))
    text = metrics.text().decode()
    assert 'palijet_tokens_total{camera="gate"} 0.0' in text
    assert 'palijet_stage_seconds_count{camera="gate"' not in text
    assert 'palijet_frame_age_seconds_count{camera="gate"} 1.0' in text


def test_a_frame_about_which_nothing_was_asked_is_no_trouble() -> None:
    metrics = Metrics(lambda: STATUS)
    metrics.answered(answered_frame("gate"))
    assert 'palijet_tokens_total{camera="gate"} 0.0' in metrics.text().decode()


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]
