"""Is all well: what /healthz and /readyz answer. Both name no camera, for they are asked without a token."""

from __future__ import annotations

from collections import Counter

from ..cameras.status import CameraState
from ..watch.status import WatchStatus


def why_unhealthy(status: WatchStatus, stuck_s: float) -> str | None:
    """Why the process had better be started anew; None: it is well. stuck_s: a batch that takes longer is stuck."""
    if not status.loop_alive:
        return "the answering loop does not run"
    if status.busy_s > stuck_s:
        return (
            f"the answering loop has been at work on one batch, or on giving out its answers, for {status.busy_s:.0f} s"
        )
    return None


def why_not_ready(status: WatchStatus, stuck_s: float) -> str | None:
    """Why no answers are to be expected now; None: they are."""
    if reason := why_unhealthy(status, stuck_s):
        return reason
    if not status.cameras:
        return "there is no camera"
    states = Counter(camera.state for camera in status.cameras)
    if not states[CameraState.LIVE]:
        return "no camera is live: " + ", ".join(f"{count} {state}" for state, count in states.items())
    return None
