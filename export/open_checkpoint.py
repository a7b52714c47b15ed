"""Opens whatever a checkpoint is stored in, with adapters laid over it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .adapter import adapted
from .big_vision import BigVisionCheckpoint, find_npz
from .checkpoint import Checkpoint
from .transformers_checkpoint import TransformersCheckpoint


def open_checkpoint(path: Path, adapters: Sequence[Path] = ()) -> Checkpoint:
    """A folder in transformers' format, or big_vision's .npz (or a folder that holds one and a tokenizer.json).

    adapters: folders of PEFT's, merged one after the other.

    Raises:
        CheckpointError: it is no PaliGemma, or a file or tensor is missing, cut, or of a wrong shape or type; or an adapter
            is of another model or of a kind that cannot be merged.
    """
    npz = find_npz(path)
    checkpoint: Checkpoint = TransformersCheckpoint(path) if npz is None else BigVisionCheckpoint(npz)
    for folder in adapters:
        checkpoint = adapted(checkpoint, folder)
    return checkpoint
