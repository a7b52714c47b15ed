"""The linear layers of a PaliGemma: their names, the tensors they are stacked of, and what makes their input.

Tensors that read one input are one layer (queries, keys and values; gate and up). What makes the input, a norm or another
linear layer, can take over a scale per channel of it: so quantization moves the difficulty of activations into weights
without changing the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .checkpoint import Checkpoint
from .config import Config, TextConfig, VisionConfig
from .linear import Weight


@dataclass(frozen=True)
class Producer:
    """What makes a layer's input, channel by channel: tensors whose rows carry its scale."""

    rows: tuple[str, ...]  # [channels, ...]: a linear layer's weight and bias, or a norm's
    offset: float = 0.0  # what the model adds to the tensor before it uses it: Gemma's norms are 1 + weight
    heads: tuple[int, int] | None = None  # (key-value heads, query heads) where the input repeats the former

    def spread(self, scale: NDArray[np.float32]) -> NDArray[np.float32]:
        """A scale per channel of the producer -> per channel of the input."""
        if self.heads is None:
            return scale
        kv_heads, heads = self.heads
        return np.repeat(scale.reshape(kv_heads, -1), heads // kv_heads, axis=0).reshape(-1)

    def gather(self, size: NDArray[np.float32]) -> NDArray[np.float32]:
        """The largest value per channel of the input -> per channel of the producer."""
        if self.heads is None:
            return size
        kv_heads, heads = self.heads
        return size.reshape(kv_heads, heads // kv_heads, -1).max(axis=1).reshape(-1)


@dataclass(frozen=True)
class LinearLayer:
    """A matrix of the graph, stacked of checkpoint tensors [out, in]."""

    name: str
    part: str  # "vision", "projector", "decoder" or "head"
    tensors: tuple[str, ...]
    out: int
    into: int
    producer: Producer | None = None  # None where a nonlinearity stands before the input

    @property
    def is_padded(self) -> bool:
        """Whether zeros may be added to its input: the GELU before it keeps them (see siglip.Encoder.mlp)."""
        return self.name.endswith("mlp.fc2")

    @property
    def weights(self) -> int:
        """How many there are."""
        return self.out * self.into

    @property
    def biases(self) -> tuple[str, ...]:
        """The tensors of its bias, in the vision tower."""
        return tuple(tensor.replace(".weight", ".bias") for tensor in self.tensors)


def linear_layers(config: Config) -> dict[str, LinearLayer]:
    """All layers by name, in the order in which a frame passes them."""
    vision, text = config.vision_config, config.text_config
    layers: list[LinearLayer] = []
    for i in range(vision.num_hidden_layers):
        layers += _vision_layer(vision, f"vision.encoder.layers.{i}")
    norm = _layer_norm("vision.post_layernorm")
    layers.append(_layer("projector", "projector", text.hidden_size, vision.hidden_size, norm))
    for i in range(text.num_hidden_layers):
        layers += _text_layer(text, f"text.layers.{i}")
    layers.append(_layer("lm_head", "head", text.vocab_size, text.hidden_size, _rms_norm("text.norm")))
    return {layer.name: layer for layer in layers}


def linear_weight(checkpoint: Checkpoint, name: str, scale: float = 1.0) -> Weight:
    """The weight of the linear layer of this name, times `scale`."""
    layer = linear_layers(checkpoint.config)[name]

    def read() -> np.ndarray:
        parts = [checkpoint.read(tensor) for tensor in layer.tensors]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return Weight(name, (layer.out, layer.into), read, scale)


def linear_bias(checkpoint: Checkpoint, name: str, scale: float = 1.0) -> NDArray[np.float32]:
    """The bias of the linear layer of this name, times `scale`."""
    layer = linear_layers(checkpoint.config)[name]
    parts = [checkpoint.read(tensor).astype(np.float32) for tensor in layer.biases]
    return np.concatenate(parts) * np.float32(scale)


def _vision_layer(config: VisionConfig, name: str) -> Iterator[LinearLayer]:
    hidden, inner, attention = config.hidden_size, config.intermediate_size, f"{name}.self_attn"
    yield LinearLayer(
        f"{attention}.qkv_proj",
        "vision",
        tuple(f"{attention}.{part}_proj.weight" for part in ("q", "k", "v")),
        3 * hidden,
        hidden,
        _layer_norm(f"{name}.layer_norm1"),
    )
    value = f"{attention}.v_proj"
    yield _layer(f"{attention}.out_proj", "vision", hidden, hidden, Producer((f"{value}.weight", f"{value}.bias")))
    yield _layer(f"{name}.mlp.fc1", "vision", inner, hidden, _layer_norm(f"{name}.layer_norm2"))
    yield _layer(f"{name}.mlp.fc2", "vision", hidden, inner)


def _text_layer(config: TextConfig, name: str) -> Iterator[LinearLayer]:
    hidden, inner, heads, kv_heads = (
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads,
        config.num_key_value_heads,
    )
    attention, mlp = f"{name}.self_attn", f"{name}.mlp"
    yield LinearLayer(
        f"{attention}.qkv_proj",
        "decoder",
        tuple(f"{attention}.{part}_proj.weight" for part in ("q", "k", "v")),
        (heads + 2 * kv_heads) * config.head_dim,
        hidden,
        _rms_norm(f"{name}.input_layernorm"),
    )
    value = Producer((f"{attention}.v_proj.weight",), heads=(kv_heads, heads))
    yield _layer(f"{attention}.o_proj", "decoder", hidden, heads * config.head_dim, value)
    yield LinearLayer(
        f"{mlp}.gate_up_proj",
        "decoder",
        tuple(f"{mlp}.{part}_proj.weight" for part in ("gate", "up")),
        2 * inner,
        hidden,
        _rms_norm(f"{name}.{'pre_feedforward' if config.is_gemma2 else 'post_attention'}_layernorm"),
    )
    yield _layer(f"{mlp}.down_proj", "decoder", hidden, inner, Producer((f"{mlp}.up_proj.weight",)))


def _layer(name: str, part: str, out: int, into: int, producer: Producer | None = None) -> LinearLayer:
    return LinearLayer(name, part, (f"{name}.weight",), out, into, producer)


def _layer_norm(name: str) -> Producer:
    return Producer((f"{name}.weight", f"{name}.bias"))


def _rms_norm(name: str) -> Producer:
    return Producer((f"{name}.weight",), offset=1.0)
