"""Which JetPack a Jetson Linux (L4T) release belongs to, and what comes with it.

Source: NVIDIA's JetPack archive (developer.nvidia.com/embedded/jetpack-archive) and the release notes of each version.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class JetPack:
    """A JetPack release."""

    version: str
    cuda: str
    tensorrt: str

    @property
    def is_supported(self) -> bool:
        """TensorRT 8.6 is the oldest whose engines PaliJet builds."""
        return int(self.version.split(".")[0]) >= 6


_RELEASES = {
    "35": JetPack("5.1", "11.4", "8.5"),
    "36.2": JetPack("6.0 DP", "12.2", "8.6"),
    "36.3": JetPack("6.0", "12.2", "8.6"),
    "36.4": JetPack("6.2", "12.6", "10.3"),  # 36.4.0 is 6.1, from 36.4.3 on 6.2: the same libraries
    "38.2": JetPack("7.0", "13.0", "10.13"),
    "38.4": JetPack("7.1", "13.0", "10.13"),
    "39": JetPack("7.2", "13", "10.16"),
}


def jetpack_of(l4t: str) -> JetPack | None:
    """The JetPack of a release such as "36.4.3"; None of one that is not known."""
    major, _, rest = l4t.partition(".")
    return _RELEASES.get(f"{major}.{rest.split('.')[0]}") or _RELEASES.get(major)
