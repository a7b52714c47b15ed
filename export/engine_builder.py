"""A bundle in, TensorRT engines out, in the bundle: one at a time, whole or not at all."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from ..jetson.gpu import read_gpu
from ..jetson.memory import free_memory
from ..jetson.memory_plan import BUILD_FACTOR, CUDA_BYTES
from ..runtime.bundle import DECODER_GRAPH, VISION_GRAPH, Bundle, Manifest, file_spec
from ..runtime.engines import (
    ENGINE_SET,
    ENGINES,
    PLANS,
    EngineKey,
    EngineSet,
    ProfileSpec,
    find_engines,
    graph_hashes,
)
from ..runtime.errors import EngineError
from .engine_profiles import ShapeLimits, engine_profiles
from .staging import move_into_place, staging_folder
from .tensorrt_api import TensorRt, open_tensorrt

__all__ = ["BuildEstimate", "BuildOptions", "ShapeLimits", "build", "estimate"]

GRAPHS = {"vision": VISION_GRAPH, "decoder": DECODER_GRAPH}

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps of it are done and how many there are."""


@dataclass(frozen=True)
class BuildOptions:
    """How engines are built."""

    tensorrt: str = "auto"  # "tensorrt" or "rtx": which of them
    limits: ShapeLimits = field(default_factory=ShapeLimits)
    workspace_bytes: int = 1 << 30  # scratch memory of the fastest kernels
    timing_cache: Path | None = None  # None: under ~/.cache/palijet
    compute_capability: str | None = None  # of another GPU than this machine's, where TensorRT can
    rebuild: bool = False  # also where engines of the same key are there
    ignore_memory: bool = False  # build although memory looks too small


