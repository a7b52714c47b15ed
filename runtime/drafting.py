"""Guessing answers: which tokens of one are certain by its grammar, and the memory of each camera's last answers."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable, Sequence

from . import _native
from .prompt import PromptTokenizer

_REMEMBERED = 1024  # cameras times prompts

_ASKS_FOR_OBJECTS = re.compile(r"\s*(?:detect|segment)\s+(.+)", re.DOTALL)


class DraftMemory:
    """A drafter for each camera and prompt; the longest unused are forgotten."""

    def __init__(self, tokenizer: PromptTokenizer, adaptive: bool = True) -> None:
        """adaptive: weigh guesses by what verifying them costs on this device; else every one is verified."""
        self._tokenizer = tokenizer
        self._adaptive = adaptive
        self._drafters: OrderedDict[Hashable, _native.Drafter] = OrderedDict()

    def drafters(self, asked: Sequence[tuple[Hashable | None, str]]) -> list[_native.Drafter | None]:
        """One for each camera and prompt; without a camera a new one, which knows the grammar alone."""
        found: list[_native.Drafter | None] = []
        for camera, prompt in asked:
            drafter = self._new(prompt) if camera is None else self._of(camera, prompt)
            found.append(None if drafter in found else drafter)  # what is asked twice in one call
        return found

    def _of(self, camera: Hashable, prompt: str) -> _native.Drafter:
        key = (camera, prompt)
        if key not in self._drafters:
            self._drafters[key] = self._new(prompt)
            if len(self._drafters) > _REMEMBERED:
                self._drafters.popitem(last=False)
        self._drafters.move_to_end(key)
        return self._drafters[key]

    def _new(self, prompt: str) -> _native.Drafter:
        first_location, locations = self._tokenizer.token_range("<loc{:04}>", 1024)
        first_segment, segments = self._tokenizer.token_range("<seg{:03}>", 128)
        return _native.Drafter(
            first_location=first_location,
            locations=locations,
            first_segment=first_segment,
            segments=segments,
            labels=[self._tokenizer.encode_answer(f" {label}") for label in asked_labels(prompt)],
            adaptive=self._adaptive,
        )


def asked_labels(prompt: str) -> list[str]:
    """What a prompt asks to find: `detect cat ; dog` asks for cat and dog (PaliGemma, arXiv:2407.07726, section 3.2)."""
    asked = _ASKS_FOR_OBJECTS.fullmatch(prompt)
    return [label.strip() for label in asked.group(1).split(";") if label.strip()] if asked else []
