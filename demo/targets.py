"""What the training asks for: dense targets for each patch, and prompts with answers as token arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .dataset import Scenes
from .glyphs import CHARACTERS
from .network import Prompts
from .questions import ask, loc, read
from .scene import COLOURS, SERIAL_LENGTH, SHAPES
from .vocabulary import BOS, EOS, build_tokenizer

GRID = 129
"""Places along a side that `questions.loc` tells apart."""

TOKENIZER = build_tokenizer()


def token(text: str) -> int:
    """The id of a text that is one token."""
    (number,) = TOKENIZER.encode(text, add_special_tokens=False).ids
    return int(number)


LOC_IDS = torch.tensor([token(f"<loc{loc(step / (GRID - 1)):04d}>") for step in range(GRID)])
GRID_OF_TOKEN = torch.full((TOKENIZER.get_vocab_size() + 64,), -1, dtype=torch.long)
GRID_OF_TOKEN[LOC_IDS] = torch.arange(GRID)

_SHAPE_IDS = torch.tensor([*(token(f" {shape}") for shape in SHAPES), token(" label"), token(" belt")])
_COLOUR_IDS = torch.tensor([token(f" {colour}") for colour in COLOURS])
_DIGIT_IDS = torch.tensor([token(str(digit)) for digit in range(5)])
_CHARACTER_IDS = torch.tensor([token(character) for character in CHARACTERS])

HEADS: dict[str, Tensor] = {
    "shape": _SHAPE_IDS,
    "colour": _COLOUR_IDS,
    **dict.fromkeys(("y0", "x0", "y1", "x1"), LOC_IDS),
    **dict.fromkeys(("place", "place_in_shape", "parts", "of_shape", "of_colour"), _DIGIT_IDS),
    **{f"character{i}": _CHARACTER_IDS for i in range(SERIAL_LENGTH)},
}
"""What each patch is asked in training, and the tokens to choose from: words the decoder will need."""


def dense_answers(scenes: Scenes) -> np.ndarray:
    """The right answer of each head at each patch, -1 where none is asked: [n, 49, heads] int16."""
    n, slots = scenes.shape.shape
    table = np.full((n, slots + 1, len(HEADS)), -1, np.int16)
    column = {name: i for i, name in enumerate(HEADS)}
    part = (scenes.shape >= 0) & (scenes.shape < len(SHAPES))
    label = scenes.shape == len(SHAPES)
    table[:, :slots, column["shape"]] = scenes.shape
    table[:, slots, column["shape"]] = len(SHAPES) + 1
    table[:, :slots, column["colour"]] = scenes.colour
    grid = np.rint(scenes.box * (GRID - 1)).astype(np.int16)
    for i, name in enumerate(("y0", "x0", "y1", "x1")):
        table[:, :slots, column[name]] = np.where(part | label, grid[..., i], -1)
    same_shape = (scenes.shape[:, :, None] == scenes.shape[:, None, :]) & part[:, :, None]
    same_colour = (scenes.colour[:, :, None] == scenes.colour[:, None, :]) & part[:, :, None] & part[:, None, :]
    earlier = np.tril(np.ones((slots, slots), bool))
    for name, values in (
        ("place", np.cumsum(part, axis=1)),
        ("place_in_shape", (same_shape & earlier).sum(axis=2)),
        ("parts", np.broadcast_to(part.sum(axis=1, keepdims=True), part.shape)),
        ("of_shape", same_shape.sum(axis=2)),
        ("of_colour", same_colour.sum(axis=2)),
    ):
        table[:, :slots, column[name]] = np.where(part, values, -1)
    for i in range(SERIAL_LENGTH):
        table[:, :slots, column[f"character{i}"]] = np.where(label, scenes.serial[:, None, i], -1)
    owner = np.where(scenes.patch_owner < 0, slots, scenes.patch_owner).astype(np.int64)
    return np.take_along_axis(table, owner[..., None], axis=1)


@dataclass(frozen=True)
class Kind:
    """Questions trained on side by side: tasks, shares, how many per scene, text rows that any fits in."""

    tasks: tuple[str, ...]
    shares: tuple[float, ...]
    each: int
    length: int


KINDS = {
    "short": Kind(("count", "colour", "presence", "ocr"), (0.32, 0.12, 0.24, 0.32), each=2, length=14),
    "caption": Kind(("caption",), (1.0,), each=1, length=20),
    "detect": Kind(("detect", "detect_two"), (0.6, 0.4), each=2, length=36),
}


def draw_prompts(rng: np.random.Generator, scenes: Scenes, indices: np.ndarray, kind: Kind) -> Prompts:
    """`kind.each` questions about every scene of `indices`; image i is scene indices[i]."""
    prompts, answers, images = [], [], []
    for image, index in enumerate(indices):
        parts, labels = scenes.seen(int(index))
        asked = 0
        while asked < kind.each:
            question = ask(rng, str(rng.choice(kind.tasks, p=kind.shares)), parts, labels)
            if question is None:
                # There is no part of which a colour could be asked.
                question = read(labels)
            prompts.append(f"{BOS}{question.prompt}\n")
            answers.append(f"{question.answer}{EOS}")
            images.append(image)
            asked += 1
    return as_tensors(prompts, answers, images, kind.length)


def as_tensors(prompts: list[str], answers: list[str], images: list[int], length: int) -> Prompts:
    """Texts as arrays padded to `length`, which every prompt with its answer must fit."""
    asked = [e.ids for e in TOKENIZER.encode_batch_fast(prompts, add_special_tokens=False)]
    wanted = [e.ids for e in TOKENIZER.encode_batch_fast(answers, add_special_tokens=False)]
    ids = np.zeros((len(asked), length), np.int64)
    target = np.full((len(asked), length), -1, np.int64)
    for i, (a, w) in enumerate(zip(asked, wanted, strict=True)):
        ids[i, : len(a) + len(w) - 1] = a + w[:-1]
        target[i, len(a) - 1 : len(a) + len(w) - 1] = w
    return Prompts(
        torch.from_numpy(ids),
        torch.tensor([len(a) for a in asked]),
        torch.tensor(images),
        torch.from_numpy(target),
    )
