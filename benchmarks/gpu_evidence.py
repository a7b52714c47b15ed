"""What a GPU shows: kernels and engines beside the CPU, tokens beside the FP32 bundle, CUDA graphs beside plain launches.

python -m benchmarks.gpu_evidence [PAGE.md]: see gpu_evidence.sh. A step that lacks something says what.
"""

from __future__ import annotations

import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

import palijet
from palijet.demo.calibration import demo_calibration
from palijet.demo.evaluate import questions_about
from palijet.demo.tour import CHECKPOINT
from palijet.export import ExportOptions, export
from palijet.jetson.board import read_board
from palijet.jetson.gpu import read_gpu
from palijet.runtime import _native
from palijet.runtime.bundle import open_bundle
from palijet.runtime.errors import PaliJetError
from palijet.runtime.nvidia_libraries import find_cudart, find_libcuda

PRECISIONS = ("fp16", "int8", "int4")
SCENES = range(8_000_000, 8_000_020)


@dataclass(frozen=True)
class Row:
    """A line of the page."""

    what: str
    result: str


def main() -> int:
    gpu = read_gpu()
    name = gpu.name.replace(" ", "-").lower() if gpu else "no-gpu"
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/gpu-evidence") / f"{name}-{date}.md"
    rows = [Row("machine", str(read_board())), Row("Python", platform.python_version())]
    rows.append(Row("GPU", f"{gpu.name}, compute capability {gpu.compute_capability}" if gpu else "none"))
    rows.append(
        Row("native core's TensorRT headers", str(_native.TENSORRT_MAJOR or "none: TensorRtEngine is not built"))
    )
    with tempfile.TemporaryDirectory() as folder:
        for title, step in STEPS.items():
            print(title, file=sys.stderr)
            try:
                rows += list(step(Path(folder)))
            except (PaliJetError, OSError, subprocess.SubprocessError) as error:
                rows.append(Row(title, f"not run: {error}"))
    page.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"# {gpu.name if gpu else 'No GPU'}, {date}",
        "",
        "Written by `benchmarks/gpu_evidence.sh`.",
        "",
        "| | |",
        "|---|---|",
    ]
    page.write_text("\n".join([*lines, *(f"| {row.what} | {row.result} |" for row in rows)]) + "\n")
    print(page)
    return 0


def device(_: Path) -> Iterator[Row]:
    opened = _native.CudaDevice(runtime=find_cudart(), driver=find_libcuda())
    yield Row("CUDA runtime", opened.runtime_version)
    yield Row("CUDA kernels", opened.kernel_note or "loaded")


