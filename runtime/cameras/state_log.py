"""The log's line for a camera that has come into another state."""

from __future__ import annotations

import logging

from .status import CameraState, StateChange

log = logging.getLogger(__name__)

_LEVELS = {
    CameraState.STALE: logging.WARNING,
    CameraState.RECONNECTING: logging.WARNING,
    CameraState.FAILED: logging.ERROR,
}


def log_change(change: StateChange) -> None:
    """One line, with the change's parts as fields for structured logs: a warning or an error where it is trouble."""
    fields = {
        "camera": change.camera,
        "state": str(change.after),
        "before": str(change.before),
        "reason": change.reason,
        "lasted_s": round(change.lasted_s, 3),
    }
    log.log(_LEVELS.get(change.after, logging.INFO), "%s", change, extra=fields)
