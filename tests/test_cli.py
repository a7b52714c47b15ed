"""The command line as a user meets it: real processes, their streams and exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from palijet.runtime.sinks.video_writer import VideoWriter

PALIJET = [str(Path(sys.executable).with_name("palijet"))]


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PALIJET, *map(str, arguments)], capture_output=True, text=True, **options)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, scene) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, 25) as writer:
        for seed in range(12):
            writer.write(scene(seed))
    return path


@pytest.mark.parametrize("command", [[], ["export"], ["inspect"], ["run"], ["bench"], ["demo"]])
def test_every_command_has_help(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_the_version_is_told() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("palijet 0.")


def test_export_inspect_and_run_are_the_road_of_a_user(checkpoint: Path, clip: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    exported = run("export", checkpoint, "-o", bundle, "--precision", "fp16")
    assert exported.returncode == 0, exported.stderr
    assert exported.stdout == ""
    shown = run("inspect", bundle, "--json")
    assert json.loads(shown.stdout)["manifest"]["precision"] == "fp16"
    assert "decoder.onnx" in run("inspect", bundle).stdout
    video, lines = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    answered = run(
        "run", bundle, "--source", clip, "--prompt", "caption en", "--prompt", "detect part",
        "--jsonl", lines, "--save", video, "--threads", 1,
    )  # fmt: skip
    assert answered.returncode == 0, answered.stderr
    results = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(result["frame_index"], result["prompt"]) for result in results] == [
        (index, prompt) for index in range(12) for prompt in ("caption en", "detect part")
    ]
    assert int(cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT)) == 12
    assert "12 frames answered" in answered.stderr


def test_results_go_to_standard_output_when_piped(demo_bundle: Path, clip: Path) -> None:
    done = run("run", demo_bundle, "--source", clip, "--prompt", "ocr", "--every", 5, "--limit", 2)
    assert [json.loads(line)["frame_index"] for line in done.stdout.splitlines()] == [0, 5]


def test_bench_tells_its_figures_and_settings(demo_bundle: Path) -> None:
    done = run("bench", demo_bundle, "--runs", 2, "--max-tokens", 6, "--json", "--threads", 1)
    report = json.loads(done.stdout)
    assert report["per_token"]["median"] > 0
    assert report["peak_memory_bytes"] > 1e7
    assert report["settings"]["tokens"] == 6
    assert report["settings"]["machine"]
    assert "tokens per second" in run("bench", demo_bundle, "--runs", 1, "--max-tokens", 3).stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["export", "nowhere", "-o", "out"], "nowhere is not a folder"),
        (["inspect", "nowhere"], "nowhere is not a folder"),
        (["run", "nowhere", "--source", "x", "--prompt", "y"], "nowhere is not a folder"),
        (["run", "BUNDLE", "--source", "nowhere.mp4", "--prompt", "y"], "nowhere.mp4 does not exist"),
        (["run", "BUNDLE", "--source", "CLIP", "--prompt", "<image>"], "which only the model may use"),
        (["run", "BUNDLE", "--source", "CLIP", "--prompt", "y", "--max-tokens", "0"], "give 1 or more"),
        (["run", "BUNDLE", "--source", "CLIP", "--prompt", "y", "--jsonl", "no/such/f"], "cannot be written"),
        (
            ["run", "BUNDLE", "--source", "CLIP", "--prompt", "y", "--save", "no/such/f.mp4"],
            "cannot be written",
        ),
        (["run", "BUNDLE", "--source", "CLIP", "--prompt", "y", "--save", "x.avi"], "ends in .mp4"),
        (["run", "BUNDLE", "--source", "CLIP", "--prompt", "<image>", "--jsonl", "f"], "only the model may use"),
        (["run", "BUNDLE", "--source", "CLIP", "--prompt", "y", "--jsonl", "/dev/full"], "No space left on device"),
        (["run", "BUNDLE", "--source", "CLIP", "--prompt", "y", "--backend", "cuda"], "backend='cpu'"),
    ],
)
def test_errors_are_one_sentence(
    arguments: list[str], sentence: str, demo_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    places = {"BUNDLE": str(demo_bundle), "CLIP": str(clip)}
    done = run(*(places.get(argument, argument) for argument in arguments), cwd=tmp_path)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_the_results_of_an_earlier_run(demo_bundle: Path, clip: Path, tmp_path: Path) -> None:
    lines = tmp_path / "old.jsonl"
    lines.write_text("precious\n")
    assert run("run", demo_bundle, "--source", clip, "--prompt", "<image>", "--jsonl", lines).returncode == 1
    assert lines.read_text() == "precious\n"


def test_a_traceback_is_shown_when_asked_for() -> None:
    for arguments in (["--debug", "inspect", "nowhere"], ["inspect", "nowhere", "--debug"]):
        done = run(*arguments)
        assert done.returncode == 1
        assert "Traceback" in done.stderr


def test_a_reader_that_goes_away_ends_it_quietly(demo_bundle: Path, clip: Path) -> None:
    command = " ".join([*PALIJET, "run", str(demo_bundle), "--source", str(clip), "--prompt", "ocr"])
    done = subprocess.run(["bash", "-c", f"{command} | head -n 1"], capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr


def test_ctrl_c_closes_the_files_and_says_so(demo_bundle: Path, clip: Path, tmp_path: Path) -> None:
    many = tmp_path / "pictures"
    many.mkdir()
    for number in range(3000):
        cv2.imwrite(str(many / f"{number:05}.bmp"), np.zeros((8, 8, 3), np.uint8))
    lines, video = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    process = subprocess.Popen(
        [*PALIJET, "run", str(demo_bundle), "--source", str(many), "--prompt", "caption en",
         "--jsonl", str(lines), "--save", str(video)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (lines.exists() and len(lines.read_text().splitlines()) > 5):
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in said
    results = [json.loads(line) for line in lines.read_text().splitlines()]
    frames = int(cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT))
    assert abs(len(results) - frames) <= 1


def test_importing_palijet_is_quick_and_lean() -> None:
    code = (
        "import sys, palijet; "
        "print([name for name in ('torch', 'transformers', 'onnx', 'onnxruntime', 'cv2', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.stdout.strip() == "[]"


def test_export_without_its_packages_names_them(checkpoint: Path, tmp_path: Path) -> None:
    stub = tmp_path / "hidden"
    stub.mkdir()
    (stub / "onnx_ir.py").write_text("raise ModuleNotFoundError('No module named onnx_ir', name='onnx_ir')")
    environment = os.environ | {"PYTHONPATH": str(stub)}
    done = run("export", checkpoint, "-o", tmp_path / "out", env=environment)
    assert done.returncode == 1
    assert "pip install 'palijet[export]'" in done.stderr
    assert not (tmp_path / "out").exists()
    shutil.rmtree(stub)
