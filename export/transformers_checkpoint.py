"""A checkpoint in transformers' format: config.json, safetensors (one file or shards), tokenizer.json.

Whichever version of transformers stored it, tensors are looked up by one set of names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (teaches numpy bfloat16, which safetensors' numpy side then reads)
import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open

from ..runtime.errors import CheckpointError
from .checkpoint import EMBEDDINGS, LM_HEAD, Checkpoint, Shape, expected_tensors
from .config import Config, read_config

# transformers renamed its modules twice; the published checkpoints carry the oldest names.
_PREFIXES = (
    (re.compile(r"^(model\.)?vision_tower\.(vision_model\.)?"), "vision."),
    (re.compile(r"^(model\.)?multi_modal_projector\.linear\."), "projector."),
    (re.compile(r"^(language_model\.)?lm_head\."), "lm_head."),
    (re.compile(r"^(model\.)?language_model\.(model\.)?"), "text."),
)


def canonical_name(stored_name: str) -> str:
    """The name that this project has for a tensor of transformers': "text.layers.0.mlp.up_proj.weight"."""
    for pattern, prefix in _PREFIXES:
        name, replaced = pattern.subn(prefix, stored_name, count=1)
        if replaced:
            return name
    return stored_name


_STORE_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class _Entry:
    file: Path
    stored_name: str


class TransformersCheckpoint(Checkpoint):
    """An opened checkpoint whose tensors are all there with the shapes its config asks for.

    Raises:
        CheckpointError: the folder is no PaliGemma, or a file or tensor is missing, cut, or of a wrong shape or type.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise CheckpointError(
                f"{folder} is not a folder; give the one that holds config.json and the safetensors files"
            )
        self.path = folder
        self.config: Config = read_config(folder)
        self._files: dict[Path, Any] = {}
        self._entries = self._index()
        self._types = {name: self._check(name, shape) for name, shape in expected_tensors(self.config).items()}

    def read_rows(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        entry = self._entries[name]
        if start == 0 and stop is None:
            return self._open(entry.file).get_tensor(entry.stored_name)
        return self._open(entry.file).get_slice(entry.stored_name)[start:stop]

    def dtype(self, name: str) -> str:
        return self._types[name]

    def _index(self) -> dict[str, _Entry]:
        entries: dict[str, _Entry] = {}
        for file in self._weight_files():
            for stored_name in self._open(file).keys():  # noqa: SIM118  (it is no dict)
                entries[canonical_name(stored_name)] = _Entry(file, stored_name)
        if EMBEDDINGS in entries and (self.config.tie_word_embeddings or LM_HEAD not in entries):
            entries[LM_HEAD] = entries[EMBEDDINGS]
        return entries

    def _weight_files(self) -> list[Path]:
        index = self.path / "model.safetensors.index.json"
        if index.exists():
            try:
                shards = sorted(set(msgspec.json.decode(index.read_bytes())["weight_map"].values()))
            except (OSError, msgspec.DecodeError, KeyError, TypeError, AttributeError):
                raise CheckpointError(f"{index} is not a valid index of shards; copy it once more") from None
            missing = [name for name in shards if not (self.path / name).exists()]
            if missing:
                raise CheckpointError(
                    f"{self.path} lacks the shard {missing[0]}, which {index.name} lists; copy it there"
                )
            return [self.path / name for name in shards]
        found = sorted(self.path.glob("*.safetensors"))
        if not found:
            raise CheckpointError(f"{self.path} has no safetensors file; save the model with save_pretrained(folder)")
        return found

    def _open(self, file: Path) -> Any:
        if file not in self._files:
            try:
                self._files[file] = safe_open(file, framework="np")
            except (SafetensorError, OSError) as error:
                raise CheckpointError(
                    f"{file} is cut or is not a safetensors file ({error}); copy it once more"
                ) from None
        return self._files[file]

    def _check(self, name: str, shape: Shape) -> str:
        entry = self._entries.get(name)
        if entry is None:
            raise CheckpointError(f"{self.path} lacks the tensor {name}; the checkpoint is incomplete")
        stored = self._open(entry.file).get_slice(entry.stored_name)
        if tuple(stored.get_shape()) != shape:
            raise CheckpointError(
                f"{entry.file}: {entry.stored_name} has shape {list(stored.get_shape())} where config.json asks for "
                f"{list(shape)}; config and weights are not of one model"
            )
        if stored.get_dtype() not in _STORE_TYPES:
            raise CheckpointError(
                f"{entry.file}: {entry.stored_name} is stored as {stored.get_dtype()}; "
                "give a checkpoint in bfloat16, float16 or float32"
            )
        return _STORE_TYPES[stored.get_dtype()]
