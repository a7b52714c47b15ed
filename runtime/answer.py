"""The grammar of PaliGemma's answers: text, boxes and segment codes.

An object is four location tokens, then sixteen segment tokens if it was to be segmented, then its label; objects are separated by
` ; `. A location is a 1024th of the picture: y0, x0, y1, x1, decoded as big_vision does (loc / 1023; its
pp/proj/paligemma/robustness and the notebooks beside it).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LOCATION = r"<loc(?:0\d{3}|10[01]\d|102[0-3])>"
_RUN = re.compile(rf"(?:{_LOCATION})+")
_VALUE = re.compile(r"<loc(\d{4})>")
_CODE = re.compile(r"<seg(0\d{2}|1[01]\d|12[0-7])>")


@dataclass(frozen=True)
class ParsedObject:
    """One object of an answer."""

    label: str
    box: tuple[float, float, float, float]  # x0 y0 x1 y1, 0 to 1
    codes: tuple[int, ...]  # segment codes, 16 where the mask is whole, or none
    first_location: int  # its first location token, counted among all location tokens of the answer


@dataclass(frozen=True)
class ParsedAnswer:
    """An answer taken apart."""

    objects: tuple[ParsedObject, ...]
    incomplete: (
        str  # location and segment tokens that belong to no whole box: cut off by `max_tokens`, or a slip of the model
    )


def parse_answer(text: str) -> ParsedAnswer:
    """Take an answer apart; any text has a reading, and every four location tokens in a row are a box."""
    objects: list[ParsedObject] = []
    seen = 0  # location tokens
    runs = list(_RUN.finditer(text))
    incomplete = _codes_in(text[: runs[0].start() if runs else len(text)])
    ends = [following.start() for following in runs[1:]] + [len(text)]
    for run, end in zip(runs, ends, strict=False):
        values = [int(value) for value in _VALUE.findall(run.group())]
        tail, _, rest = text[run.end() : end].partition(";")  # the separator ends what belongs to the box
        whole = len(values) // 4 * 4
        for start in range(0, whole, 4):
            is_last = start + 4 == len(values)
            objects.append(
                ParsedObject(
                    label=_label(tail) if is_last else "",
                    box=_box(*values[start : start + 4]),
                    codes=tuple(int(code) for code in _CODE.findall(tail)) if is_last else (),
                    first_location=seen + start,
                )
            )
        incomplete += "".join(f"<loc{value:04}>" for value in values[whole:])
        incomplete += _codes_in(rest if whole == len(values) else tail + rest)
        seen += len(values)
    return ParsedAnswer(tuple(objects), incomplete)


def _label(tail: str) -> str:
    return _CODE.sub("", tail).strip()


def _codes_in(text: str) -> str:
    return "".join(f"<seg{code}>" for code in _CODE.findall(text))


def _box(y0: int, x0: int, y1: int, x1: int) -> tuple[float, float, float, float]:
    left, right = sorted((x0 / 1023, x1 / 1023))
    top, bottom = sorted((y0 / 1023, y1 / 1023))
    return (left, top, right, bottom)
