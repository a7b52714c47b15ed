"""A PaliGemma checkpoint, whatever it is stored in: tensors under one set of names, read one at a time.

`open_checkpoint` opens a folder of transformers' format or an .npz of big_vision's; adapters and smoothing are laid over it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from .config import Config

Shape = tuple[int, ...]


class Checkpoint(ABC):
    """Tensors of a PaliGemma, all there with the shapes its config asks for (see `expected_tensors`)."""

    path: Path  # a folder, which holds tokenizer.json as well
    config: Config

    @abstractmethod
    def read_rows(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows [start, stop) of a tensor, in its stored type: float32, float16 or bfloat16."""

    @abstractmethod
    def dtype(self, name: str) -> str:
        """The stored type: "float32", "float16" or "bfloat16"."""

    def read(self, name: str) -> np.ndarray:
        """A whole tensor in its stored type. LM_HEAD is the embedding table where they are tied."""
        return self.read_rows(name)


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
