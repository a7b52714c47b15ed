"""Scenes as arrays to train on: drawn once into chunk files by several processes, read back whole.

python -m palijet.demo.dataset .training/scenes --chunks 20     # 2,000 scenes a chunk, each a seed
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .drawing import Seen, View, draw
from .glyphs import CHARACTERS
from .scene import COLOURS, MAX_PARTS, SERIAL_LENGTH, SHAPES, random_scene

IMAGE_SIZE = 112
PATCHES = 7  # along a side
CHUNK = 2000
FIRST_TRAINING_SEED = 1_000_000
"""Seeds below this are never trained on."""

_MIN_SHARE = 0.2  # of a patch, for it to belong to an object


@dataclass(frozen=True)
class Scenes:
    """n scenes. Objects: the parts from left to right, then the label if one is whole; unused rows are -1."""

    images: NDArray[np.uint8]  # [n, 112, 112, 3] RGB
    patch_owner: NDArray[np.int8]  # [n, 49] index into the objects, -1 for the belt
    shape: NDArray[np.int8]  # [n, 5] index into SHAPES, len(SHAPES) for a label
    colour: NDArray[np.int8]  # [n, 5] index into COLOURS
    box: NDArray[np.float32]  # [n, 5, 4] y0 x0 y1 x1, 0 to 1
    serial: NDArray[np.int8]  # [n, 4] index into CHARACTERS

    def __len__(self) -> int:
        return len(self.images)

    def seen(self, index: int) -> tuple[tuple[Seen, ...], tuple[Seen, ...]]:
        """The parts and the labels of one scene, as `drawing.draw` returned them."""
        parts, labels = [], []
        for shape, colour, box in zip(self.shape[index], self.colour[index], self.box[index], strict=True):
            corners = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
            if shape == len(SHAPES):
                serial = "".join(CHARACTERS[i] for i in self.serial[index])
                labels.append(Seen("label", "white", serial, corners))
            elif shape >= 0:
                parts.append(Seen(SHAPES[shape], COLOURS[colour], "", corners))
        return tuple(parts), tuple(labels)


def squash(image: NDArray[np.uint8], size: int = IMAGE_SIZE) -> NDArray[np.uint8]:
    """A BGR frame as the model's square RGB input, resized as PaliGemma's processor does."""
    square = Image.fromarray(np.ascontiguousarray(image[:, :, ::-1])).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(square)


def patch_owners(owner: NDArray[np.int8], objects: int) -> NDArray[np.int8]:
    """The object that each patch mostly shows: [49] int8. Every object gets at least its best patch."""
    samples = 8 * PATCHES
    rows = (np.arange(samples) * owner.shape[0] + owner.shape[0] // 2) // samples
    columns = (np.arange(samples) * owner.shape[1] + owner.shape[1] // 2) // samples
    grid = owner[rows[:, None], columns[None, :]].reshape(PATCHES, 8, PATCHES, 8)
    result = np.full(PATCHES * PATCHES, -1, np.int8)
    if objects == 0:
        return result
    shares = np.stack([(grid == index).mean(axis=(1, 3)).ravel() for index in range(objects)])
    owned = shares.max(axis=0) >= _MIN_SHARE
    result[owned] = shares.argmax(axis=0)[owned].astype(np.int8)
    for index in range(objects):
        if not (result == index).any():
            result[shares[index].argmax()] = index
    return result


def draw_scenes(seeds: range) -> Scenes:
    """Draw the scenes of some seeds."""
    n, slots = len(seeds), MAX_PARTS + 1
    scenes = Scenes(
        images=np.empty((n, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8),
        patch_owner=np.empty((n, PATCHES * PATCHES), np.int8),
        shape=np.full((n, slots), -1, np.int8),
        colour=np.full((n, slots), -1, np.int8),
        box=np.zeros((n, slots, 4), np.float32),
        serial=np.full((n, SERIAL_LENGTH), -1, np.int8),
    )
    for i, seed in enumerate(seeds):
        _write(scenes, i, draw(random_scene(seed)))
    return scenes


def _write(scenes: Scenes, i: int, view: View) -> None:
    objects = view.parts + view.labels
    scenes.images[i] = squash(view.image)
    scenes.patch_owner[i] = patch_owners(view.owner, len(objects))
    for k, seen in enumerate(objects):
        scenes.box[i, k] = seen.box
        if seen.serial:
            scenes.shape[i, k] = len(SHAPES)
            scenes.serial[i] = [CHARACTERS.index(character) for character in seen.serial]
        else:
            scenes.shape[i, k] = SHAPES.index(seen.name)
            scenes.colour[i, k] = COLOURS.index(seen.colour)


def chunk_paths(folder: Path) -> list[Path]:
    """The chunk files of a folder, in order."""
    return sorted(folder.glob("scenes-????.npz"))


def write_chunk(folder: Path, number: int) -> None:
    """Draw chunk `number` into `folder`, unless it is there."""
    path = folder / f"scenes-{number:04d}.npz"
    if path.exists():
        return
    first = FIRST_TRAINING_SEED + number * CHUNK
    scenes = draw_scenes(range(first, first + CHUNK))
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **{field.name: getattr(scenes, field.name) for field in fields(Scenes)})
    partial.rename(path)


def read_chunk(path: Path) -> Scenes:
    """The scenes of one chunk file."""
    with np.load(path) as arrays:
        return Scenes(**{field.name: arrays[field.name] for field in fields(Scenes)})


def join(chunks: list[Scenes]) -> Scenes:
    """Several chunks as one."""
    return Scenes(**{f.name: np.concatenate([getattr(c, f.name) for c in chunks]) for f in fields(Scenes)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--step", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for number in range(options.first, options.first + options.chunks, options.step):
        write_chunk(options.folder, number)


if __name__ == "__main__":
    main()
