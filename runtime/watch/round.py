"""A round of the loop: frames that are taken together, encoded in one run, and asked what is due about each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..model import Encoded, Model, Question
from ..result import StreamResult
from ..sources import Frame
from .schedule import Schedule
from .watched import Prompt
from .watched_feed import WatchedFeed


@dataclass(eq=False)
class Taken:
    """A frame whose turn it is."""

    feed: WatchedFeed
    frame: Frame
    prompts: tuple[Prompt, ...]  # that are due, or may become so by a condition
    answers: dict[str, StreamResult] = field(default_factory=dict)  # by prompts' keys
    encoded: tuple[Encoded, int] | None = None  # where its picture is, once it is encoded

    @property
    def results(self) -> dict[str, StreamResult]:
        """The answers in the order of the prompts."""
        return {prompt.key: self.answers[prompt.key] for prompt in self.prompts if prompt.key in self.answers}


class Round:
    """Frames of unlike cameras, from their choice to their answers. `encode` and `answer` may run on two threads, in turn."""

    def __init__(self, model: Model, taken: Sequence[Taken]) -> None:
        self.began = time.monotonic()
        self.taken = taken
        self._model = model

    def encode(self) -> None:
        """Encode all pictures but those that look as if nothing needs to be asked about them."""
        self._encode([one for one in self.taken if not one.feed.unchanged(one.frame)])

    def answer(self, schedule: Schedule, *, drafts: bool) -> None:
        """Ask what is due about each frame, then what depends on those answers; what is known of a picture is not asked again.

        drafts: guess that a camera's last answer to a prompt holds.
        """
        for one in self.taken:
            one.feed.see(one.frame)
        while due := self._due(schedule):
            unknown = []
            for one, prompt in due:
                schedule.asked(one.feed.watched.name, prompt, time.monotonic())
                known = one.feed.known(prompt, one.frame)
                if known is None:
                    unknown.append((one, prompt))
                else:
                    one.answers[prompt.key] = known
            self._ask(unknown, drafts=drafts)

    def _due(self, schedule: Schedule) -> list[tuple[Taken, Prompt]]:
        """What can be asked now: what hangs on no answer, or on one that holds."""
        now = time.monotonic()
        return [
            (one, prompt)
            for one in self.taken
            for prompt in one.prompts
            if prompt.key not in one.answers
            and (
                prompt.when is None
                or (schedule.may_ask(one.feed.watched.name, prompt, now) and prompt.when.holds(one.answers))
            )
        ]

    def _ask(self, unknown: Sequence[tuple[Taken, Prompt]], *, drafts: bool) -> None:
        missing = dict.fromkeys(one for one, _ in unknown if one.encoded is None)
        self._encode(list(missing))
        runs: dict[int, tuple[Encoded, list[tuple[Taken, Prompt, Question]]]] = {}
        for one, prompt in unknown:
            assert one.encoded is not None
            encoded, image = one.encoded
            camera = one.feed.watched.name if drafts else None
            question = Question(image, prompt.text, camera, prompt.max_tokens, prompt.choices)
            runs.setdefault(id(encoded), (encoded, []))[1].append((one, prompt, question))
        for encoded, asked in runs.values():
            results = self._model.ask(encoded, [question for _, _, question in asked])
            for (one, prompt, _), result in zip(asked, results, strict=True):
                one.answers[prompt.key] = one.feed.say(prompt, one.frame, result)

    def _encode(self, some: Sequence[Taken]) -> None:
        if some:
            encoded = self._model.encode([one.frame.image for one in some])
            for image, one in enumerate(some):
                one.encoded = encoded, image
