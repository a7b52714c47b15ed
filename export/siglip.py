"""The vision graph: SigLIP (Zhai et al. 2023, arXiv:2303.15343) and PaliGemma's projector.

`pixel_values [B, 3, S, S]` float32 -> `image_rows [B, N, H]`, ready to stand in the decoder's residual stream.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .checkpoint import Checkpoint
from .config import VisionConfig
from .graph import Graph
from .linear_layers import linear_bias, linear_weight


def build_vision(graph: Graph, checkpoint: Checkpoint) -> None:
    """Add the whole vision encoder to an empty graph."""
    vision, text = checkpoint.config.vision_config, checkpoint.config.text_config
    size = vision.image_size
    pixels = graph.input("pixel_values", ir.DataType.FLOAT, ["B", 3, size, size])
    encoder = Encoder(graph, checkpoint, vision)
    x = encoder.embed(graph.from_float32(pixels))  # [B, N, D]
    for layer in range(vision.num_hidden_layers):
        x = encoder.layer(x, f"vision.encoder.layers.{layer}")
    graph.output("image_rows", encoder.project(x), graph.numerics.element_type, ["B", vision.rows, text.hidden_size])


class Encoder:
    """The encoder's parts, each of which adds itself to the graph."""

    def __init__(self, graph: Graph, checkpoint: Checkpoint, config: VisionConfig) -> None:
        self.graph = graph
        self.op = graph.op
        self.checkpoint = checkpoint
        self.config = config

    def embed(self, pixels: ir.Value) -> ir.Value:
        patch, hidden = self.config.patch_size, self.config.hidden_size
        name = "vision.embeddings"
        patches = self.op.Conv(
            pixels,
            self.parameter(f"{name}.patch_embedding.weight"),
            self.parameter(f"{name}.patch_embedding.bias"),
            kernel_shape=[patch, patch],
            strides=[patch, patch],
        )  # [B, D, S / patch, S / patch]
        rows = self.op.Transpose(self.op.Reshape(patches, self.graph.ints([0, hidden, -1])), perm=[0, 2, 1])
        return self.op.Add(rows, self.parameter(f"{name}.position_embedding.weight"))

    def layer(self, x: ir.Value, name: str) -> ir.Value:
        x = self.op.Add(x, self.attention(self.layer_norm(x, f"{name}.layer_norm1"), f"{name}.self_attn"))
        return self.op.Add(x, self.mlp(self.layer_norm(x, f"{name}.layer_norm2"), f"{name}.mlp"))

    def attention(self, x: ir.Value, name: str) -> ir.Value:
        op, heads, head_dim = self.op, self.config.num_attention_heads, self.config.head_dim
        joined = op.Reshape(self.linear(x, f"{name}.qkv_proj"), self.graph.ints([0, 0, 3 * heads, head_dim]))
        split = self.graph.ints([heads, heads, heads])
        query, key, value = op.Split(joined, split, axis=2, _outputs=3)  # [B, N, heads, head_dim]
        query = op.Transpose(op.Mul(query, self.graph.float(head_dim**-0.5)), perm=[0, 2, 1, 3])
        scores = op.MatMul(query, op.Transpose(key, perm=[0, 2, 3, 1]))  # [B, heads, N, N]
        mixed = op.MatMul(op.Softmax(scores, axis=-1), op.Transpose(value, perm=[0, 2, 1, 3]))
        joined = op.Reshape(op.Transpose(mixed, perm=[0, 2, 1, 3]), self.graph.ints([0, 0, heads * head_dim]))
        return self.linear(joined, f"{name}.out_proj")

    def mlp(self, x: ir.Value, name: str) -> ir.Value:
        # 4304 inner channels are no whole number of blocks: channels of zeros are added, which stay zeros through the GELU.
        inner = self.config.intermediate_size
        inner += -inner % self.graph.scheme(f"{name}.fc2").block
        return self.linear(self.graph.gelu_tanh(self.linear(x, f"{name}.fc1", out=inner)), f"{name}.fc2", into=inner)

    def project(self, x: ir.Value) -> ir.Value:
        """The encoder's last norm and the projector: rows as wide as the decoder's, [B, N, H]."""
        x = self.layer_norm(x, "vision.post_layernorm")
        return self.linear(x, "projector", scale=self.graph.numerics.residual_scale)

    def layer_norm(self, x: ir.Value, name: str) -> ir.Value:
        weight, bias = self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias")
        return self.op.LayerNormalization(x, weight, bias, axis=-1, epsilon=self.config.layer_norm_eps)

    def linear(
        self, x: ir.Value, name: str, *, scale: float = 1.0, out: int | None = None, into: int | None = None
    ) -> ir.Value:
        weight = linear_weight(self.checkpoint, name, scale)
        weight = weight.padded(out or weight.shape[0], into or weight.shape[1])
        bias = linear_bias(self.checkpoint, name, scale)
        bias = np.pad(bias, (0, weight.shape[0] - len(bias)))
        product = self.graph.linear(x, name, weight)
        return self.op.Add(product, self.graph.weight(f"{name}.bias", bias))

    def parameter(self, name: str) -> ir.Value:
        return self.graph.weight(name, self.checkpoint.read(name))
