"""The boards that PaliJet plans for: their memory, its bandwidth, and the compute capability of their GPU.

Sources: NVIDIA's comparison "Jetson Modules, Support, Ecosystem, and Lineup" (developer.nvidia.com/embedded/jetson-modules) for
memory and bandwidth, NVIDIA's blog "NVIDIA JetPack 6.2 Brings Super Mode to Jetson Orin Nano and Jetson Orin NX Modules" for the
Super modes, the Jetson Linux Developer Guide's "Hardware Reference" for part numbers, and NVIDIA's "CUDA GPU Compute Capability".
"""

from __future__ import annotations

from dataclasses import dataclass

from ..runtime.errors import InputError


@dataclass(frozen=True)
class BoardSpec:
    """A board as it is sold."""

    name: str
    title: str
    memory_bytes: int  # shared by processor and GPU
    bandwidth: float  # bytes per second, at the highest power mode
    compute_capability: str
    parts: tuple[str, ...] = ()  # module part numbers, as the device tree's "compatible" has them


def _gb(count: float) -> int:
    return int(count * 2**30)


BOARDS = {
    board.name: board
    for board in (
        BoardSpec("orin-nano-4gb", "Jetson Orin Nano 4GB", _gb(4), 34e9, "8.7", ("p3767-0004",)),
        BoardSpec("orin-nano-4gb-super", "Jetson Orin Nano 4GB, Super mode", _gb(4), 51e9, "8.7"),
        BoardSpec("orin-nano-8gb", "Jetson Orin Nano 8GB", _gb(8), 68e9, "8.7", ("p3767-0003", "p3767-0005")),
        BoardSpec("orin-nano-8gb-super", "Jetson Orin Nano 8GB, Super mode", _gb(8), 102e9, "8.7"),
        BoardSpec("orin-nx-8gb", "Jetson Orin NX 8GB", _gb(8), 102.4e9, "8.7", ("p3767-0001",)),
        BoardSpec("orin-nx-16gb", "Jetson Orin NX 16GB", _gb(16), 102.4e9, "8.7", ("p3767-0000",)),
        BoardSpec("agx-orin-32gb", "Jetson AGX Orin 32GB", _gb(32), 204.8e9, "8.7", ("p3701-0000", "p3701-0004")),
        BoardSpec("agx-orin-64gb", "Jetson AGX Orin 64GB", _gb(64), 204.8e9, "8.7", ("p3701-0005",)),
        BoardSpec("thor-t4000", "Jetson T4000 (Thor)", _gb(64), 273e9, "11.0"),
        BoardSpec("thor-t5000", "Jetson T5000 (Thor)", _gb(128), 273e9, "11.0", ("p3834-0008",)),
    )
}


def board_spec(name: str) -> BoardSpec:
    """The board of this name.

    Raises:
        InputError: none is called that.
    """
    try:
        return BOARDS[name]
    except KeyError:
        raise InputError(f"a board called {name} is not known; choose one of {', '.join(BOARDS)}") from None


def spec_of_part(compatible: str) -> BoardSpec | None:
    """The board whose part number stands in a device tree's "compatible": "nvidia,p3768-0000+p3767-0005"."""
    for board in BOARDS.values():
        if any(part in compatible for part in board.parts):
            return board
    return None
