"""`palijet doctor`: what this machine is and has, what is wrong with it for PaliJet, and the mend.

Everything is read from files under a root folder, so that another machine's /proc, /sys and /etc can be looked at as well, except
what only the running Python can tell: libraries, and the GPU's driver. What cannot be found out is said to be unknown.
"""

from __future__ import annotations

import ctypes.util
import importlib
import importlib.util
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.inspect import readable_bytes
from .board import Board, read_board
from .boards import BoardSpec, spec_of_part
from .gpu import read_gpu
from .jetpack import jetpack_of
from .memory import free_memory

OK, NOTE, PROBLEM = "ok", "note", "problem"
_SMALL_MEMORY = 16 * 2**30  # boards on which swap decides whether engines can be built
_ENOUGH_SWAP = 4 * 2**30
_ENOUGH_DISK = 10 * 10**9


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    value: str
    status: str = OK  # "ok"; "note": worth knowing; "problem": PaliJet does not run like this
    mend: str = ""


def examine(root: Path = Path("/")) -> list[Finding]:
    """Look at the machine under `root`; libraries and driver are looked at only where that is this machine itself."""
    findings = list(_machine(root)) + list(_power(root)) + list(_memory(root)) + list(_cameras(root))
    if root == Path("/"):
        findings += [*_disk(), *_gpu(bool(read_board(root).l4t)), *_libraries(bool(read_board(root).l4t))]
    return findings


def read_spec(root: Path = Path("/")) -> BoardSpec | None:
    """The board that the device tree names."""
    return spec_of_part(_text(root / "proc/device-tree/compatible"))


def _machine(root: Path) -> Iterator[Finding]:
    board = read_board(root)
    spec = read_spec(root)
    yield Finding("machine", board.name)
    if spec is not None:
        yield Finding(
            "module", f"{spec.title}: {spec.bandwidth / 1e9:.0f} GB/s, compute capability {spec.compute_capability}"
        )
    if board.l4t is None:
        yield _no_jetson(board)
        return
    jetpack = jetpack_of(board.l4t)
    if jetpack is None:
        yield Finding(
            "Jetson Linux", board.l4t, NOTE, "this release is not known to PaliJet; look at `dpkg -l | grep TensorRT`"
        )
    elif not jetpack.is_supported:
        yield Finding(
            "Jetson Linux",
            f"{board.l4t}, JetPack {jetpack.version} (TensorRT {jetpack.tensorrt})",
            PROBLEM,
            "engines need TensorRT 8.6 or newer: flash JetPack 6.2 (Orin) or 7 (Thor) with NVIDIA SDK Manager",
        )
    else:
        int4 = "" if not jetpack.tensorrt.startswith("8") else "; INT4 needs JetPack 6.1 or newer"
        yield Finding(
            "Jetson Linux",
            f"{board.l4t}, JetPack {jetpack.version}: CUDA {jetpack.cuda}, TensorRT {jetpack.tensorrt}",
            NOTE if int4 else OK,
            int4.removeprefix("; "),
        )


def _no_jetson(board: Board) -> Finding:
    return Finding(
        "Jetson Linux",
        "none: this is no Jetson",
        NOTE,
        f"bundles are exported and run here on onnxruntime with {board.cores} cores",
    )


