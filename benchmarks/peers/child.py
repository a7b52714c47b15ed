"""Child processes that end when their parent does: each leads a group of its own, and the whole group is ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_GRACE_S = 5.0  # between asking to end and ending


class ChildError(Exception):
    """A child failed; the message is a sentence that names the log."""


def run_logged(command: Sequence[str], log: Path, variables: Mapping[str, str] | None = None) -> None:
    """Run a command to its end, with all it says in `log`; variables: added to the environment.

    Raises:
        ChildError: it exited with another code than 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as said:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=os.environ | dict(variables or {}),
            start_new_session=True,
        )
        try:
            code = child.wait()
        finally:
            end(child)
    if code:
        raise ChildError(f"{last_line(log) or 'it said nothing'} (exit code {code}; all of it: {log})")


def end(child: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a child and what it started; does nothing where they have ended."""
    for name in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, name)
        except ProcessLookupError:
            break
        try:
            child.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            continue
    child.wait()


def last_line(log: Path) -> str:
    """The last line that says something, at most 300 letters of it."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line[:300] for line in reversed(lines) if line), "")


def interrupt_on_sigterm() -> None:
    """A `kill` unwinds as Ctrl-C does, so that children end; so does Ctrl-C where a shell started this deaf to it."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
