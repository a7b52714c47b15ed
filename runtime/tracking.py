"""Objects keep an id from frame to frame, and zones and lines count them: ByteTrack of the `trackers` package, one per label.

A missing object is looked for during five answers, and a second at least; so the same settings serve thirty answers per second and
one in ten seconds.
"""

from __future__ import annotations

import statistics
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from .errors import PaliJetError
from .result import DetectedObject, StreamResult
from .zones import Box, Line, LineCounter, Zone, ZoneCounter

if TYPE_CHECKING:
    from trackers import ByteTrackTracker

__all__ = ["Line", "Tracker", "Zone"]

_LOOKED_FOR = 5  # answers, for which a missing object is looked for
_LOOKED_FOR_S = 1.0  # and for so long at least
_SIGHTS = 2  # in a row, before an object has an id: a box that is there once is often none
_LEAST_OVERLAP = 0.1  # of a box and where its track is foreseen; intersection over union, trackers' own
_DOUBLED = 0.7  # overlap from which two boxes of one label are the same thing, named twice
_INTERVALS = 15  # whose median is the usual one


class Tracker:
    """Follows the objects of one prompt's answers on one camera. Labels are kept apart: a nut never takes a bolt's id.

    An object has its id from its second sight on. All boxes count as sure, whatever their score: a greedy answer holds no object
    that PaliGemma doubts, and a geometric mean over four places of 1024 each is low for good boxes too. (On the demo's clip the
    scores of 991 true boxes are around 0.50, those of 99 others around 0.47; a detector's usual threshold is 0.6.)
    """

    def __init__(self, zones: Sequence[Zone] = (), lines: Sequence[Line] = ()) -> None:
        """
        Raises:
            PaliJetError: trackers is not installed.
        """
        try:
            from trackers import ByteTrackTracker
        except ImportError:
            raise PaliJetError("trackers is not installed; run: pip install 'palijet[tracking]'") from None
        self._new_tracker = ByteTrackTracker
        self._labels: dict[str, _Label] = {}
        self._counters: list[ZoneCounter | LineCounter] = [
            *(ZoneCounter(zone) for zone in zones),
            *(LineCounter(line) for line in lines),
        ]
        self._clock = _Clock()
        self._next_id = count(1)

    def update(self, result: StreamResult, *, captured_monotonic: float | None = None) -> StreamResult:
        """The result with ids on its objects and with the counts of zones and lines. Give them in order; frames may be skipped.

        captured_monotonic: of its frame, always or never; a wall clock that is set then changes nothing. None: the result's own
        `captured_at` is taken, by which a clock that is set forward reads as a gap, behind which all objects are new.
        """
        now = self._clock.at(result.captured_at if captured_monotonic is None else captured_monotonic)
        groups: dict[str, list[int]] = defaultdict(list)  # label -> places in result.objects
        for place, thing in enumerate(result.objects):
            groups[thing.label].append(place)
        for label in groups.keys() - self._labels.keys():
            self._labels[label] = _Label(self._tracker(), self._next_id)
        objects = list(result.objects)
        lost: set[int] = set()
        for label, tracked in list(self._labels.items()):
            places = groups[label]
            ids, gone = tracked.update([objects[place] for place in places], now, self._clock.looked_for)
            lost |= gone
            for place, track_id in zip(places, ids, strict=True):
                objects[place] = replace(objects[place], track_id=track_id)
            if tracked.forgotten:
                del self._labels[label]
        boxes = {
            thing.track_id: _fractions(thing, result.image_size) for thing in objects if thing.track_id is not None
        }
        counts = tuple(counter.update(boxes, lost) for counter in self._counters)
        return replace(result, objects=tuple(objects), zones=counts)

    def _tracker(self) -> ByteTrackTracker:
        return self._new_tracker(
            frame_rate=1.0,  # per unit of `_Clock`, so that a track is foreseen in steps of answers
            minimum_consecutive_frames=_SIGHTS,
            minimum_iou_threshold=_LEAST_OVERLAP,
        )


class _Label:
    """The tracks of the objects of one label."""

    def __init__(self, tracker: ByteTrackTracker, next_id: count[int]) -> None:
        self._tracker = tracker
        self._next_id = next_id
        self._ids: dict[int, int] = {}  # the tracker's own -> ours, which no two labels share

    @property
    def forgotten(self) -> bool:
        """It follows nothing any more."""
        return not self._tracker.tracks

    def update(
        self, objects: Sequence[DetectedObject], now: float, looked_for: float
    ) -> tuple[list[int | None], set[int]]:
        """The id of each object, None while it is new; and the ids that are lost for good. Times are those of `_Clock`."""
        self._tracker.maximum_time_without_update = looked_for
        seen: Any = self._tracker.update(_detections(objects), timestamp=now)
        ids: list[int | None] = [None] * len(objects)
        for place, track in zip(seen.data.get("place", ()), seen.tracker_id, strict=True):
            if track >= 0:
                if track not in self._ids:
                    self._ids[int(track)] = next(self._next_id)
                ids[place] = self._ids[int(track)]
        followed: Any = self._tracker.tracked_objects
        alive = set(followed.tracker_id.tolist())
        return ids, {self._ids.pop(track) for track in self._ids.keys() - alive}


class _Clock:
    """Time that only goes forward. Its unit is the usual interval between answers."""

    def __init__(self) -> None:
        self._last: float | None = None  # seconds since 1970, or by time.monotonic()
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)  # seconds
        self._now = 0.0

    def at(self, captured: float) -> float:
        elapsed_s = 0.0 if self._last is None else captured - self._last
        self._last = captured
        if elapsed_s > 0:
            self._intervals.append(elapsed_s)
        else:  # the first, or the wall clock was set back
            elapsed_s = self._usual_s
        self._now += elapsed_s / self._usual_s
        return self._now

    @property
    def looked_for(self) -> float:
        """For how long a missing object is, in this time."""
        return max(_LOOKED_FOR, _LOOKED_FOR_S / self._usual_s)

    @property
    def _usual_s(self) -> float:
        return statistics.median(self._intervals) if self._intervals else _LOOKED_FOR_S


def _detections(objects: Sequence[DetectedObject]) -> Any:
    """supervision's Detections, which carry the place of each object.

    No doubles, for two tracks would quarrel about one thing; and no confidence, so that all are sure.
    """
    import numpy as np
    from supervision import Detections

    if not objects:
        return Detections.empty()
    boxes = np.array([thing.box for thing in objects], dtype=np.float32)  # [n, 4] x0 y0 x1 y1, pixels
    scores = np.array([thing.score for thing in objects], dtype=np.float32)
    found = Detections(boxes, confidence=scores, data={"place": np.arange(len(objects))})
    found = found.with_nms(_DOUBLED, class_agnostic=True)
    found.confidence = None
    return found


def _fractions(thing: DetectedObject, size: tuple[int, int]) -> Box:
    (x0, y0, x1, y1), (width, height) = thing.box, size
    return x0 / width, y0 / height, x1 / width, y1 / height
