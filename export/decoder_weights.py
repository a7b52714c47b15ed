"""The manifest's account of the decoder's weights: where each lies, and what is computed with them."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from ..runtime.bundle import DecoderArithmetic, DecoderWeights, StoredLinear, StoredTensor
from .config import TextConfig
from .linear import BlockwiseLinear, LinearScheme, W8A8Linear
from .numerics import Numerics
from .weights import WeightFile


def describe_decoder(
    config: TextConfig, numerics: Numerics, store: WeightFile, schemes: Mapping[str, LinearScheme]
) -> DecoderWeights:
    """Of a decoder that `build_decoder` has written into `store`; `schemes` as its graph had them."""
    layers = range(config.num_hidden_layers)
    linears = [
        f"text.layers.{i}.{name}"
        for i in layers
        for name in ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
    ]
    norms = ["input_layernorm", "post_attention_layernorm"]
    if config.is_gemma2:
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    return DecoderWeights(
        file=store.file.path.name,
        arithmetic=DecoderArithmetic(
            epsilon=numerics.residual_epsilon(config.rms_norm_eps),
            post_epsilon=config.rms_norm_eps if config.is_gemma2 else None,
            rope_base=config.rope_base,
            attention_scale=config.attention_scale,
            attention_cap=config.attn_logit_softcapping,
            logit_cap=config.final_logit_softcapping,
            exact_gelu=config.exact_gelu,
            windows=tuple(config.sliding_window if config.slides(i) else None for i in layers),
        ),
        linears={name: _linear(name, store, schemes.get(name)) for name in [*linears, "lm_head"]},
        norms={
            name: _tensor(store, f"{name}.weight", ir.DataType.FLOAT)
            for name in ["text.norm", *(f"text.layers.{i}.{norm}" for i in layers for norm in norms)]
        },
    )


def _linear(name: str, store: WeightFile, scheme: LinearScheme | None) -> StoredLinear:
    weight = _tensor(store, f"{name}.weight", ir.DataType.INT8)
    if isinstance(scheme, W8A8Linear):
        scale = _tensor(store, f"{name}.scale", ir.DataType.FLOAT16)
        return StoredLinear(weight=weight, scale=scale, input_scale=scheme.input_scale)
    if isinstance(scheme, BlockwiseLinear):
        return StoredLinear(
            weight=weight, scale=_tensor(store, f"{name}.scale", ir.DataType.FLOAT16), block=scheme.block
        )
    return StoredLinear(weight=weight)


def _tensor(store: WeightFile, name: str, preferred: ir.DataType) -> StoredTensor:
    found = store.find(name)
    tensor = next((tensor for tensor in found if tensor.dtype == preferred), found[0])
    dtypes = {
        ir.DataType.FLOAT: "float32",
        ir.DataType.FLOAT16: "float16",
        ir.DataType.INT8: "int8",
        ir.DataType.INT4: "int4",
    }
    shape = tuple(int(size) for size in tensor.shape.numpy())
    return StoredTensor(dtype=dtypes[tensor.dtype], shape=shape, offset=tensor.offset or 0)
