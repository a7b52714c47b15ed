"""The language of `when`: what it says of answers, and what it says of a text that is no condition."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_results import stream_result

from palijet.runtime.errors import InputError
from palijet.runtime.result import DetectedObject, StreamResult
from palijet.runtime.watch.condition import Condition, parse_condition


def said(text: str, *labels: str, logprob: float = -0.1) -> StreamResult:
    """An answer, with an object per label."""
    objects = tuple(DetectedObject(label, (0, 0, 10, 10), 0.5) for label in labels)
    return stream_result(text, objects, logprob=logprob)


ANSWERS = {
    "people": said("3"),
    "belt": said(" Yes "),
    "how much": said("3.5 kg"),
    "parts": said("<loc0001><loc0001><loc0009><loc0009> red bolt ; …", "red bolt", "nut"),
    "caption": said("a dog on a lawn", logprob=-1.0),
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('"people" > 0', True),
        ('"people" >= 3 and "people" <= 3', True),
        ('"people" == 3.0', True),
        ('"people" != 3', False),
        ('"people" < -1', False),
        ("'belt' == 'yes'", True),
        ('"belt" != "yes"', False),
        ('"belt" == "yes, it is"', False),
        ('"caption" contains "DOG"', True),
        ('"caption" contains "cat"', False),
        ('"parts" contains "bolt"', True),
        ('"parts" contains "loc"', False),
        ('count("parts") == 2', True),
        ('count("caption") > 0', False),
        ('confidence("caption") < 0.5', True),
        ('confidence("people") < 0.5', False),
        ('not "people" > 5', True),
        ('not not "people" > 5', False),
        ('not ("people" > 5 or "belt" == "yes")', False),
    ],
)
def test_a_condition_says_of_answers_what_it_reads_like(text: str, holds: bool) -> None:
    assert parse_condition(text).holds(ANSWERS) is holds


@pytest.mark.parametrize("sign", ["==", "!=", "<", "<=", ">", ">="])
def test_an_answer_that_is_no_number_satisfies_no_comparison_with_one(sign: str) -> None:
    for text in ("3.5 kg", "many", "", "nan", "infinity", "1e3", "٣"):
        assert not parse_condition(f'"x" {sign} 3').holds({"x": said(text)})


def test_and_binds_tighter_than_or() -> None:
    condition = parse_condition('"people" > 0 or "people" > 9 and "people" > 9')
    assert condition.holds(ANSWERS)
    assert not parse_condition('("people" > 0 or "people" > 9) and "people" > 9').holds(ANSWERS)


def test_a_condition_does_not_hold_where_it_hangs_on_what_was_not_asked() -> None:
    for text in ('"new" > 0', 'not "new" > 0', '"people" > 0 and "new" > 0', 'not ("people" > 0 and "new" > 0)'):
        assert not parse_condition(text).holds(ANSWERS)
    assert parse_condition('"new" > 0 or "people" > 0').holds(ANSWERS)
    assert parse_condition('not ("new" > 0 and "people" > 9)').holds(ANSWERS)


def test_a_condition_knows_the_prompts_that_it_looks_at() -> None:
    assert parse_condition('"a" > 0 and (count("b") > 1 or not confidence("c") < 1)').prompts == {"a", "b", "c"}


def test_conditions_of_one_meaning_are_equal() -> None:
    assert parse_condition('"a">0') == parse_condition("  ( 'a'  > 0 ) ")
    assert parse_condition('"a">0') != parse_condition('"a">1')


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("", 1, "a prompt in quotes"),
        ("people > 0", 1, "a prompt in quotes"),
        ('"people"', 9, "'contains', but the condition ends"),
        ('"people" >', 11, "a number, but the condition ends"),
        ('"people" > "two"', 12, 'a number, but there is "two"'),
        ('"people" == yes', 13, "a number, or a text in quotes, but there is yes"),
        ('"people" contains 3', 19, "a text in quotes"),
        ('"people > 0', 1, "the text is not closed"),
        ('"people" = 0', 10, "'=' belongs to no condition"),
        ('"people" > 0 "x"', 14, "'and', 'or' or the end"),
        ('("people" > 0', 14, "')'"),
        ('count "parts" > 0', 7, "'('"),
        ('count("parts") contains "bolt"', 16, "==, !=, <, <=, > or >="),
        ('count("parts") == "two"', 19, "a number"),
        ('"a" > 0 and', 12, "a prompt in quotes"),
    ],
)
def test_what_is_no_condition_is_said_with_its_column(text: str, column: int, expected: str) -> None:
    with pytest.raises(InputError, match=rf"^column {column}: ") as error:
        parse_condition(text)
    assert expected in str(error.value)


def test_a_condition_that_nobody_wrote_is_refused_and_not_recursed_into() -> None:
    for text in ("(" * 100_000, "not " * 100_000, "not (" * 50_000 + '"a" > 0'):
        with pytest.raises(InputError, match="nested"):
            parse_condition(text)
    assert parse_condition(" or ".join(['"a" > 0'] * 10_000)).prompts == {"a"}


PARTS = st.sampled_from(
    [
        '"a"',
        "'b c'",
        "count",
        "confidence",
        "(",
        ")",
        "and",
        "or",
        "not",
        "==",
        "!=",
        "<",
        ">=",
        "contains",
        "3",
        "-0.5",
        " ",
    ]
)


@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(PARTS).map(" ".join), st.lists(PARTS).map("".join)))
def test_any_text_is_a_condition_or_an_input_error_with_a_column(text: str) -> None:
    try:
        condition = parse_condition(text)
    except InputError as error:
        column = int(str(error).removeprefix("column ").partition(":")[0])
        assert 1 <= column <= len(text) + 1
    else:
        assert isinstance(condition, Condition)
        assert condition.prompts
        assert condition.holds({}) is False
        condition.holds({name: said("3", "bolt") for name in condition.prompts})


COMPARISON = st.builds(
    lambda name, sign, number: (f'"{name}" {sign} {number}', f"{name} {sign} {number}"),
    st.sampled_from("abc"),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.integers(0, 3),
)
EXPRESSION = st.recursive(
    COMPARISON,
    lambda inner: st.one_of(
        inner.map(lambda one: (f"not ({one[0]})", f"not ({one[1]})")),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda all_: tuple(f"{left} {all_[1]} {right}" for left, right in zip(all_[0], all_[2], strict=True))
        ),
        inner.map(lambda one: (f"({one[0]})", f"({one[1]})")),
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(EXPRESSION, st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)))
def test_python_reads_conditions_about_numbers_the_same_way(
    both: tuple[str, str], values: tuple[int, int, int]
) -> None:
    ours, pythons = both
    numbers = dict(zip("abc", values, strict=True))
    answers = {name: said(str(number)) for name, number in numbers.items()}
    assert parse_condition(ours).holds(answers) is bool(eval(pythons, {}, numbers))
