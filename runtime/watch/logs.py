"""Log lines for people or for machines: one for each change of a camera's state, none for a frame."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import IO, Literal

from ..errors import InputError

Format = Literal["text", "json"]

LEVELS = ("debug", "info", "warning", "error")


def configure(level: str = "info", format: Format = "text", stream: IO[str] | None = None) -> None:
    """Send the log of the whole process to `stream`: PaliJet's from `level` on, other libraries' from warnings on.

    stream: standard error, as it is when a line is written, where none is given.

    Raises:
        InputError: there is no such level or format.
    """
    if level not in LEVELS:
        raise InputError(f"the log's level is {level!r}; give {', '.join(LEVELS)}")
    if format not in ("text", "json"):
        raise InputError(f"the log's format is {format!r}; give text or json")
    handler: logging.Handler = _StandardError() if stream is None else logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines() if format == "json" else _Lines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(__name__.partition(".")[0]).setLevel(level.upper())


class _StandardError(logging.Handler):
    """Looks standard error up for each line, so that lines find their place above a terminal view that has taken it over."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except (OSError, ValueError):  # nobody reads it any more, or it is closed
            self.handleError(record)


class _Lines(logging.Formatter):
    """For people: `2026-03-14 09:26:53 warning  gate is reconnecting: no frame for 5.0 s (was live for 84.2 s)`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(level)-7s  %(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        record.level = record.levelname.lower()
        record.message = " ".join(record.message.splitlines())
        return super().formatMessage(record)


class _JsonLines(logging.Formatter):
    """For machines: time (UTC), level, logger and message, then what the line gives as `extra`, and a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}  # of every record
