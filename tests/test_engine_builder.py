"""Engines built by NVIDIA's own builder, TensorRT-RTX, which needs no GPU; running them does."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import DEMO_CHECKPOINT

from palijet.demo.calibration import demo_calibration
from palijet.export import ExportOptions, export
from palijet.export.engine_builder import BuildOptions, build, estimate
from palijet.export.tensorrt_api import open_tensorrt
from palijet.runtime.bundle import DECODER_GRAPH, VISION_GRAPH, Bundle
from palijet.runtime.engines import find_engines

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed: pip install 'palijet[rtx]'")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["fp16", "int8", "int4"])
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    calibration = None if request.param == "fp16" else demo_calibration(12)
    folder = tmp_path_factory.mktemp("engines") / request.param
    return export(DEMO_CHECKPOINT, folder, ExportOptions(request.param, calibration=calibration))


def test_the_demo_is_built_with_the_matrix_products_of_its_precision(demo: Bundle) -> None:
    folder, built = build(demo, BuildOptions("rtx"))
    assert find_engines(demo, built.key.tensorrt, "8.7") == (folder, built)
    precision = demo.manifest.precision
    linear = {"vision": 25, "decoder": 17}  # 4 layers or matrices each, projector or head
    for engine, count in linear.items():
        layers = built.layers[engine]
        if precision == "fp16":
            assert "int8 matmul" not in layers
            assert layers["float matmul"] > count
        else:
            assert demo.manifest.quality is not None
            prefixes = ("vision.", "projector") if engine == "vision" else ("text.", "lm_head")
            kept = sum(layer.kept and layer.name.startswith(prefixes) for layer in demo.manifest.quality.layers)
            assert layers[f"{precision} matmul"] == count - kept
    expected = estimate(demo, BuildOptions("rtx"))
    assert expected.seconds is not None
    assert 0.2 < expected.seconds / sum(built.seconds.values()) < 5
    again = time.monotonic()
    assert build(demo, BuildOptions("rtx")) == (folder, built)
    assert time.monotonic() - again < sum(built.seconds.values())


def test_the_network_has_the_contract_s_inputs_and_types(demo: Bundle) -> None:
    network = open_tensorrt("rtx").parse(demo.tensorrt_graph(DECODER_GRAPH))
    assert network.inputs["inputs_embeds"] == (-1, -1, 192)
    assert network.inputs["past_key.3"] == (-1, -1, 1, 48)
    types = {
        network.definition.get_input(i).name: str(network.definition.get_input(i).dtype)
        for i in range(network.definition.num_inputs)
    }
    assert types["inputs_embeds"].endswith("HALF")
    assert types["past_length"].endswith("INT32")
    vision = open_tensorrt("rtx").parse(demo.tensorrt_graph(VISION_GRAPH))
    assert vision.inputs == {"pixel_values": (-1, 3, 112, 112)}


def test_ctrl_c_ends_a_build_and_leaves_the_bundle_as_it_was(demo: Bundle) -> None:
    before = sorted(path for path in demo.path.rglob("*"))
    process = subprocess.Popen(
        [sys.executable, "-m", "palijet", "build", str(demo.path), "--tensorrt", "rtx", "--max-batch", "7"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    engines = demo.path / "engines"
    while not list(engines.glob(".*.partial/vision.plan")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert sorted(path for path in demo.path.rglob("*")) == before


@pytest.mark.parametrize("family", ["paligemma-3b", "paligemma2-3b"])
def test_two_layers_at_full_width_are_built_at_every_precision(family: str, tmp_path: Path) -> None:
    from benchmarks.shaped_checkpoint import write_checkpoint

    write_checkpoint(family, 224, tmp_path / "checkpoint", layers=2, vocabulary=4096)
    calibration = demo_calibration(3)
    for precision in ("fp16", "int8", "int4"):
        answered = None if precision == "fp16" else _answered(calibration)
        options = ExportOptions(precision, calibration=answered, keep_fp16=0)
        bundle = export(tmp_path / "checkpoint", tmp_path / precision, options)
        _, built = build(bundle, BuildOptions("rtx"))
        product = "float matmul" if precision == "fp16" else f"{precision} matmul"
        assert built.layers["decoder"][product] >= 9
        assert built.layers["vision"][product] >= 9


def _answered(calibration):
    from dataclasses import replace

    return replace(
        calibration,
        examples=tuple(replace(e, prompt="word7 word8", answer="word1 word2 word3") for e in calibration.examples[:2]),
        held_out=tuple(replace(e, prompt="word9", answer="word4") for e in calibration.held_out[:1]),
    )
