"""The decoder on the CPU by kernels of our own, where this CPU has what they are written for."""

from __future__ import annotations

from . import _native
from .bundle import Bundle, DecoderWeights, StoredLinear, StoredTensor


def open_cpu_decoder(bundle: Bundle, threads: int = 0, kernels: str = "fast") -> _native.CpuEngine:
    """Open a bundle's decoder; weights stay in its file, mapped.

    threads: 0: one per physical core. kernels: "fast", or "portable", which is slow and for comparison.

    Raises:
        BundleError: the manifest does not tell where the weights are, or they are not there.
        EngineError: this CPU has not what the fast kernels need.
    """
    spec, weights = bundle.manifest.decoder, bundle.manifest.decoder_weights
    assert weights is not None
    told = weights.arithmetic
    arithmetic = _native.DecoderArithmetic(
        hidden=spec.hidden,
        intermediate=spec.intermediate,
        heads=spec.heads,
        kv_heads=spec.kv_heads,
        head_dim=spec.head_dim,
        vocab=spec.vocab,
        is_fp16=bundle.manifest.precision == "fp16",
        epsilon=told.epsilon,
        post_epsilon=told.post_epsilon,
        rope_base=told.rope_base,
        attention_scale=told.attention_scale,
        attention_cap=told.attention_cap,
        logit_cap=told.logit_cap,
        exact_gelu=told.exact_gelu,
        windows=told.windows,
    )
    return _native.CpuEngine(
        str(bundle.path / weights.file),
        arithmetic,
        linears={name: _linear(linear) for name, linear in weights.linears.items()},
        norms={name: _tensor(norm) for name, norm in weights.norms.items()},
        threads=threads,
        kernels=kernels,
    )


def suits_cpu_decoder(weights: DecoderWeights | None) -> bool:
    """Whether this CPU is one that the kernels are fast on, and the weights are as they read them.

    INT4 rows of odd width, as a vocabulary with a token more has, begin in the middle of a byte.
    """
    if weights is None or not _native.HAS_FAST_KERNELS:
        return False
    tensors = (linear.weight for linear in weights.linears.values())
    return not any(tensor.dtype == "int4" and tensor.shape[1] % 2 for tensor in tensors)


def _linear(linear: StoredLinear) -> _native.StoredLinear:
    return _native.StoredLinear(
        _tensor(linear.weight),
        scale=_tensor(linear.scale) if linear.scale else _native.StoredTensor(),
        block=linear.block or 0,
        input_scale=linear.input_scale or 0.0,
    )


def _tensor(tensor: StoredTensor) -> _native.StoredTensor:
    return _native.StoredTensor(tensor.dtype, list(tensor.shape), tensor.offset)
