"""Where a sink's undelivered messages wait, and how many of them: apart from the spool, whose SQLite some builds of Python lack."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .file_name import file_name


@dataclass(frozen=True)
class SpoolOptions:
    """Where messages wait, and how many at most; the oldest are dropped beyond that."""

    path: Path | None = None  # None: a file named after the sink, in $XDG_STATE_HOME/palijet
    max_messages: int = 100_000
    max_bytes: int = 256 * 1024 * 1024  # of the messages themselves

    def path_for(self, sink: str) -> Path:
        """Of the sink's file."""
        if self.path is not None:
            return self.path
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return Path(state) / "palijet" / f"{file_name(sink)}.sqlite"
