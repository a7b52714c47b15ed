"""Where the live page is served, and to whom."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class PageOptions:
    """Of the page and of /metrics, /healthz and /readyz, which one server serves."""

    host: str = "127.0.0.1"  # what it is bound to; 0.0.0.0: every interface
    port: int = 8080  # 0: any that is free
    token: str | None = None  # who has it may look; None: anybody on this machine, and from elsewhere one is made
    stuck_s: float = 60.0  # a batch that takes longer: the answering loop is stuck, and /healthz says so
    longest_side: int = 1280  # pixels of a picture on the page; larger ones are scaled down
    jpeg_quality: int = 80  # 1 to 100

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"the page's port is {self.port}; give 1 to 65535, or 0 for any that is free")
        if self.token is not None and not re.fullmatch(r"[A-Za-z0-9._~-]{8,}", self.token):
            raise InputError("the page's token cannot be used; give 8 or more letters, digits and . _ ~ -")
        if not self.stuck_s > 0:
            raise InputError(f"stuck_s is {self.stuck_s}; give seconds above 0")
        if self.longest_side < 16:
            raise InputError(f"longest_side is {self.longest_side}; give 16 pixels or more")
        if not 1 <= self.jpeg_quality <= 100:
            raise InputError(f"jpeg_quality is {self.jpeg_quality}; give 1 to 100")

    @property
    def on_loopback(self) -> bool:
        """Only this machine reaches it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """An address by which a machine reaches only itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name; any other may be anybody's
        return host == "localhost"
