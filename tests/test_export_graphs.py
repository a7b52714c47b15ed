"""The graphs follow the contract: plain ONNX, the named tensors, the shapes and types; and FP16 stays in range."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from palijet.export import ExportOptions, export
from palijet.runtime.bundle import open_bundle, sha256_of


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from conftest import DEMO_CHECKPOINT

    folder = tmp_path_factory.mktemp("graphs") / request.param
    export(DEMO_CHECKPOINT, folder, ExportOptions(precision=request.param))
    return folder


def test_graphs_pass_onnx_checker_and_use_no_custom_domain(exported: Path) -> None:
    for name in ("vision.onnx", "decoder.onnx"):
        onnx.checker.check_model(exported / name, full_check=True)
        graph = onnx.load(exported / name, load_external_data=False)
        assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 17)]
        assert {node.domain for node in graph.graph.node} == {""}
        assert not {"Gelu", "Attention", "RMSNormalization"} & {node.op_type for node in graph.graph.node}


def test_reductions_carry_their_axes_as_tensorrt_8_6_reads_them(exported: Path) -> None:
    graph = onnx.load(exported / "decoder.onnx", load_external_data=False).graph
    means = [node for node in graph.node if node.op_type in ("ReduceMean", "ReduceMax")]
    assert means
    for node in means:
        assert len(node.input) == 1
        assert "axes" in {attribute.name for attribute in node.attribute}


def test_tensors_are_those_of_the_contract(exported: Path) -> None:
    manifest = open_bundle(exported).manifest
    real = "tensor(float16)" if manifest.precision == "fp16" else "tensor(float)"
    decoder = onnxruntime.InferenceSession(exported / "decoder.onnx")
    spec = manifest.decoder
    cache = [spec.kv_heads, spec.head_dim]
    inputs = {tensor.name: (tensor.type, tensor.shape) for tensor in decoder.get_inputs()}
    expected = {
        "inputs_embeds": (real, ["B", "T", spec.hidden]),
        "past_length": ("tensor(int32)", ["B"]),
        "prefix_length": ("tensor(int32)", ["B"]),
        "logits_index": ("tensor(int32)", ["N"]),
        "target": ("tensor(int32)", ["N"]),
    }
    for layer in range(spec.layers):
        expected |= {f"past_{part}.{layer}": (real, ["B", "P", *cache]) for part in ("key", "value")}
    assert inputs == expected
    outputs = {tensor.name: tensor.type for tensor in decoder.get_outputs()}
    assert outputs["token"] == "tensor(int32)"
    assert outputs["logprob"] == outputs["target_logprob"] == "tensor(float)"
    assert outputs["new_key.0"] == outputs["new_value.0"] == real
    vision = onnxruntime.InferenceSession(exported / "vision.onnx")
    assert vision.get_inputs()[0].type == "tensor(float)"
    assert vision.get_outputs()[0].type == real


def test_the_manifest_tells_each_file_as_it_is(exported: Path) -> None:
    manifest = open_bundle(exported).manifest
    on_disk = {path.name for path in exported.iterdir()} - {"manifest.json"}
    assert on_disk == set(manifest.files)
    for name, spec in manifest.files.items():
        assert (exported / name).stat().st_size == spec.bytes
        assert sha256_of(exported / name) == spec.sha256


def test_rows_behind_the_valid_ones_and_padding_are_not_seen(exported: Path) -> None:
    """The same step with garbage in the cache's unused rows, and beside a longer sequence, gives the same token."""
    manifest = open_bundle(exported).manifest
    spec = manifest.decoder
    session = onnxruntime.InferenceSession(exported / "decoder.onnx")
    real = np.float16 if manifest.precision == "fp16" else np.float32
    rng = np.random.default_rng(0)

    def step(garbage: float, rows: int) -> tuple[int, float]:
        feeds = {
            "inputs_embeds": np.zeros((1, 3, spec.hidden), real),
            "past_length": np.array([2], np.int32),
            "prefix_length": np.array([0], np.int32),
            "logits_index": np.array([0], np.int32),
            "target": np.array([0], np.int32),
        }
        feeds["inputs_embeds"][0, 0] = embeds
        feeds["inputs_embeds"][0, 1:] = garbage
        for name, values in past.items():
            feeds[name] = np.full((1, rows, spec.kv_heads, spec.head_dim), garbage, real)
            feeds[name][0, :2] = values
        token, logprob = session.run(["token", "logprob"], feeds)
        return int(token[0]), float(logprob[0])

    embeds = rng.normal(size=spec.hidden).astype(real)
    past = {
        f"past_{part}.{layer}": rng.normal(size=(2, spec.kv_heads, spec.head_dim)).astype(real)
        for layer in range(spec.layers)
        for part in ("key", "value")
    }
    clean = step(0.0, 2)
    for garbage, rows in ((5.0, 2), (5.0, 9), (-9.0, 64)):
        token, logprob = step(garbage, rows)
        assert token == clean[0]
        assert logprob == pytest.approx(clean[1], abs=5e-3 if real is np.float16 else 1e-5)
