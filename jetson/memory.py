"""Memory and swap of this machine, from /proc/meminfo."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FreeMemory:
    """Bytes that a process can have."""

    memory: int  # free, or held by caches that give way
    swap: int

    @property
    def total(self) -> int:
        return self.memory + self.swap


def free_memory(root: Path = Path("/")) -> FreeMemory:
    """What is free on the machine whose /proc lies under `root` (proc(5): MemAvailable, SwapFree)."""
    text = (root / "proc/meminfo").read_text()

    def entry(name: str) -> int:
        match = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
        return int(match.group(1)) * 1024 if match else 0

    return FreeMemory(entry("MemAvailable"), entry("SwapFree"))