def kernels(folder: Path) -> Iterator[Row]:
    """Row copies and frames by the CUDA kernels beside the host's, bit for bit: a case of the native tests."""
    build = folder / "native"
    configure = [
        "cmake",
        "-S",
        ".",
        "-B",
        build,
        "-DPALIJET_PYTHON=OFF",
        "-DPALIJET_TESTS=ON",
        "-DCMAKE_BUILD_TYPE=Release",
    ]
    for command in (configure, ["cmake", "--build", build, "--parallel"]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            yield Row("kernels beside the host", f"not run: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
            return
    tests = build / "tests" / "native" / "native_tests"
    done = subprocess.run([tests, "--test-case=a real GPU*"], capture_output=True, text=True)
    said = [line for line in done.stdout.splitlines() if "skipped:" in line or "equal" in line or "ERROR" in line]
    yield Row("kernels beside the host", said[0].strip() if said else f"exit code {done.returncode}")


def bundles(folder: Path) -> Iterator[Row]:
    """The demo at every precision; those that need it are calibrated."""
    calibration = demo_calibration(24)
    for precision in ("fp32", *PRECISIONS):
        quantized = None if precision in ("fp32", "fp16") else calibration
        export(CHECKPOINT, folder / precision, ExportOptions(precision, calibration=quantized))
    yield Row("bundles", ", ".join(("fp32", *PRECISIONS)))


def engines(folder: Path) -> Iterator[Row]:
    """Engines built here, and each beside onnxruntime, run from Python."""
    from palijet.export.engine_builder import BuildOptions, build
    from palijet.export.engine_verifier import verify

    for precision in PRECISIONS:
        bundle = open_bundle(folder / precision)
        engines, built = build(bundle, BuildOptions("tensorrt"))
        yield Row(f"{precision} engines by {built.key.tensorrt}", f"{sum(built.seconds.values()):.0f} s")
        try:
            for difference in verify(bundle, engines, built, "tensorrt"):
                yield Row(
                    f"{precision} {difference.engine}: {difference.output}",
                    f"{difference.relative:.2e} off onnxruntime, relative",
                )
        except PaliJetError as error:
            yield Row(f"{precision} beside onnxruntime", f"not run: {error}")


def tokens(folder: Path) -> Iterator[Row]:
    """Answers of every backend that opens, beside FP32 on the CPU: preprocessing, both engines, cache and decode loop."""
    reference = palijet.load(folder / "fp32", backend="cpu")
    asked = [(image, [question.prompt for question in questions]) for image, questions in map(questions_about, SCENES)]
    expected = [answer.tokens for image, prompts in asked for answer in reference.predict(image, prompts)]
    for backend in ("tensorrt", "cuda"):
        for precision in PRECISIONS if backend == "tensorrt" else ("fp32", "fp16"):
            try:
                model = palijet.load(folder / precision, backend=backend)
            except PaliJetError as error:
                yield Row(f"{precision} on {backend}", f"not run: {error}")
                continue
            started = time.perf_counter()
            found = [answer.tokens for image, prompts in asked for answer in model.predict(image, prompts)]
            each = 1000 * (time.perf_counter() - started) / len(asked)
            same = sum(ours == theirs for ours, theirs in zip(found, expected, strict=True))
            yield Row(
                f"{precision} on {backend}",
                f"{same} of {len(expected)} answers token for token FP32's; {each:.1f} ms per frame",
            )


def graphs(folder: Path) -> Iterator[Row]:
    """A decode step replayed as a CUDA graph, and launched plainly."""
    from palijet.runtime.backend import open_backend
    from palijet.runtime.engines import PLANS, read_engine_sets

    bundle = open_bundle(folder / "fp16")
    opened = open_backend(bundle, "tensorrt")
    assert opened.device is not None
    plan = next(iter(read_engine_sets(bundle))) / PLANS["decoder"]
    for cuda_graphs in (True, False):
        engine = _native.TensorRtEngine(str(plan), opened.device, cuda_graphs=cuda_graphs)
        feeds = decode_step(bundle, engine)
        times = []
        for _ in range(220):
            started = time.perf_counter()
            engine.run(feeds, {"token": [1], "logprob": [1]})
            times.append(1000 * (time.perf_counter() - started))
        note = f"{engine.replays} replays{', ' + engine.graph_note if engine.graph_note else ''}"
        yield Row(
            f"decode step, {'CUDA graph' if cuda_graphs else 'plain'}",
            f"{statistics.median(times[20:]):.3f} ms median of 200; {note}",
        )


def decode_step(bundle: palijet.runtime.Bundle, engine: _native.Engine) -> dict[str, np.ndarray]:
    """One row behind 64 cached ones."""
    dims = {"B": 1, "T": 1, "P": 64, "N": 1}
    feeds = {}
    for name, dtype, shape in engine.inputs:
        names = (
            ["B", "T"]
            if name == "inputs_embeds"
            else ["B", "P"]
            if "." in name
            else ["N" if name in ("logits_index", "target") else "B"]
        )
        sizes = [dims[names[axis]] if size < 0 else size for axis, size in enumerate(shape)]
        feeds[name] = np.zeros(sizes, dtype)
    feeds["past_length"][:] = 60
    return feeds


def sanitizer(folder: Path) -> Iterator[Row]:
    """compute-sanitizer over a few answers."""
    tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if tool is None:
        yield Row("compute-sanitizer", "not run: it is not installed (cuda-sanitizer)")
        return
    script = (
        "import sys, palijet; from palijet.demo.evaluate import questions_about; "
        "model = palijet.load(sys.argv[1], backend='tensorrt'); "
        "print(model.predict(questions_about(8000000)[0], ['caption en', 'ocr'], max_tokens=8))"
    )
    done = subprocess.run(
        [tool, "--error-exitcode=7", sys.executable, "-c", script, folder / "fp16"], capture_output=True, text=True
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR SUMMARY" in line]
    yield Row("compute-sanitizer", said[-1].strip("= ") if said else f"not run: exit code {done.returncode}")


STEPS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "device and kernels": device,
    "kernels": kernels,
    "bundles": bundles,
    "engines": engines,
    "tokens": tokens,
    "CUDA graphs": graphs,
    "compute-sanitizer": sanitizer,
}


if __name__ == "__main__":
    sys.exit(main())
