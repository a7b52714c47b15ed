"""A model that takes its time: the demo's, made to take a given while per round, as a larger one would."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from palijet.runtime import _native, open_bundle
from palijet.runtime.model import Encoded, LoadOptions, Model, Question
from palijet.runtime.preprocess import Image
from palijet.runtime.result import Result


class SlowModel(Model):
    """Each round takes `seconds` from the moment its pictures are handed over."""

    def __init__(
        self, bundle: str, seconds: float, on_start: Callable[[np.ndarray], object] = lambda image: None
    ) -> None:
        """on_start: called with each picture when its inference starts."""
        super().__init__(open_bundle(bundle), LoadOptions("cpu", threads=1, max_batch=16))
        self._seconds = seconds
        self._on_start = on_start
        self._until = 0.0

    def encode(self, images: Sequence[Image], *, cancel: _native.CancelToken | None = None) -> Encoded:
        self._until = time.monotonic() + self._seconds
        for image in images:
            assert isinstance(image, np.ndarray)
            self._on_start(image)
        return super().encode(images, cancel=cancel)

    def ask(self, encoded: Encoded, questions: Sequence[Question], **options: Any) -> list[Result]:
        results = super().ask(encoded, questions, **options)
        time.sleep(max(0.0, self._until - time.monotonic()))
        return results
