"""An example as the model sees it: pixels, and the tokens of prompt and answer."""

from __future__ import annotations

from collections.abc import Sequence as List
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.preprocess import preprocess
from ..runtime.prompt import PromptTokenizer
from .calibration import Example
from .checkpoint import EMBEDDINGS, Checkpoint

MAX_ANSWER = 128  # tokens of an answer that are looked at


@dataclass(frozen=True)
class Sequence:
    """One prompt about one image, and its answer; the answer's rows are causal."""

    name: str  # of the example: its file or frame
    image: int  # which of `images`
    prompt: list[int]
    answer: list[int]  # without the end token: each of these, and the newline before, predicts the next

    def rows(self, image_rows: int) -> int:
        return image_rows + len(self.prompt) + len(self.answer)

    def wanted(self, image_rows: int) -> NDArray[np.int32]:
        """The rows whose next token counts: the prompt's last and the answer's. [answer + 1]"""
        first = image_rows + len(self.prompt) - 1
        return np.arange(first, first + len(self.answer) + 1, dtype=np.int32)


def embedded(
    checkpoint: Checkpoint, sequence: Sequence, image_rows: NDArray[np.float32], residual_scale: float = 1.0
) -> NDArray[np.float32]:
    """What the decoder is given: the image's rows, then those of prompt and answer, [rows, hidden] on the stream's scale."""
    scale = np.float32(checkpoint.config.text_config.hidden_size**0.5 * residual_scale)
    table = [checkpoint.read_rows(EMBEDDINGS, i, i + 1) for i in (*sequence.prompt, *sequence.answer)]
    return np.concatenate([image_rows, np.concatenate(table).astype(np.float32) * scale])


def as_sequences(
    examples: List[Example], tokenizer: PromptTokenizer, image_size: int
) -> tuple[list[NDArray[np.float32]], list[Sequence]]:
    """Pixels [3, S, S] of each distinct image, and one sequence per example."""
    images: list[NDArray[np.float32]] = []
    places: dict[int, int] = {}
    sequences = []
    for example in examples:
        key = id(example.image)
        if key not in places:
            places[key] = len(images)
            images.append(preprocess(example.image, image_size))
        answer = tokenizer.encode_answer(example.answer or "")[:MAX_ANSWER]
        sequences.append(Sequence(example.name, places[key], tokenizer.encode(example.prompt), answer))
    return images, sequences
