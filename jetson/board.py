"""What machine this is: the board, its L4T release, processor and memory, read from /proc and /etc."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Board:
    """A machine, as benchmarks name it."""

    name: str  # "NVIDIA Jetson Orin Nano Developer Kit", or the processor's name on a PC
    cores: int
    memory_bytes: int
    l4t: str | None  # "36.4.3" on JetPack 6.2; None off a Jetson

    def __str__(self) -> str:
        release = f", L4T {self.l4t}" if self.l4t else ""
        return f"{self.name}, {self.cores} cores, {self.memory_bytes / 2**30:.0f} GiB{release}"


def read_board(root: Path = Path("/")) -> Board:
    """The machine whose /proc and /etc lie under `root`.

    A Jetson names itself in the device tree and its release in /etc/nv_tegra_release, as NVIDIA's Jetson Linux
    Developer Guide describes; a PC is named after its processor.
    """
    return Board(
        name=_device_tree_model(root) or _processor(root),
        cores=_cores(root),
        memory_bytes=_memory_bytes(root),
        l4t=_l4t_release(root),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # not every machine has every one of these files
        return ""


def _device_tree_model(root: Path) -> str:
    return _text(root / "proc/device-tree/model").strip("\0 \n")


def _processor(root: Path) -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    return match.group(1) if match else platform.machine()


def _cores(root: Path) -> int:
    listed = re.findall(r"^processor\s*:", _text(root / "proc/cpuinfo"), re.MULTILINE)
    return len(listed) or os.cpu_count() or 1


def _memory_bytes(root: Path) -> int:
    match = re.search(r"^MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else 0


def _l4t_release(root: Path) -> str | None:
    # "# R36 (release), REVISION: 4.3, GCID: ..., BOARD: generic, ..."
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", _text(root / "etc/nv_tegra_release"))
    return f"{match.group(1)}.{match.group(2)}" if match else None
