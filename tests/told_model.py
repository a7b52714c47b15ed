"""A stand-in for a model: says what a test tells it to, and notes what it is asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from palijet.runtime.model import LoadOptions, Question
from palijet.runtime.result import Result, Timings


class ToldModel:
    """Answers by a function of a picture and a prompt."""

    engine_version = "a stand-in"

    def __init__(
        self, say: Callable[[np.ndarray, str], str] = lambda image, prompt: "x", *, ask_s: float = 0.0
    ) -> None:
        self.options = LoadOptions()
        self.asked: list[tuple[int, str]] = []  # a pixel of the picture, and the prompt
        self.encoded = 0  # pictures
        self._say, self._ask_s = say, ask_s

    def check_prompt(self, *prompt: Any, **options: Any) -> None:
        """Everything can be asked."""

    def encode(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.encoded += len(images)
        return list(images)

    def ask(self, encoded: list[np.ndarray], questions: Sequence[Question]) -> list[Result]:
        time.sleep(self._ask_s)
        return [self._answer(encoded[question.image], question.prompt) for question in questions]

    def _answer(self, image: np.ndarray, prompt: str) -> Result:
        self.asked.append((int(image[0, 0, 0]), prompt))
        return Result(
            prompt=prompt,
            text=self._say(image, prompt),
            tokens=(1,),
            logprobs=(-0.1,),
            stop_reason="stop",
            stop_logprob=-0.1,
            objects=(),
            incomplete="",
            image_size=(image.shape[1], image.shape[0]),
            timings=Timings(1, 2, 3, 4, 10, 1, 1),
        )
