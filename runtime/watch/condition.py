"""The language of `when`: says of the answers about a frame whether another prompt is asked, or a snapshot kept.

"how many people" > 0 and not "is the belt empty" == "yes"
count("detect part") >= 2 or "detect part" contains "bolt" or confidence("caption") < 0.5
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..errors import InputError
from ..result import StreamResult

Answers = Mapping[str, StreamResult]  # by the names of prompts, or their texts where they have none


@dataclass(frozen=True)
class Condition:
    """What `parse_condition` has read; two of the same meaning are equal."""

    text: str = field(compare=False)
    _root: _Node

    @property
    def prompts(self) -> frozenset[str]:
        """Names of the prompts whose answers it looks at."""
        return self._root.prompts

    def holds(self, answers: Answers) -> bool:
        """Whether it is true of these answers; not so where that hangs on a prompt that was not asked.

        An answer that is no number never satisfies a comparison with a number, not even `!=`. Upper and lower case are the same in
        texts. `contains` looks at the labels of an answer that places objects.
        """
        return self._root.truth(answers) is True

    def __str__(self) -> str:
        return self.text


def parse_condition(text: str) -> Condition:
    """Read a condition. Texts stand in double or single quotes; `not` binds tightest, then `and`, then `or`.

        condition  = all { "or" all }
        all        = one { "and" one }
        one        = "not" one | "(" condition ")" | comparison
        comparison = prompt ( "==" | "!=" ) ( NUMBER | TEXT )  |  prompt "contains" TEXT
                   | ( prompt | measure ) ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) NUMBER
        measure    = ( "count" | "confidence" ) "(" prompt ")"
        prompt     = TEXT

    Raises:
        InputError: it is none; with the column, from 1, and what was expected there.
    """
    parser = _Parser(text)
    root = parser.condition()
    parser.end()
    return Condition(text, root)


@dataclass(frozen=True)
class _Comparison:
    measure: Literal["answer", "count", "confidence"]
    prompt: str
    sign: str
    value: float | str

    @property
    def prompts(self) -> frozenset[str]:
        return frozenset({self.prompt})

    def truth(self, answers: Answers) -> bool | None:
        """None: the prompt was not asked."""
        result = answers.get(self.prompt)
        if result is None:
            return None
        if isinstance(self.value, float):
            number = self._number(result)
            return number is not None and _COMPARE[self.sign](number, self.value)
        wanted = self.value.strip().casefold()
        if self.sign == "contains":
            said = [thing.label for thing in result.objects] or [result.text]
            return any(wanted in text.casefold() for text in said)
        return (result.text.strip().casefold() == wanted) is (self.sign == "==")

    def _number(self, result: StreamResult) -> float | None:
        if self.measure == "count":
            return len(result.objects)
        if self.measure == "confidence":
            return result.confidence
        text = result.text.strip()
        return float(text) if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text) else None


@dataclass(frozen=True)
class _Not:
    part: _Node

    @property
    def prompts(self) -> frozenset[str]:
        return self.part.prompts

    def truth(self, answers: Answers) -> bool | None:
        truth = self.part.truth(answers)
        return None if truth is None else not truth


@dataclass(frozen=True)
class _Joined:
    """Of several parts, all ("and") or one ("or") must be true. What is unknown stays so unless the others decide."""

    word: Literal["and", "or"]
    parts: tuple[_Node, ...]

    @property
    def prompts(self) -> frozenset[str]:
        return frozenset().union(*(part.prompts for part in self.parts))

    def truth(self, answers: Answers) -> bool | None:
        truths = [part.truth(answers) for part in self.parts]
        decides = self.word == "or"
        if decides in truths:
            return decides
        return None if None in truths else not decides


_Node = _Comparison | _Not | _Joined

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TOKEN = re.compile(
    r"(?P<text>\"[^\"]*\"|'[^']*')|(?P<number>-?[0-9]+(?:\.[0-9]+)?)|(?P<word>[A-Za-z_]+)|(?P<sign>[=!<>]=|[<>()])"
)
_DEEPEST = 32  # brackets and `not`s within one another; more is no condition that somebody wrote


@dataclass(frozen=True)
class _Token:
    kind: str  # text, number, word, sign; end
    text: str
    column: int  # from 1


class _Parser:
    """Reads from left to right; one token ahead decides."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    def condition(self) -> _Node:
        return self._joined("or", lambda: self._joined("and", self._one))

    def end(self) -> None:
        if self._next.kind != "end":
            raise self._expected("'and', 'or' or the end")

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _joined(self, word: Literal["and", "or"], part: Callable[[], _Node]) -> _Node:
        parts = [part()]
        while self._take(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else _Joined(word, tuple(parts))

    def _one(self) -> _Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise InputError(
                f"column {self._next.column}: the condition is nested more than {_DEEPEST} deep; write it flatter"
            )
        node: _Node
        if self._take("not"):
            node = _Not(self._one())
        elif self._take("("):
            node = self.condition()
            self._need(")")
        else:
            node = self._comparison()
        self._depth -= 1
        return node

    def _comparison(self) -> _Comparison:
        measure: Literal["answer", "count", "confidence"] = "answer"
        if self._take("count"):
            measure = "count"
        elif self._take("confidence"):
            measure = "confidence"
        if measure == "answer":
            prompt = self._text("a prompt in quotes, count(…), confidence(…), 'not' or '('")
        else:
            self._need("(")
            prompt = self._text("a prompt in quotes")
            self._need(")")
        sign = self._next.text
        if not (sign in _COMPARE or (sign == "contains" and measure == "answer")):
            raise self._expected("==, !=, <, <=, > or >=" + (", or 'contains'" if measure == "answer" else ""))
        self._at += 1
        return _Comparison(measure, prompt, sign, self._value(measure, sign))

    def _value(self, measure: str, sign: str) -> float | str:
        if sign == "contains":
            return self._text("a text in quotes")
        if self._next.kind == "number":
            self._at += 1
            return float(self._tokens[self._at - 1].text)
        if measure == "answer" and sign in ("==", "!="):
            return self._text("a number, or a text in quotes")
        raise self._expected("a number")

    def _text(self, expected: str) -> str:
        if self._next.kind != "text":
            raise self._expected(expected)
        self._at += 1
        return self._tokens[self._at - 1].text[1:-1]

    def _take(self, text: str) -> bool:
        taken = self._next.kind in ("word", "sign") and self._next.text == text
        self._at += taken
        return taken

    def _need(self, text: str) -> None:
        if not self._take(text):
            raise self._expected(f"'{text}'")

    def _expected(self, what: str) -> InputError:
        found = "the condition ends" if self._next.kind == "end" else f"there is {self._next.text}"
        return InputError(f"column {self._next.column}: expected {what}, but {found}")


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        found = _TOKEN.match(text, at)
        if found is None:
            why = "the text is not closed" if text[at] in "\"'" else f"{text[at]!r} belongs to no condition"
            raise InputError(f'column {at + 1}: {why}; write it as in "how many people" > 0')
        tokens.append(_Token(str(found.lastgroup), found.group(), at + 1))
        at = found.end()
    return [*tokens, _Token("end", "", len(text) + 1)]
