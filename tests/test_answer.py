"""The grammar of answers: nothing that PaliGemma writes is lost, and no text breaks the parser."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palijet.runtime.answer import parse_answer


def locations(*values: int) -> str:
    return "".join(f"<loc{value:04}>" for value in values)


def test_a_box_is_decoded_as_big_vision_does() -> None:
    (thing,) = parse_answer(locations(0, 1023, 512, 256) + " bolt").objects
    assert thing.label == "bolt"
    assert thing.box == pytest.approx((256 / 1023, 0, 1, 512 / 1023))


@pytest.mark.parametrize(
    "label",
    [
        "hex bolt",
        "driver's seat",
        "red, white and blue",
        "part 7b",
        "Schraube M8 größer",
        "齿轮",
        "болт",
        "a-b_c/d",
    ],
)
def test_labels_of_any_letters_are_kept(label: str) -> None:
    text = f"{locations(1, 2, 3, 4)} {label} ; {locations(5, 6, 7, 8)} {label}"
    assert [thing.label for thing in parse_answer(text).objects] == [label, label]


def test_segment_codes_are_kept_apart_from_the_label() -> None:
    codes = "".join(f"<seg{code:03}>" for code in range(16))
    (thing,) = parse_answer(f"{locations(1, 2, 3, 4)}{codes} cat").objects
    assert thing.codes == tuple(range(16))
    assert thing.label == "cat"


def test_codes_belong_to_the_box_before_them_and_are_never_lost() -> None:
    parsed = parse_answer(f"<seg001>{locations(1, 2, 3, 4)}<seg002> cat ; <seg003> dog {locations(5)}<seg004>")
    (thing,) = parsed.objects
    assert (thing.label, thing.codes) == ("cat", (2,))
    assert parsed.incomplete == f"<seg001><seg003>{locations(5)}<seg004>"
    assert parse_answer(f"{locations(1, 2, 3, 4)}<seg999> cat").objects[0].codes == ()


def test_half_finished_output_keeps_every_whole_box() -> None:
    parsed = parse_answer(f"{locations(1, 2, 3, 4)} bolt ; {locations(5, 6)}")
    assert [thing.label for thing in parsed.objects] == ["bolt"]
    assert parsed.incomplete == locations(5, 6)
    cut_label = parse_answer(f"{locations(1, 2, 3, 4)} bolt ; {locations(5, 6, 7, 8)}")
    assert [thing.label for thing in cut_label.objects] == ["bolt", ""]


def test_boxes_without_a_separator_are_all_kept() -> None:
    parsed = parse_answer(locations(*range(12)) + " nut")
    assert [thing.label for thing in parsed.objects] == ["", "", "nut"]
    assert [thing.first_location for thing in parsed.objects] == [0, 4, 8]


def test_plain_text_has_no_objects() -> None:
    parsed = parse_answer("two red bolts; one gear")
    assert parsed.objects == ()
    assert parsed.incomplete == ""


def test_swapped_corners_are_put_in_order() -> None:
    (thing,) = parse_answer(locations(900, 800, 100, 200) + " x").objects
    left, top, right, bottom = thing.box
    assert left < right
    assert top < bottom


PIECES = st.one_of(
    st.text(max_size=8),
    st.sampled_from([" ; ", ";", "<loc", "<loc12", "<loc9999>", "<seg", "<seg001>", "<image>", "\n"]),
    st.integers(0, 1023).map(lambda value: f"<loc{value:04}>"),
)


@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_text_has_a_reading_that_loses_no_location(text: str) -> None:
    parsed = parse_answer(text)
    every = [int(value) for value in re.findall(r"<loc(\d{4})>", text) if int(value) <= 1023]
    assert 4 * len(parsed.objects) + len(re.findall(r"<loc\d{4}>", parsed.incomplete)) == len(every)
    for thing in parsed.objects:
        left, top, right, bottom = thing.box
        assert 0 <= left <= right <= 1
        assert 0 <= top <= bottom <= 1
        assert ";" not in thing.label


LABELS = st.text(st.characters(blacklist_characters=";<\n\r", blacklist_categories=("Cs", "Cc", "Zs")), min_size=1)
BOXES = st.tuples(*[st.integers(0, 1023)] * 4)


@given(st.lists(st.tuples(BOXES, LABELS), max_size=6))
def test_what_is_written_is_read_back(things: list[tuple[tuple[int, int, int, int], str]]) -> None:
    text = " ; ".join(f"{locations(*box)} {label}" for box, label in things)
    parsed = parse_answer(text)
    assert [thing.label for thing in parsed.objects] == [label.strip() for _, label in things]
    for thing, ((y0, x0, y1, x1), _) in zip(parsed.objects, things, strict=True):
        assert {round(thing.box[0] * 1023), round(thing.box[2] * 1023)} == {x0, x1}
        assert {round(thing.box[1] * 1023), round(thing.box[3] * 1023)} == {y0, y1}
