"""The decoder graph: Gemma (arXiv:2403.08295) or Gemma 2 (arXiv:2408.00118), for prefill, decode and verify alike.

Inputs and outputs are those of DESIGN §5 (docs/bundle.md): the new rows and the cached ones are attended to apart and only
their scores are joined, the next token is chosen inside the graph, and new keys and values are handed out for the native
core to append.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from .checkpoint import Checkpoint
from .config import TextConfig
from .graph import Graph
from .linear_layers import linear_weight


def build_decoder(graph: Graph, checkpoint: Checkpoint, *, show_hidden: bool = False) -> None:
    """Add the whole decoder to an empty graph; with `show_hidden` the stream after each layer is an output: hidden.i [B, T, H]."""
    config = checkpoint.config.text_config
    real = graph.numerics.element_type
    cache_row = [config.num_key_value_heads, config.head_dim]

    rows = graph.input("inputs_embeds", real, ["B", "T", config.hidden_size])
    past_length = graph.input("past_length", ir.DataType.INT32, ["B"])
    prefix_length = graph.input("prefix_length", ir.DataType.INT32, ["B"])
    logits_index = graph.input("logits_index", ir.DataType.INT32, ["N"])
    target = graph.input("target", ir.DataType.INT32, ["N"])
    past = [
        KeyValue(*(graph.input(f"past_{part}.{i}", real, ["B", "P", *cache_row]) for part in ("key", "value")))
        for i in range(config.num_hidden_layers)
    ]

    decoder = Decoder(graph, checkpoint, config)
    call = decoder.prepare(rows, past[0].key, past_length, prefix_length)
    for i, layer_past in enumerate(past):
        rows, new = decoder.layer(rows, i, layer_past, call)
        graph.output(f"new_key.{i}", new.key, real, ["B", "T", *cache_row])
        graph.output(f"new_value.{i}", new.value, real, ["B", "T", *cache_row])
        if show_hidden:
            graph.output(f"hidden.{i}", rows, real, ["B", "T", config.hidden_size])
    choice = decoder.choose(decoder.logits(rows, logits_index), target)
    graph.output("token", choice.token, ir.DataType.INT32, ["N"])
    graph.output("logprob", choice.logprob, ir.DataType.FLOAT, ["N"])
    graph.output("target_logprob", choice.target_logprob, ir.DataType.FLOAT, ["N"])


@dataclass(frozen=True)
class KeyValue:
    """Keys and values of some rows."""

    key: ir.Value  # [B, rows, kv_heads, head_dim]
    value: ir.Value  # [B, rows, kv_heads, head_dim]


@dataclass(frozen=True)
class Choice:
    """What follows each of some rows."""

    token: ir.Value  # [N] int32
    logprob: ir.Value  # [N] float32, of `token`
    target_logprob: ir.Value  # [N] float32, of the token that was asked about


@dataclass(frozen=True)
class Call:
    """What all layers of one call share: rotary tables, masks and shapes."""

    cosine: ir.Value  # [B, T, 1, head_dim / 2]
    sine: ir.Value  # [B, T, 1, head_dim / 2]
    mask: ir.Value  # [B, 1, T, 1, P + T]: 0 where a query may look, very negative elsewhere
    sliding_mask: ir.Value | None  # the same within the sliding window
    past_rows: ir.Value  # [1] int64: P
    all_rows: ir.Value  # [1] int64: P + T
    grouped_shape: ir.Value  # [5] int64: B, kv_heads, T, heads per kv head, P + T
    folded_shape: ir.Value  # [4] int64: B, kv_heads, T * heads per kv head, P + T


class Decoder:
    """The decoder's parts, each of which adds itself to the graph."""

    def __init__(self, graph: Graph, checkpoint: Checkpoint, config: TextConfig) -> None:
        self.graph = graph
        self.op = graph.op
        self.checkpoint = checkpoint
        self.config = config
        self.group = config.num_attention_heads // config.num_key_value_heads

    # Once per call

    def prepare(self, rows: ir.Value, past_key: ir.Value, past_length: ir.Value, prefix_length: ir.Value) -> Call:
        op, graph, config = self.op, self.graph, self.config
        batch, new_rows, past_rows = graph.dim(rows, 0), graph.dim(rows, 1), graph.dim(past_key, 1)
        all_rows = op.Add(past_rows, new_rows)
        kv_heads = graph.ints([config.num_key_value_heads])

        new_index = self._range(new_rows)  # [T] int32
        length = op.Unsqueeze(past_length, graph.ints([1]))  # [B, 1]
        position = op.Add(length, new_index)  # [B, T], from 0
        cosine, sine = self._rotary_tables(position)
        past_index = self._range(past_rows)  # [P] int32
        per_query = op.Concat(graph.ints([1]), new_rows, graph.ints([1]), axis=0)
        valid = op.Expand(op.Less(past_index, op.Unsqueeze(past_length, graph.ints([1, 2]))), per_query)  # [B, T, P]
        allowed, windowed = self._visibility(new_index, past_index, position, valid, prefix_length)
        return Call(
            cosine=cosine,
            sine=sine,
            mask=self._additive(allowed),
            sliding_mask=self._additive(windowed) if windowed is not None else None,
            past_rows=past_rows,
            all_rows=all_rows,
            grouped_shape=op.Concat(batch, kv_heads, new_rows, graph.ints([self.group]), all_rows, axis=0),
            folded_shape=op.Concat(batch, kv_heads, graph.ints([-1]), all_rows, axis=0),
        )

    def _range(self, length: ir.Value) -> ir.Value:
        stop = self.op.Squeeze(self.graph.cast(length, ir.DataType.INT32), self.graph.ints([0]))
        return self.op.Range(self.graph.ints(0, np.int32), stop, self.graph.ints(1, np.int32))

    def _rotary_tables(self, position: ir.Value) -> tuple[ir.Value, ir.Value]:
        # Angles in float32 whatever the graph's type: FP16 has no room for positions. PaliGemma counts them from 1.
        op, graph, config = self.op, self.graph, self.config
        exponent = np.arange(0, config.head_dim, 2, dtype=np.float32) / config.head_dim
        frequency = (1.0 / np.float32(config.rope_base) ** exponent).astype(np.float32)
        counted = graph.cast(op.Add(position, graph.ints(1, np.int32)), ir.DataType.FLOAT)
        angle = op.Mul(op.Unsqueeze(counted, graph.ints([2, 3])), graph.floats(frequency))  # [B, T, 1, head_dim / 2]
        return graph.from_float32(op.Cos(angle)), graph.from_float32(op.Sin(angle))

    def _visibility(
        self,
        new_index: ir.Value,
        past_index: ir.Value,
        position: ir.Value,
        valid: ir.Value,
        prefix_length: ir.Value,
    ) -> tuple[ir.Value, ir.Value | None]:
        """Who sees whom: [B, T, P + T] bool over cached and new rows, without and with the sliding window.

        As transformers has it, the rows of the prefix see each other whole, whatever the window.
        """
        op, graph = self.op, self.graph
        query = op.Unsqueeze(new_index, graph.ints([1]))  # [T, 1]
        causal = op.LessOrEqual(new_index, query)  # [T, T]
        in_prefix = op.Less(new_index, op.Unsqueeze(prefix_length, graph.ints([1])))  # [B, T]
        both_in_prefix = op.And(
            op.Unsqueeze(in_prefix, graph.ints([2])), op.Unsqueeze(in_prefix, graph.ints([1]))
        )  # [B, T, T]
        allowed = op.Concat(valid, op.Or(both_in_prefix, causal), axis=2)
        window = self.config.sliding_window
        if window is None or not any(map(self.config.slides, range(self.config.num_hidden_layers))):
            return allowed, None
        reach = graph.ints(window, np.int32)
        near_past = op.Less(op.Sub(op.Unsqueeze(position, graph.ints([2])), past_index), reach)  # [B, T, P]
        near_new = op.And(causal, op.Less(op.Sub(query, new_index), reach))  # [T, T]
        return allowed, op.Concat(op.And(valid, near_past), op.Or(both_in_prefix, near_new), axis=2)

    def _additive(self, allowed: ir.Value) -> ir.Value:
        # Half of the lowest finite value: room for a score to be added to it.
        lowest = float(np.finfo(self.graph.numerics.numpy_type).min) / 2
        mask = self.op.Where(allowed, self.graph.float(0.0), self.graph.float(lowest))  # [B, T, P + T]
        return self.op.Unsqueeze(mask, self.graph.ints([1, 3]))

    # Once per layer

    def layer(self, x: ir.Value, index: int, past: KeyValue, call: Call) -> tuple[ir.Value, KeyValue]:
        op, name = self.op, f"text.layers.{index}"
        mask = call.sliding_mask if call.sliding_mask is not None and self.config.slides(index) else call.mask
        attended, new = self.attention(self.norm(x, f"{name}.input_layernorm"), f"{name}.self_attn", past, call, mask)
        if not self.config.is_gemma2:
            x = op.Add(x, attended)
            return op.Add(x, self.mlp(self.norm(x, f"{name}.post_attention_layernorm"), f"{name}.mlp")), new
        x = op.Add(x, self.post_norm(attended, f"{name}.post_attention_layernorm"))
        mixed = self.mlp(self.norm(x, f"{name}.pre_feedforward_layernorm"), f"{name}.mlp")
        return op.Add(x, self.post_norm(mixed, f"{name}.post_feedforward_layernorm")), new

    def attention(
        self, x: ir.Value, name: str, past: KeyValue, call: Call, mask: ir.Value
    ) -> tuple[ir.Value, KeyValue]:
        op, graph, config = self.op, self.graph, self.config
        heads, kv_heads, head_dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim

        joined = op.Reshape(self.linear(x, f"{name}.qkv_proj"), graph.ints([0, 0, heads + 2 * kv_heads, head_dim]))
        turning, value = op.Split(joined, graph.ints([heads + kv_heads, kv_heads]), axis=2, _outputs=2)
        query, key = op.Split(self.rotate(turning, call), graph.ints([heads, kv_heads]), axis=2, _outputs=2)
        new = KeyValue(key, value)

        query = self._by_kv_head(
            op.Mul(query, graph.float(config.attention_scale))
        )  # [B, kv_heads, T * group, head_dim]
        scores = op.Concat(
            op.MatMul(query, self._columns(past.key)), op.MatMul(query, self._columns(key)), axis=3
        )  # [B, kv_heads, T * group, P + T]
        if config.attn_logit_softcapping is not None:
            scores = self._soft_cap(scores, config.attn_logit_softcapping)
        scores = op.Add(op.Reshape(scores, call.grouped_shape), mask)
        weights = op.Reshape(op.Softmax(scores, axis=-1), call.folded_shape)
        axis, start = graph.ints([3]), graph.ints([0])
        mixed = op.Add(
            op.MatMul(op.Slice(weights, start, call.past_rows, axis), self._rows(past.value)),
            op.MatMul(op.Slice(weights, call.past_rows, call.all_rows, axis), self._rows(value)),
        )  # [B, kv_heads, T * group, head_dim]
        return self.linear(self._by_row(mixed), f"{name}.o_proj", scale=self._branch_scale), new

    def mlp(self, x: ir.Value, name: str) -> ir.Value:
        inner = self.config.intermediate_size
        both = self.linear(x, f"{name}.gate_up_proj")
        gate, up = self.op.Split(both, self.graph.ints([inner, inner]), axis=2, _outputs=2)
        gate = self.gelu_erf(gate) if self.config.exact_gelu else self.graph.gelu_tanh(gate)
        gated = self.op.Mul(gate, up)
        return self.linear(gated, f"{name}.down_proj", scale=self._branch_scale)

    def rotate(self, x: ir.Value, call: Call) -> ir.Value:
        """Rotary position embedding (Su et al. 2021, arXiv:2104.09864), halves apart as Gemma stores them."""
        op, half = self.op, self.config.head_dim // 2
        first, second = op.Split(x, self.graph.ints([half, half]), axis=3, _outputs=2)
        return op.Concat(
            op.Sub(op.Mul(first, call.cosine), op.Mul(second, call.sine)),
            op.Add(op.Mul(second, call.cosine), op.Mul(first, call.sine)),
            axis=3,
        )

    # The folding of heads: a query head goes to the kv head it shares, beside its group, so nothing of the cache is repeated.

    def _by_kv_head(self, query: ir.Value) -> ir.Value:
        op, graph, kv_heads, head_dim = (
            self.op,
            self.graph,
            self.config.num_key_value_heads,
            self.config.head_dim,
        )
        if kv_heads == 1:
            return op.Reshape(query, graph.ints([0, 1, -1, head_dim]))
        split = op.Reshape(query, graph.ints([0, 0, kv_heads, self.group, head_dim]))
        return op.Reshape(op.Transpose(split, perm=[0, 2, 1, 3, 4]), graph.ints([0, kv_heads, -1, head_dim]))

    def _by_row(self, mixed: ir.Value) -> ir.Value:
        op, graph, kv_heads, head_dim = (
            self.op,
            self.graph,
            self.config.num_key_value_heads,
            self.config.head_dim,
        )
        width = self.config.num_attention_heads * head_dim
        if kv_heads == 1:
            return op.Reshape(mixed, graph.ints([0, -1, width]))
        split = op.Reshape(mixed, graph.ints([0, kv_heads, -1, self.group, head_dim]))
        return op.Reshape(op.Transpose(split, perm=[0, 2, 1, 3, 4]), graph.ints([0, -1, width]))

    def _rows(self, cached: ir.Value) -> ir.Value:
        """[B, rows, kv_heads, head_dim] -> [B, kv_heads, rows, head_dim]; with one head that is a change of name only."""
        if self.config.num_key_value_heads == 1:
            return self.op.Reshape(cached, self.graph.ints([0, 1, -1, self.config.head_dim]))
        return self.op.Transpose(cached, perm=[0, 2, 1, 3])

    def _columns(self, cached: ir.Value) -> ir.Value:
        # A transpose of the last two axes is taken up by the matrix product, in onnxruntime and in TensorRT.
        return self.op.Transpose(self._rows(cached), perm=[0, 1, 3, 2])

    # Rows become tokens

    def logits(self, rows: ir.Value, logits_index: ir.Value) -> ir.Value:
        """The logits of what follows some of the rows: [N, vocabulary] float32, since a sum over the vocabulary overflows FP16."""
        op, graph, config = self.op, self.graph, self.config
        flat = op.Reshape(rows, graph.ints([-1, config.hidden_size]))
        wanted = self.norm(op.Gather(flat, logits_index, axis=0), "text.norm")  # [N, H]
        logits = graph.to_float32(self.linear(wanted, "lm_head"))
        if config.final_logit_softcapping is not None:
            logits = self._soft_cap(logits, config.final_logit_softcapping, np.float32)
        return logits

    def choose(self, logits: ir.Value, target: ir.Value) -> Choice:
        """Arg-max over the vocabulary, and the log-probabilities of it and of `target` [N]."""
        op, graph = self.op, self.graph
        token = graph.cast(op.ArgMax(logits, axis=-1, keepdims=0), ir.DataType.INT32)
        highest = graph.reduce("ReduceMax", logits)  # [N, 1]
        total = op.ReduceSum(op.Exp(op.Sub(logits, highest)), graph.ints([-1]), keepdims=1)
        logprob = op.Neg(op.Log(total))  # [N, 1]
        named = op.GatherElements(logits, op.Unsqueeze(target, graph.ints([1])), axis=1)  # [N, 1]
        below = op.Sub(named, highest)
        last = graph.ints([1])
        return Choice(token, op.Squeeze(logprob, last), op.Squeeze(op.Add(below, logprob), last))

    # Small parts

    @property
    def _branch_scale(self) -> float:
        """What a branch's last projection is multiplied by; Gemma 2's branches end in a norm that carries it."""
        return 1.0 if self.config.is_gemma2 else self.graph.numerics.residual_scale

    def norm(self, x: ir.Value, name: str) -> ir.Value:
        """The RMSNorm of the residual stream."""
        return self._rms_norm(x, name, self.graph.numerics.residual_epsilon(self.config.rms_norm_eps), 1.0)

    def post_norm(self, x: ir.Value, name: str) -> ir.Value:
        """Gemma 2's RMSNorm at the end of a branch: what it puts out is added to the residual stream."""
        return self._rms_norm(x, name, self.config.rms_norm_eps, self.graph.numerics.residual_scale)

    def _rms_norm(self, x: ir.Value, name: str, epsilon: float, scale: float) -> ir.Value:
        """x / sqrt(mean(x^2) + epsilon) * (1 + weight) (Zhang and Sennrich 2019, arXiv:1910.07467; Gemma adds the 1)."""
        op, graph = self.op, self.graph
        weight = (1.0 + self.checkpoint.read(f"{name}.weight").astype(np.float32)) * scale
        wide = graph.to_float32(x)  # squares overflow FP16
        mean_square = graph.reduce("ReduceMean", op.Pow(wide, graph.float(2.0, np.float32)))
        normed = op.Div(wide, op.Sqrt(op.Add(mean_square, graph.float(epsilon, np.float32))))
        return op.Mul(graph.from_float32(normed), graph.weight(f"{name}.weight", weight))

    def linear(self, x: ir.Value, name: str, scale: float = 1.0) -> ir.Value:
        return self.graph.linear(x, name, linear_weight(self.checkpoint, name, scale))

    def _soft_cap(self, x: ir.Value, cap: float, dtype: type | None = None) -> ir.Value:
        """cap * tanh(x / cap), Gemma 2 (arXiv:2408.00118, section 2)."""
        limit = self.graph.float(cap, dtype)
        return self.op.Mul(self.op.Tanh(self.op.Div(x, limit)), limit)

    def gelu_erf(self, x: ir.Value) -> ir.Value:
        op, graph = self.op, self.graph
        half = op.Mul(x, graph.float(0.5))
        return op.Mul(half, op.Add(op.Erf(op.Mul(x, graph.float(2**-0.5))), graph.float(1.0)))
