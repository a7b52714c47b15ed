"""Which cameras are plugged into this machine, by what address they are read, and in which modes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ASKED_S = 10.0  # a driver that takes longer to tell its modes hangs
CSI_NODE = "vi-output"  # how L4T's driver names the node of a camera at the Jetson's own connector


@dataclass(frozen=True)
class CameraMode:
    """A size, a rate and a format that a camera offers."""

    width: int  # pixels
    height: int
    fps: float
    format: (
        str  # as Video4Linux names it: MJPG, YUYV, H264; RG10 and the like are what a sensor gives to the Jetson's ISP
    )

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.fps:g} fps {self.format}"


@dataclass(frozen=True)
class LocalCamera:
    """A camera of this machine."""

    name: str
    address: str  # to give as --source
    modes: tuple[
        CameraMode, ...
    ] = ()  # none, where v4l2-ctl is not installed (apt install v4l-utils) or the driver tells none


def list_modes(node: str) -> str:
    """What v4l2-ctl says about a device; empty where it is not installed, or the device does not answer."""
    try:
        return subprocess.run(
            ["v4l2-ctl", "--device", node, "--list-formats-ext"], capture_output=True, text=True, timeout=ASKED_S
        ).stdout
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""


def list_cameras(root: Path = Path("/"), ask: Callable[[str], str] = list_modes) -> list[LocalCamera]:
    """Every camera that Video4Linux knows of; those at a Jetson's CSI connectors by their csi:// address.

    Argus is taken to count CSI cameras in the order of their nodes; where a board's own device tree has it otherwise,
    `nvgstcapture-1.0 --sensor-id` tells which is which. root: where /sys is; ask: gives what `v4l2-ctl` says about a node.
    """
    nodes = sorted(
        (root / "sys/class/video4linux").glob("video*"), key=lambda node: int(node.name.removeprefix("video"))
    )
    found: list[LocalCamera] = []
    sensors = 0
    for node in nodes:
        name = _read(node / "name")
        if name.startswith(CSI_NODE):
            modes = parse_modes(ask(f"/dev/{node.name}"))
            found.append(LocalCamera(name.partition(",")[2].strip() or name, f"csi://{sensors}", modes))
            sensors += 1
        elif _read(node / "index") in ("", "0"):  # further nodes of a camera carry its metadata
            modes = parse_modes(ask(f"/dev/{node.name}"))
            found.append(LocalCamera(name, f"v4l2:///dev/{node.name}", modes))
    return found


def parse_modes(told: str) -> tuple[CameraMode, ...]:
    """The modes of `v4l2-ctl --list-formats-ext` (v4l-utils, utils/v4l2-ctl/v4l2-ctl-common.cpp, print_video_formats_ext)."""
    modes = []
    form, size = "", (0, 0)
    for line in told.splitlines():
        if found := re.search(r"\[\d+\]: '(\w+) *'", line):
            form = found[1]
        elif found := re.search(r"Size: Discrete (\d+)x(\d+)", line):
            size = int(found[1]), int(found[2])
        elif found := re.search(r"Interval: Discrete .*\(([\d.]+) fps\)", line):
            modes.append(CameraMode(*size, float(found[1]), form))
    return tuple(modes)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""  # a camera that is being unplugged
