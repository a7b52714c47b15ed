"""`palijet run` with cameras: reloaded at SIGHUP, ended by SIGTERM or by who reads it, and plain about what cannot be."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx
import pytest
from free_port import free_port
from until import until

from palijet.demo.clip import Clip, write_clip

PALIJET = str(Path(sys.executable).with_name("palijet"))

CAMERA = """
[[camera]]
name = "{name}"
source = "synthetic://?seed={seed}&width=320&height=240"
fps = 10
prompts = ["caption en"]
"""


@contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [PALIJET, "run", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def cameras(status: Path) -> dict[str, dict[str, Any]]:
    """By name, of the status file; none while it is not there yet."""
    if not status.exists():
        return {}
    return {camera["name"]: camera for camera in json.loads(status.read_text())["cameras"]}


def test_a_reload_adds_and_removes_cameras_and_keeps_the_healthy_one(demo_bundle: Path, tmp_path: Path) -> None:
    file, status = tmp_path / "cameras.toml", tmp_path / "status.json"
    kept, gone, new = (CAMERA.format(name=name, seed=seed) for seed, name in enumerate(("kept", "gone", "new")))
    file.write_text(kept + gone)
    with running(demo_bundle, "--cameras", file, "--status", status, "--jsonl", tmp_path / "out") as process:
        until(
            lambda: all(camera["answered"] > 2 for camera in cameras(status).values()) and len(cameras(status)) == 2, 60
        )
        live_since = cameras(status)["kept"]["since"]
        file.write_text(kept.replace("prompts", "promts") + new)  # refused: what is watched stays as it is
        process.send_signal(signal.SIGHUP)
        file_before = cameras(status)
        until(lambda: cameras(status)["gone"]["answered"] > file_before["gone"]["answered"] + 2, 60)
        file.write_text(kept + new)
        process.send_signal(signal.SIGHUP)
        until(lambda: set(cameras(status)) == {"kept", "new"} and cameras(status)["new"]["answered"] > 2, 60)
        assert cameras(status)["kept"]["since"] == live_since
        assert cameras(status)["kept"]["reconnects"] == 0
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.search(r"cameras stay as they are: .*cameras\.toml, line 6, column 1: .*did you mean 'prompts'\?", said)
    assert "frames answered" in said
    assert "Traceback" not in said
    for line in (tmp_path / "out").read_text().splitlines():
        assert json.loads(line)["camera"] in ("kept", "gone", "new")


def test_a_terminal_that_is_closed_ends_a_run_and_finishes_its_files(demo_bundle: Path, tmp_path: Path) -> None:
    video, status = tmp_path / "out.mp4", tmp_path / "status.json"
    belt = ["--source", "belt=synthetic://?width=320&height=240", "--prompt", "caption en"]
    with running(demo_bundle, *belt, "--save", video, "--status", status, "--jsonl", tmp_path / "out") as process:
        until(lambda: cameras(status).get("belt", {}).get("answered", 0) > 5, 60)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 0
    (written,) = tmp_path.glob("*.mp4")
    assert cv2.VideoCapture(str(written)).read()[0]
    assert not list(tmp_path.glob(".*"))
    assert cameras(status)["belt"]["state"] == "ended"
    assert not json.loads(status.read_text())["loop_alive"]
    last = json.loads((tmp_path / "out").read_text().splitlines()[-1])
    assert (last["camera"], last["state"]) == ("belt", "ended")


def test_a_reload_that_is_asked_for_while_the_model_loads_waits_for_it() -> None:
    code = """
import signal, os
from palijet.on_signal import OnSignal
with OnSignal(signal.SIGHUP) as hangup:
    os.kill(os.getpid(), signal.SIGHUP)
    print("loaded", flush=True)
    hangup.then(lambda: print("reloaded", flush=True))
    import time; time.sleep(0.5)
os.kill(os.getpid(), signal.SIGHUP)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert done.stdout.split() == ["loaded", "reloaded"]
    assert done.returncode == -signal.SIGHUP  # what it did before, it does again


