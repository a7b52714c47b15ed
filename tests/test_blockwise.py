"""Rounding to INT8 and INT4: what comes back is as near as the scales allow, and is laid out as ONNX says."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from palijet.export.blockwise import fp16_at_least, pack_int4, per_block, per_channel


def weights(seed: int, out: int, into: int, tail: float = 4.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(tail, (out, into)).astype(np.float32)


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 70), st.floats(1e-4, 1e3))
@settings(deadline=None, max_examples=60)
def test_a_channel_comes_back_within_half_a_step(seed: int, out: int, into: int, size: float) -> None:
    weight = weights(seed, out, into) * np.float32(size)
    integers, scale = per_channel(weight)
    step = scale.astype(np.float32)[:, None]
    assert integers.dtype == np.int8
    assert np.abs(integers.astype(int)).max() <= 127
    assert np.all(np.abs(integers * step - weight) <= step * 0.5001)


@pytest.mark.parametrize("block", [32, 64, 128])
def test_int4_blocks_are_nearer_than_rounding_to_the_largest_weight(block: int) -> None:
    weight = weights(1, 64, 512)
    integers, scale = per_block(weight, 4, block)
    assert integers.min() >= -8
    assert integers.max() <= 7
    blocks = weight.reshape(64, -1, block)
    plain_step = np.abs(blocks).max(axis=2, keepdims=True) / 7
    plain = np.clip(np.rint(blocks / plain_step), -7, 7) * plain_step
    found = integers.reshape(blocks.shape) * scale.astype(np.float32)[:, :, None]
    assert ((found - blocks) ** 2).sum() < 0.9 * ((plain - blocks) ** 2).sum()


def test_every_scale_is_a_value_of_fp16_and_zeros_stay_zeros() -> None:
    integers, scale = per_block(np.zeros((4, 64), np.float32), 4, 32)
    assert scale.dtype == np.float16
    assert (scale > 0).all()
    assert not integers.any()


@given(st.floats(1e-6, 6e4))
def test_scales_are_rounded_up(value: float) -> None:
    rounded = fp16_at_least(np.array([value], np.float32))[0]
    assert np.float32(rounded) >= np.float32(value)
    assert np.float32(np.nextafter(rounded, np.float16(0))) < max(np.float32(value), np.float32(2.0**-20))


@pytest.mark.parametrize("shape", [(32, 6), (64, 5), (3, 1)])
def test_packed_int4_is_read_back_by_onnx(shape: tuple[int, int]) -> None:
    integers = np.random.default_rng(0).integers(-8, 8, shape).astype(np.int8)
    tensor = helper.make_tensor("w", TensorProto.INT4, shape, pack_int4(integers).tobytes(), raw=True)
    assert np.array_equal(onnx.numpy_helper.to_array(tensor).astype(np.int8), integers)


def test_blocks_dequantize_as_onnx_defines_it() -> None:
    """DequantizeLinear, opset 21, by onnx's own reference: blocks run along the inputs."""
    weight = weights(2, 24, 128)
    integers, scale = per_block(weight, 4, 32)
    node = helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0, block_size=32)
    graph = helper.make_graph(
        [node],
        "dequantize",
        [],
        [helper.make_tensor_value_info("w", TensorProto.FLOAT, [128, 24])],
        [
            helper.make_tensor("q", TensorProto.INT4, (128, 24), pack_int4(integers.T.copy()).tobytes(), raw=True),
            onnx.numpy_helper.from_array(scale.T.astype(np.float32).copy(), "s"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    (found,) = ReferenceEvaluator(model).run(None, {})
    expected = integers.reshape(24, 4, 32) * scale.astype(np.float32)[:, :, None]
    assert np.allclose(found, expected.reshape(24, 128).T)
