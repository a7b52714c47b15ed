"""What onnxruntime's options do to a bundle's two graphs: python -m benchmarks.session_options BUNDLE [--rounds 3] [--threads 2]

Each option alone is changed from what PaliJet sets, each in a process of its own, in turn: load, vision encoder, a prefill, a step,
and the peak of memory. The decoder is onnxruntime's here, as on processors that PaliJet's own decoder has no kernels for.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from palijet.jetson.board import read_board
from palijet.runtime import open_bundle
from palijet.runtime.bundle import Bundle

from .growth import Rows, process_bytes

PREFILL_ROWS, CACHED_ROWS, STEPS = 272, 288, 16
FIGURES = ("load s", "vision ms", "prefill ms", "step ms", "peak GB")

Change = Callable[[onnxruntime.SessionOptions], object]


def _entry(name: str, value: str) -> Change:
    return lambda options: options.add_session_config_entry(name, value)


def _set(name: str, value: object) -> Change:
    return lambda options: setattr(options, name, value)


CHANGES: dict[str, Change] = {
    "as PaliJet sets them": lambda options: None,
    "threads spin": _entry("session.intra_op.allow_spinning", "1"),
    "threads bound to cores": lambda options: options.add_session_config_entry(
        "session.intra_op_thread_affinities", ";".join(str(2 + i) for i in range(options.intra_op_num_threads - 1))
    ),
    "no memory arena": _set("enable_cpu_mem_arena", False),
    "no memory pattern": _set("enable_mem_pattern", False),
    "weights not prepacked": _entry("session.disable_prepacking", "1"),
    "4-bit products in float32": _entry("session.qdq_matmulnbits_accuracy_level", "1"),
}
SAVED = "optimized graph saved before"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.session_options",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--graphs", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    bundle = open_bundle(options.bundle, verify=False)
    if options.one:
        print(json.dumps(measure(bundle, options.one, options.threads, options.graphs)))
        return 0
    seen: dict[str, list[list[float]]] = {name: [] for name in [*CHANGES, SAVED]}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        save_optimized(bundle, options.threads, Path(folder))
        for number in range(options.rounds):
            for name in list(seen):
                print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr)
                command = [sys.executable, "-m", "benchmarks.session_options", str(options.bundle), "--one", name]
                command += ["--threads", str(options.threads), "--graphs", folder]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    failed[name] = done.stderr.strip().splitlines()[-1]
                else:
                    seen[name].append(json.loads(done.stdout))
    print(f"{read_board()}, {options.threads} threads, onnxruntime {onnxruntime.__version__}; {options.bundle}\n")
    print("| option | " + " | ".join(FIGURES) + " |")
    print("|" + " --- |" * (len(FIGURES) + 1))
    for name, rounds in seen.items():
        medians = [f"{statistics.median(column):.2f}" for column in zip(*rounds, strict=True)]
        print(f"| {name} | " + " | ".join(medians or [failed[name], *["-"] * (len(FIGURES) - 1)]) + " |")
    return 0


def measure(bundle: Bundle, name: str, threads: int, graphs: Path) -> list[float]:
    """FIGURES, of this process. graphs: the folder of the optimized graphs."""
    started = time.perf_counter()
    if name == SAVED:
        options = base_options(threads)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        vision, decoder = (
            onnxruntime.InferenceSession(graphs / f"{part}.onnx", options) for part in ("vision", "decoder")
        )
    else:
        options = base_options(threads)
        CHANGES[name](options)
        vision, decoder = (
            onnxruntime.InferenceSession(graph, options) for graph in (bundle.vision_graph, bundle.decoder_graph)
        )
    load_s = time.perf_counter() - started
    place = vision.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in place.shape]
    pixels = np.random.default_rng(0).uniform(-1, 1, shape).astype(_numpy_type(place.type))
    rows = Rows(bundle, Session(decoder))
    vision.run(None, {place.name: pixels})
    rows.run(PREFILL_ROWS, prefix=True)
    rows.run(1, cached=CACHED_ROWS)
    vision_ms = _median_ms(3, lambda: vision.run(None, {place.name: pixels}))
    prefill_ms = statistics.median(rows.run(PREFILL_ROWS, prefix=True) for _ in range(3))
    step_ms = statistics.median(rows.run(1, cached=CACHED_ROWS) for _ in range(STEPS))
    return [load_s, vision_ms, prefill_ms, step_ms, process_bytes("VmHWM") / 1e9]


def base_options(threads: int) -> onnxruntime.SessionOptions:
    """As cpp_ext/onnx_engine.cpp sets them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "4")
    return options


def save_optimized(bundle: Bundle, threads: int, folder: Path) -> None:
    """Have onnxruntime write both graphs as it has optimized them."""
    for part, graph in (("vision", bundle.vision_graph), ("decoder", bundle.decoder_graph)):
        options = base_options(threads)
        options.optimized_model_filepath = str(folder / f"{part}.onnx")
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", f"{part}.onnx.data")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        onnxruntime.InferenceSession(graph, options)


class Session:
    """onnxruntime's Python session where a native engine is asked for."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.inputs = [(one.name, _numpy_type(one.type), ()) for one in session.get_inputs()]

    def run(self, feeds: dict[str, NDArray[Any]], output_shapes: dict[str, Sequence[int]]) -> None:
        self._session.run(list(output_shapes), feeds)


def _numpy_type(name: str) -> str:
    return {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int32)": "int32"}[name]


def _median_ms(runs: int, work: Callable[[], object]) -> float:
    laps = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        laps.append((time.perf_counter() - started) * 1e3)
    return statistics.median(laps)


if __name__ == "__main__":
    sys.exit(main())
