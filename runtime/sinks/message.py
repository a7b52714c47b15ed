"""What goes over a network: bytes with a key, by which a receiver can tell what was lost and what came twice."""

from __future__ import annotations

import itertools
import secrets
import time

import msgspec


class Message(msgspec.Struct, frozen=True, array_like=True):
    """One message, whole: it is delivered as it is, now or after a restart."""

    key: str  # its own among all messages of all runs: "{run}-{sequence}"
    topic: str  # what it is about, or where it goes
    body: bytes  # JSON


class Numbering:
    """Numbers messages from 1 up, for as long as the program runs; `run` tells one start of the program from the next.

    A gap within a run is a loss, the same run and sequence again is a doubling.
    """

    def __init__(self) -> None:
        self.run = f"{int(time.time()):x}{secrets.token_hex(3)}"
        self._sequence = itertools.count(1)

    def next(self) -> tuple[int, str]:
        """The next number, and the key it makes."""
        number = next(self._sequence)
        return number, f"{self.run}-{number}"
