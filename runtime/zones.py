"""Zones and lines in a camera's picture, and the counting of tracked objects in and over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from .errors import InputError
from .result import ZoneCount

Box = tuple[float, float, float, float]  # x0 y0 x1 y1, fractions of the picture's width and height
Point = tuple[float, float]  # likewise


@dataclass(frozen=True)
class Zone:
    """A part of the picture. Fractions, so that it holds for every size of the picture: 0, 0 is top left, 1, 1 bottom right."""

    name: str
    polygon: tuple[Point, ...]  # its corners, three or more
    anchor: Literal["center", "bottom"] = "center"  # the point of a box that counts; bottom: where something stands

    def __post_init__(self) -> None:
        if len(self.polygon) < 3:
            raise InputError(f"polygon of zone {self.name} has {len(self.polygon)} corners; give three or more")
        _check("polygon", f"zone {self.name}", self.polygon)


@dataclass(frozen=True)
class Line:
    """A line to be crossed, in fractions of the picture. What goes to the right, seen from `start` to `end`, enters."""

    name: str
    start: Point
    end: Point

    def __post_init__(self) -> None:
        _check("from", f"line {self.name}", (self.start,))
        _check("to", f"line {self.name}", (self.end,))
        if self.start == self.end:
            raise InputError(f"to of line {self.name} is where it begins; give two points")


class ZoneCounter:
    """Counts what is in a zone. What is first seen inside has entered, what is lost inside has left: inside = entered - left."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self._polygon = np.array(zone.polygon, dtype=np.float32)  # [corners, 2]
        self._inside: set[int] = set()
        self._entered = 0

    def update(self, boxes: Mapping[int, Box], lost: set[int]) -> ZoneCount:
        """boxes: of the objects that are seen, by track id; lost: ids that will not come again."""
        now = {track_id for track_id, box in boxes.items() if self._holds(box)}
        self._entered += len(now - self._inside)
        self._inside = now | (self._inside - boxes.keys() - lost)
        return ZoneCount(self.zone.name, len(self._inside), self._entered, self._entered - len(self._inside))

    def _holds(self, box: Box) -> bool:
        x0, y0, x1, y1 = box
        point = ((x0 + x1) / 2, y1 if self.zone.anchor == "bottom" else (y0 + y1) / 2)
        return cv2.pointPolygonTest(self._polygon, point, measureDist=False) >= 0


class LineCounter:
    """Counts what crosses a line: a box that was wholly on one side and is wholly on the other, its centre beside the line.

    A track's side is known for as long as the track is, so neither a missed sight nor a seldom answer hides a crossing.
    (supervision's LineZone forgets a track that is missed twice.)
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self._right: dict[int, bool] = {}  # the side where each track was last wholly seen
        self._entered = self._left = 0

    def update(self, boxes: Mapping[int, Box], lost: set[int]) -> ZoneCount:
        """boxes: of the objects that are seen, by track id; lost: ids that will not come again."""
        for track_id in lost:
            self._right.pop(track_id, None)
        for track_id, box in boxes.items():
            right = self._side(box)
            if right is None:
                continue
            if self._right.setdefault(track_id, right) is not right:
                self._entered += right
                self._left += not right
            self._right[track_id] = right
        return ZoneCount(self.line.name, 0, self._entered, self._left)

    def _side(self, box: Box) -> bool | None:
        """Right of the line? None: upon it, or past its ends."""
        (ax, ay), (bx, by) = self.line.start, self.line.end
        dx, dy = bx - ax, by - ay
        x0, y0, x1, y1 = box
        along = ((x0 + x1) / 2 - ax) * dx + ((y0 + y1) / 2 - ay) * dy
        if not 0 <= along <= dx * dx + dy * dy:
            return None
        across = [dx * (y - ay) - dy * (x - ax) for x in (x0, x1) for y in (y0, y1)]
        if min(across) > 0:
            return True  # y grows downwards, so this is the right hand
        return False if max(across) < 0 else None


def _check(key: str, what: str, points: tuple[Point, ...]) -> None:
    for point in points:
        if not all(0 <= part <= 1 for part in point):
            x, y = point
            raise InputError(f"{key} of {what} has the point {x:g}, {y:g}; give fractions of the picture, from 0 to 1")