def test_nothing_is_written_over_what_is_read(demo_bundle: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    write_clip(clip, Clip(frames=3, width=320, height=240))
    before = clip.read_bytes()
    for arguments, sentence in (
        (["--save", clip], "would be written over their source clip.mp4"),
        (
            ["--sink", tmp_path / "a.jsonl", "--jsonl", f"{tmp_path}/../{tmp_path.name}/a.jsonl"],
            "a.jsonl; leave one out",
        ),
        (["--jsonl", tmp_path / "a.json", "--status", tmp_path / "a.json"], "both write"),
    ):
        with running(demo_bundle, "--source", clip, "--prompt", "caption en", *arguments) as process:
            _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert sentence in said
    assert clip.read_bytes() == before


def test_a_run_whose_results_reached_nobody_fails(demo_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    belt = ["--source", "belt=synthetic://?width=320&height=240", "--prompt", "caption en", "--limit", "3"]
    with running(demo_bundle, *belt, "--sink", f"snapshots:{tmp_path / 'file' / 'folder'}") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert "error: " in said


def test_what_waits_on_disk_is_said_at_the_end(
    demo_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    belt = ["--source", "belt=synthetic://?width=320&height=240", "--prompt", "caption en", "--limit", "3"]
    with running(demo_bundle, *belt, "--sink", f"http://127.0.0.1:{free_port()}/") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.search(r"webhook 127\.0\.0\.1:\d+#\w+: \d results wait on disk; the next run delivers them", said)


def test_a_reader_that_goes_ends_a_live_run_quietly(demo_bundle: Path) -> None:
    source = "synthetic://?width=320&height=240"
    with running(demo_bundle, "--source", f"belt={source}", "--prompt", "caption en") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["camera"] == "belt"
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_the_page_of_a_run_tells_of_a_dead_camera_beside_a_live_one(demo_bundle: Path) -> None:
    arguments = [
        "--source",
        "belt=synthetic://?width=320&height=240",
        "--source",
        "dead=rtsp://ann:secret@127.0.0.1:9/x",
    ]
    with running(demo_bundle, *arguments, "--prompt", "caption en", "--page", "0", "--log-format", "json") as process:
        assert process.stderr is not None
        said = ""
        while "page: " not in said:
            said = process.stderr.readline()
        url = said.partition("page: ")[2].strip()

        def states() -> dict[str, str]:
            return {camera["name"]: camera["state"] for camera in httpx.get(url + "status").json()["cameras"]}

        until(lambda: states() == {"belt": "live", "dead": "reconnecting"}, 60)
        assert httpx.get(url + "readyz").status_code == 200
        assert httpx.get(url + "healthz").status_code == 200
        metrics = httpx.get(url + "metrics").text
        assert 'palijet_camera_state{camera="dead",state="reconnecting"} 1.0' in metrics
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 0
    assert "secret" not in rest + metrics


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--source", "rstp://host/x", "--prompt", "y"], "did you mean rtsp://?"),
        (["--source", "rtsp://", "--prompt", "y"], "has no host"),
        (["--source", "CLIP"], "nothing is asked"),
        (["--prompt", "y"], "no source is given"),
        (["--source", "a=0", "--source", "a=1", "--prompt", "y"], "two sources are called a"),
        (["--source", "0", "--prompt", "y", "--crop", "1,2,3"], "give X0,Y0,X1,Y1"),
        (["--source", "0", "--prompt", "y", "--rotation", "45"], "give 0, 90, 180 or 270"),
        (["--source", "0", "--prompt", "y", "--page", "x"], "give PORT or HOST:PORT"),
        (["--source", "0", "--prompt", "y", "--sink", "ftp://x"], "is no sink"),
        (["--source", "0", "--prompt", "y", "--fps", "0"], "give frames per second above 0"),
        (["--cameras", "nowhere.toml"], "nowhere.toml"),
        (["--cameras", "nowhere.toml", "--prompt", "y"], "leave out --source and --prompt"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(
    arguments: list[str], sentence: str, demo_bundle: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [PALIJET, "run", str(demo_bundle), *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
