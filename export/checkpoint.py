"""A PaliGemma checkpoint in transformers' format: config.json, safetensors (one file or shards), tokenizer.json.

Tensors are looked up by one set of names, whichever version of transformers stored them, and read one at a time.
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
from .config import Config, read_config

# transformers renamed its modules twice; the published checkpoints carry the oldest names.
_PREFIXES = (
    (re.compile(r"^(model\.)?vision_tower\.(vision_model\.)?"), "vision."),
    (re.compile(r"^(model\.)?multi_modal_projector\.linear\."), "projector."),
    (re.compile(r"^(language_model\.)?lm_head\."), "lm_head."),
    (re.compile(r"^(model\.)?language_model\.(model\.)?"), "text."),
)

_STORE_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}

Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Entry:
    file: Path
    stored_name: str


class Checkpoint:
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

    def read(self, name: str) -> np.ndarray:
        """A whole tensor in its stored type."""
        entry = self._entries[name]
        return self._open(entry.file).get_tensor(entry.stored_name)

    def read_rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of a tensor, in its stored type."""
        entry = self._entries[name]
        return self._open(entry.file).get_slice(entry.stored_name)[start:stop]

    def dtype(self, name: str) -> str:
        """The stored type: "float32", "float16" or "bfloat16"."""
        return self._types[name]

    def _index(self) -> dict[str, _Entry]:
        entries: dict[str, _Entry] = {}
        for file in self._weight_files():
            for stored_name in self._open(file).keys():  # noqa: SIM118  (it is no dict)
                name = stored_name
                for pattern, prefix in _PREFIXES:
                    name, replaced = pattern.subn(prefix, name, count=1)
                    if replaced:
                        break
                entries[name] = _Entry(file, stored_name)
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


EMBEDDINGS = "text.embed_tokens.weight"
LM_HEAD = "lm_head.weight"


def expected_tensors(config: Config) -> dict[str, Shape]:
    """The tensors of a PaliGemma and their shapes; linear weights are [out, in] as PyTorch stores them."""
    vision, text = config.vision_config, config.text_config
    hidden, patch = vision.hidden_size, vision.patch_size
    shapes: dict[str, Shape] = {
        "vision.embeddings.patch_embedding.weight": (hidden, 3, patch, patch),
        "vision.embeddings.patch_embedding.bias": (hidden,),
        "vision.embeddings.position_embedding.weight": (vision.rows, hidden),
        **_layer_norm("vision.post_layernorm", hidden),
        **_linear("projector", text.hidden_size, hidden),
    }
    for i in range(vision.num_hidden_layers):
        layer = f"vision.encoder.layers.{i}"
        shapes |= _layer_norm(f"{layer}.layer_norm1", hidden) | _layer_norm(f"{layer}.layer_norm2", hidden)
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{layer}.self_attn.{projection}", hidden, hidden)
        shapes |= _linear(f"{layer}.mlp.fc1", vision.intermediate_size, hidden)
        shapes |= _linear(f"{layer}.mlp.fc2", hidden, vision.intermediate_size)

    hidden = text.hidden_size
    queries = text.num_attention_heads * text.head_dim
    keys = text.num_key_value_heads * text.head_dim
    shapes |= {EMBEDDINGS: (text.vocab_size, hidden), "text.norm.weight": (hidden,)}
    norms = ["input_layernorm", "post_attention_layernorm"]
    if text.is_gemma2:
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    for i in range(text.num_hidden_layers):
        layer = f"text.layers.{i}"
        shapes |= {f"{layer}.{norm}.weight": (hidden,) for norm in norms}
        shapes |= {
            f"{layer}.self_attn.q_proj.weight": (queries, hidden),
            f"{layer}.self_attn.k_proj.weight": (keys, hidden),
            f"{layer}.self_attn.v_proj.weight": (keys, hidden),
            f"{layer}.self_attn.o_proj.weight": (hidden, queries),
            f"{layer}.mlp.gate_proj.weight": (text.intermediate_size, hidden),
            f"{layer}.mlp.up_proj.weight": (text.intermediate_size, hidden),
            f"{layer}.mlp.down_proj.weight": (hidden, text.intermediate_size),
        }
    if not config.tie_word_embeddings:
        shapes[LM_HEAD] = (text.vocab_size, hidden)
    return shapes


def _linear(name: str, out: int, into: int) -> dict[str, Shape]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _layer_norm(name: str, size: int) -> dict[str, Shape]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