def _power(root: Path) -> Iterator[Finding]:
    modes = {
        int(number): name
        for number, name in re.findall(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", _text(root / "etc/nvpmodel.conf"))
    }
    status = re.search(r"pmode:(\d+)", _text(root / "var/lib/nvpmodel/status"))
    if modes and status:
        current = modes.get(int(status.group(1)), f"mode {int(status.group(1))}")
        best = next((number for number, name in modes.items() if name.startswith("MAXN")), None)
        slow = best is not None and not current.startswith("MAXN")
        yield Finding(
            "power mode",
            f"{current} of {', '.join(modes.values())}",
            NOTE if slow else OK,
            f"sudo nvpmodel -m {best} is the fastest; sudo jetson_clocks holds the clocks up" if slow else "",
        )
    elif modes:
        yield Finding("power mode", "unknown", NOTE, "sudo nvpmodel -q tells it")
    governors = {
        _text(path).strip() for path in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    }
    if governors - {"performance"}:
        yield Finding(
            "clocks",
            ", ".join(sorted(governors)),
            NOTE,
            "they follow the load; for even times: sudo jetson_clocks, or cpupower",
        )


def _memory(root: Path) -> Iterator[Finding]:
    total = read_board(root).memory_bytes
    if not total:
        yield Finding("memory", "unknown", NOTE, "there is no /proc/meminfo here")
        return
    free = free_memory(root)
    yield Finding("memory", f"{readable_bytes(total)}, {readable_bytes(free.memory)} free")
    swaps = [line.split() for line in _text(root / "proc/swaps").splitlines()[1:] if line.split()]
    on_disk = sum(int(fields[2]) * 1024 for fields in swaps if "zram" not in fields[0])
    kinds = ", ".join(f"{fields[0]} {readable_bytes(int(fields[2]) * 1024)}" for fields in swaps) or "none"
    lacking = total < _SMALL_MEMORY and on_disk < _ENOUGH_SWAP
    yield Finding(
        "swap",
        kinds,
        NOTE if lacking else OK,
        "building engines may need more than this memory, and zram is memory too: sudo fallocate -l 8G /swapfile, chmod 600, "
        "mkswap, swapon"
        if lacking
        else "",
    )


def _cameras(root: Path) -> Iterator[Finding]:
    names = {
        path.parent.name: _text(path).strip() for path in sorted((root / "sys/class/video4linux").glob("video*/name"))
    }
    value = ", ".join(f"/dev/{node} ({name})" for node, name in names.items()) or "none on this machine"
    yield Finding("cameras", value)


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    short = free < _ENOUGH_DISK
    yield Finding(
        "disk",
        f"{readable_bytes(free)} free here",
        NOTE if short else OK,
        "a 3B bundle with its engines takes 4 to 12 GB" if short else "",
    )


def _gpu(is_jetson: bool) -> Iterator[Finding]:
    gpu = read_gpu()
    if gpu is not None:
        yield Finding(
            "GPU", f"{gpu.name}, compute capability {gpu.compute_capability}, {readable_bytes(gpu.memory_bytes)}"
        )
    elif is_jetson:
        yield Finding(
            "GPU",
            "the CUDA driver sees none",
            PROBLEM,
            "in a container: start it with --runtime nvidia; else reinstall nvidia-l4t-cuda",
        )
    else:
        yield Finding("GPU", "none that CUDA sees", NOTE, "the cpu backend needs none; engines are built on the Jetson")
    library = ctypes.util.find_library("nvinfer")
    module = _version("tensorrt")
    if library or module:
        yield Finding("TensorRT", f"library {library or 'not found'}, Python module {module or 'not found'}")
        if is_jetson and not module:
            yield Finding(
                "TensorRT for Python",
                "not found",
                PROBLEM,
                "sudo apt install python3-libnvinfer; make the environment with --system-site-packages",
            )
    elif is_jetson:
        yield Finding(
            "TensorRT", "not found", PROBLEM, "sudo apt install nvidia-tensorrt, or nvidia-jetpack for all of it"
        )
    else:
        yield Finding("TensorRT", "not found", NOTE, "not needed for export; `palijet build` runs on the Jetson")


def _libraries(is_jetson: bool) -> Iterator[Finding]:
    yield Finding("Python", sys.version.split()[0])
    runtime = _module("onnxruntime")
    if runtime is None:
        yield Finding("onnxruntime", "not installed", NOTE if is_jetson else PROBLEM, "pip install 'palijet[cpu]'")
    else:
        yield Finding("onnxruntime", f"{runtime.__version__}, {', '.join(runtime.get_available_providers())}")
    cv2 = _module("cv2")
    if cv2 is None:
        yield Finding(
            "OpenCV",
            "not importable",
            PROBLEM,
            "pip install opencv-python, or opencv-python-headless where there is no libGL",
        )
        return
    gstreamer = re.search(r"GStreamer:\s+(YES|NO)", cv2.getBuildInformation())
    has = gstreamer is not None and gstreamer.group(1) == "YES"
    yield Finding(
        "OpenCV",
        f"{cv2.__version__}, {'with' if has else 'without'} GStreamer",
        NOTE if is_jetson and not has else OK,
        "CSI cameras and hardware decoding go through GStreamer: JetPack's own OpenCV has it"
        if is_jetson and not has
        else "",
    )


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _version(name: str) -> str | None:
    return getattr(_module(name), "__version__", None) if importlib.util.find_spec(name) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").replace("\0", "\n")
    except OSError:  # not every machine has every one of these files
        return ""