def build(
    bundle: Bundle, options: BuildOptions | None = None, progress: Progress | None = None
) -> tuple[Path, EngineSet]:
    """Build the engines of a bundle for the TensorRT and the GPU of this machine; those that are there already are kept.

    Interrupted or failing, it leaves the bundle as it was.

    Raises:
        EngineError: no TensorRT, no GPU, not enough memory, a precision that this TensorRT lacks, or a build that fails.
        BundleError: the disk is full or cannot be written.
    """
    options = options or BuildOptions()
    report = progress or (lambda part, done, total: None)
    trt = open_tensorrt(options.tensorrt)
    _check_precision(bundle.manifest, trt)
    graphs = {part: _graph(bundle, graph, trt) for part, graph in GRAPHS.items()}
    key = EngineKey(
        tensorrt=trt.name,
        compute_capability=_target(trt, options),
        precision=bundle.manifest.precision,
        graphs=graph_hashes(bundle),
        profiles=engine_profiles(bundle.manifest, options.limits),
    )
    target = bundle.path / ENGINES / key.folder
    if target.exists() and not options.rebuild:
        return find_engines(bundle, trt.name, key.compute_capability)
    weights = _weight_bytes(bundle)
    if not options.ignore_memory:
        _check_memory(bundle, estimate(bundle, options).peak_bytes)
    with _leaving_no_empty_folder(target.parent), staging_folder(target, sum(weights.values()), bundle.path) as staging:
        plans, layers, seconds = {}, {}, {}
        for part in PLANS:
            started = time.monotonic()
            layers[part] = _build_one(
                trt, graphs[part], key.profiles[part], bundle, options, staging / PLANS[part], part, report
            )
            seconds[part] = round(time.monotonic() - started, 1)
            plans[PLANS[part]] = file_spec(staging / PLANS[part])
        built = EngineSet(
            key=key,
            plans=plans,
            layers=layers,
            seconds=seconds,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        (staging / ENGINE_SET).write_bytes(msgspec.json.format(msgspec.json.encode(built), indent=2) + b"\n")
        move_into_place(staging, target)
    rates = _read_rates(_rates_path(trt)) | {key.precision: sum(seconds.values()) / (sum(weights.values()) / 1e9)}
    _replace(_rates_path(trt), msgspec.json.encode(rates))
    return target, built


@dataclass(frozen=True)
class BuildEstimate:
    """What a build will take."""

    peak_bytes: int
    seconds: float | None  # None before the first build on this machine


def estimate(bundle: Bundle, options: BuildOptions | None = None) -> BuildEstimate:
    """Peak memory from the larger engine's weights; time from how long a gigabyte took in earlier builds here.

    Raises:
        EngineError: there is no TensorRT.
    """
    options = options or BuildOptions()
    weights = _weight_bytes(bundle)
    rates = _read_rates(_rates_path(open_tensorrt(options.tensorrt)))
    seconds = (
        sum(weights.values()) / 1e9 * rates[bundle.manifest.precision] if bundle.manifest.precision in rates else None
    )
    peak = int(BUILD_FACTOR * max(weights.values())) + options.workspace_bytes + CUDA_BYTES
    return BuildEstimate(peak, seconds)


def _weight_bytes(bundle: Bundle) -> dict[str, int]:
    return {part: bundle.manifest.files[f"{graph}.data"].bytes for part, graph in GRAPHS.items()}


def _rates_path(trt: TensorRt) -> Path:
    return _cache_folder() / f"{trt.name.replace(' ', '-')}.rates.json"


def _read_rates(path: Path) -> dict[str, float]:
    """Seconds per gigabyte of weights, by precision."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except (OSError, msgspec.DecodeError):  # none yet, or cut
        return {}


def _check_precision(manifest: Manifest, trt: TensorRt) -> None:
    precisions = {getattr(manifest.precisions, part) for part in manifest.precisions.__struct_fields__}
    if "int8-weight" in precisions:
        raise EngineError(
            "TensorRT has no kernels for weights alone in INT8; export with --precision int8 (weights and activations), int4 or "
            "fp16, or run this bundle on onnxruntime (backend='cpu')"
        )
    if "int4" in precisions and not trt.has_int4:
        raise EngineError(
            f"INT4 needs TensorRT 10 (JetPack 6.1 or newer) and this is {trt.name}; export with --precision int8 or fp16"
        )


def _graph(bundle: Bundle, graph: str, trt: TensorRt) -> Path:
    """A strongly typed network takes its types from the graph, so it is given the one in FP16."""
    return bundle.tensorrt_graph(graph) if trt.is_strongly_typed else bundle.path / graph


def _target(trt: TensorRt, options: BuildOptions) -> str:
    if options.compute_capability is not None:
        return options.compute_capability
    gpu = read_gpu()
    if gpu is not None:
        return gpu.compute_capability
    if trt.is_rtx:
        return "any"  # finished on the device, when it is first run
    raise EngineError(
        "there is no NVIDIA GPU here, and engines are built on the device that runs them; run `palijet build` there, "
        "or use the bundle as it is on onnxruntime (backend='cpu')"
    )


def _check_memory(bundle: Bundle, needed: int) -> None:
    free = free_memory()
    if needed > free.total:
        raise EngineError(
            f"building the engines of {bundle.path} takes about {needed / 1e9:.1f} GB and this machine has "
            f"{free.memory / 1e9:.1f} GB of memory and {free.swap / 1e9:.1f} GB of swap free; add swap "
            f"({(needed - free.total) / 1e9:.1f} GB or more: fallocate, mkswap, swapon), close what else runs, export at a smaller "
            "precision (int4), or build on a larger device with the same GPU and TensorRT (--ignore-memory tries all the same)"
        )


def _build_one(
    trt: TensorRt,
    graph: Path,
    profiles: tuple[ProfileSpec, ...],
    bundle: Bundle,
    options: BuildOptions,
    plan: Path,
    part: str,
    report: Progress,
) -> dict[str, int]:
    report(f"reading {part}", 0, 0)
    network = trt.parse(graph)
    kinds = trt.layer_kinds(network)
    cache = options.timing_cache or _default_cache(trt)
    precisions = bundle.manifest.precisions
    with _interrupt_flag() as interrupted:

        def step(phase: str, done: int, total: int) -> bool:
            report(f"{part}: {phase}", done, total)
            return not interrupted()

        engine, timings = trt.build(
            network,
            profiles,
            workspace_bytes=options.workspace_bytes,
            is_quantized="int8" in (precisions.vision, precisions.projector, precisions.decoder, precisions.head),
            is_fp16=bundle.manifest.precision != "fp32",
            timing_cache=cache.read_bytes() if cache.exists() else b"",
            compute_capability=options.compute_capability,
            step=step,
        )
    with plan.open("xb") as stream:
        stream.write(engine)
    _replace(cache, timings)
    del engine, network
    gc.collect()  # the next engine gets this one's memory
    return kinds


@contextmanager
def _leaving_no_empty_folder(folder: Path) -> Iterator[None]:
    """What was not built leaves no trace."""
    try:
        yield
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def _interrupt_flag() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, asked from any thread while the main one is inside TensorRT and runs no Python."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    previous = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    pressed = False

    def interrupted() -> bool:
        nonlocal pressed
        try:
            pressed = pressed or signal.SIGINT in os.read(reading, 64)
        except BlockingIOError:  # nothing was pressed since
            return pressed
        return pressed

    try:
        yield interrupted
    finally:
        signal.set_wakeup_fd(previous)
        os.close(reading)
        os.close(writing)


def _default_cache(trt: TensorRt) -> Path:
    """Timings are worth keeping between builds and bundles; TensorRT itself refuses those of another GPU or version."""
    return _cache_folder() / f"{trt.name.replace(' ', '-')}.timings"


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "palijet"


def _replace(path: Path, content: bytes) -> None:
    if not content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as stream:
        stream.write(content)
    Path(stream.name).replace(path)
