"""The scores of the demo, on answers whose worth is plain."""

from __future__ import annotations

import pytest

from palijet.demo.questions import Question
from palijet.demo.scores import Scores, iou, matches, read_objects

WHOLE = (0.0, 0.0, 1.0, 1.0)
LEFT = (0.0, 0.0, 1.0, 0.5)
RIGHT = (0.0, 0.5, 1.0, 1.0)


def test_iou_of_known_boxes() -> None:
    assert iou(WHOLE, WHOLE) == 1
    assert iou(WHOLE, LEFT) == pytest.approx(0.5)
    assert iou(LEFT, RIGHT) == 0
    assert iou((0, 0, 0, 0), WHOLE) == 0


def test_objects_are_read_from_a_text_and_half_ones_are_not() -> None:
    text = "<loc0000><loc0512><loc1023><loc1023> red bolt ; <loc0001><loc0002><loc0003><loc0004> gear ; <"
    (first, box), (second, _) = read_objects(text)
    assert (first, second) == ("red bolt", "gear")
    assert box == pytest.approx((0, 512 / 1023, 1, 1))
    assert read_objects("") == []


def test_one_found_object_serves_one_true_object() -> None:
    assert matches([("bolt", LEFT)], [("bolt", LEFT), ("bolt", LEFT)]) == 1
    assert matches([("bolt", LEFT), ("bolt", LEFT)], [("bolt", LEFT)]) == 1
    assert matches([("bolt", LEFT)], [("gear", LEFT)]) == 0
    assert matches([("bolt", LEFT), ("bolt", RIGHT)], [("bolt", RIGHT), ("bolt", LEFT)]) == 2


def test_right_answers_score_one_and_wrong_ones_lower_only_their_task() -> None:
    box = "<loc0000><loc0000><loc1023><loc0512> bolt"
    asked = [
        Question("count", "answer en how many bolts", "2"),
        Question("colour", "answer en what colour is the bolt", "red"),
        Question("ocr", "ocr", "K7P3"),
        Question("ocr", "ocr", ""),
        Question("caption", "caption en", "a red bolt"),
        Question("detect", "detect bolt", box, (("bolt", LEFT),)),
    ]
    perfect, flawed = Scores(), Scores()
    for question in asked:
        perfect.add(question, question.answer)
        flawed.add(question, {"ocr": "K7P4", "detect": f"{box} ; {box}"}.get(question.task, question.answer))
    figures = perfect.figures()
    shares = ("answers_exact", "detection_f1", "serials_exact", "nothing_to_read_exact", "captions_exact")
    assert [figures[name] for name in shares] == [1, 1, 1, 1, 1]
    figures = flawed.figures()
    assert [figures[name] for name in shares] == [1, pytest.approx(2 / 3, abs=1e-4), 0, 0, 1]
    assert figures["detection_precision"] == 0.5
    assert figures["asked_ocr"] == 1
