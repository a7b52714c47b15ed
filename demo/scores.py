"""How good answers are: exact shares per task, and the F1 of detections at an IoU of 0.5. Knows no model."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from .questions import Box, Question

IOU_THRESHOLD = 0.5

_OBJECT = re.compile(r"<loc(\d{4})><loc(\d{4})><loc(\d{4})><loc(\d{4})>([^;<]*)")


def read_objects(text: str) -> list[tuple[str, Box]]:
    """Labels and boxes (y0 x0 y1 x1, 0 to 1) of a detection; what is not a whole object is passed over."""
    found = []
    for y0, x0, y1, x1, label in _OBJECT.findall(text):
        found.append((label.strip(), (int(y0) / 1023, int(x0) / 1023, int(y1) / 1023, int(x1) / 1023)))
    return found


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes; 0 if either is empty."""
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    both = height * width
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def matches(truth: list[tuple[str, Box]], found: list[tuple[str, Box]]) -> int:
    """How many found objects are true ones: same label, IoU >= 0.5, each object once, best pairs first."""
    pairs = sorted(
        (
            (iou(true_box, box), i, j)
            for i, (true_label, true_box) in enumerate(truth)
            for j, (label, box) in enumerate(found)
            if label == true_label
        ),
        reverse=True,
    )
    used_true: set[int] = set()
    used_found: set[int] = set()
    for overlap, i, j in pairs:
        if overlap >= IOU_THRESHOLD and i not in used_true and j not in used_found:
            used_true.add(i)
            used_found.add(j)
    return len(used_true)


@dataclass
class Scores:
    """Counts answers one by one; `figures` sums them up."""

    asked: Counter[str] = field(default_factory=Counter)
    exact: Counter[str] = field(default_factory=Counter)
    true_objects: int = 0
    found_objects: int = 0
    matched_objects: int = 0

    def add(self, question: Question, answer: str) -> None:
        """Score one answer."""
        task = question.task
        if task == "ocr" and not question.answer:
            task = "nothing_to_read"
        self.asked[task] += 1
        self.exact[task] += answer == question.answer
        if task.startswith("detect"):
            truth, found = list(question.objects), read_objects(answer)
            self.true_objects += len(truth)
            self.found_objects += len(found)
            self.matched_objects += matches(truth, found)

    def figures(self) -> dict[str, float]:
        """Shares between 0 and 1, and how many answers each stands on."""
        result: dict[str, float] = {
            "answers_exact": self._share("count", "colour", "presence"),
            "counts_exact": self._share("count"),
            "colours_exact": self._share("colour"),
            "presence_exact": self._share("presence"),
            "detection_f1": 2 * self.matched_objects / max(self.true_objects + self.found_objects, 1),
            "detection_precision": self.matched_objects / max(self.found_objects, 1),
            "detection_recall": self.matched_objects / max(self.true_objects, 1),
            "serials_exact": self._share("ocr"),
            "nothing_to_read_exact": self._share("nothing_to_read"),
            "captions_exact": self._share("caption"),
        }
        result = {name: round(value, 4) for name, value in result.items()}
        return result | {f"asked_{task}": number for task, number in sorted(self.asked.items())}

    def _share(self, *tasks: str) -> float:
        return sum(self.exact[task] for task in tasks) / max(sum(self.asked[task] for task in tasks), 1)
