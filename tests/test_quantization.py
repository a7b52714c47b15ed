"""Quantized bundles: the graphs hold what was asked for, smoothing changes nothing by itself, answers stay."""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import DEMO_CHECKPOINT

import palijet
from palijet.demo.calibration import demo_calibration
from palijet.demo.evaluate import questions_about
from palijet.export import Calibration, Example, ExportOptions, export
from palijet.export.checkpoint import Checkpoint
from palijet.export.graph_files import GraphFiles
from palijet.export.layerwise import LayerwiseRun
from palijet.export.linear_layers import linear_layers
from palijet.export.numerics import Numerics
from palijet.export.open_checkpoint import open_checkpoint
from palijet.export.precision import PartPrecisions
from palijet.export.recipe import Recipe
from palijet.export.sequence import as_sequences
from palijet.export.smoothing import Smoothing
from palijet.runtime.bundle import DECODER_GRAPH, VISION_GRAPH, Manifest, open_bundle
from palijet.runtime.errors import BundleError, CalibrationError, CheckpointError
from palijet.runtime.prompt import PromptTokenizer

QUANTIZED = ("int8", "int8-weight", "int4")


@pytest.fixture(scope="session")
def calibration() -> Calibration:
    return demo_calibration(16)


@pytest.fixture(scope="session")
def quantized(calibration: Calibration, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo checkpoint at each quantized precision."""
    folder = tmp_path_factory.mktemp("quantized")
    for precision in QUANTIZED:
        export(DEMO_CHECKPOINT, folder / precision, ExportOptions(precision, calibration=calibration))
    return {precision: folder / precision for precision in QUANTIZED}


def manifest_of(bundle: Path) -> Manifest:
    return open_bundle(bundle).manifest


def operators(graph: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(graph, load_external_data=False).graph.node)


@pytest.mark.parametrize("precision", QUANTIZED)
def test_answers_are_nearly_always_those_of_fp32(
    precision: str, quantized: dict[str, Path], model: palijet.Model
) -> None:
    other = palijet.load(quantized[precision], threads=1)
    same = asked = 0
    for seed in range(7_000_000, 7_000_012):
        frame, questions = questions_about(seed)
        prompts = [question.prompt for question in questions]
        pairs = zip(model.predict(frame, prompts), other.predict(frame, prompts), strict=True)
        same += sum(ours.text == theirs.text for ours, theirs in pairs)
        asked += len(prompts)
    least = {"int8": 0.8, "int8-weight": 0.9, "int4": 0.7}[precision]
    assert same / asked > least  # one coordinate more or less makes another answer, though as good a box


@pytest.mark.parametrize("precision", QUANTIZED)
def test_the_manifest_says_how_good_it_is(precision: str, quantized: dict[str, Path]) -> None:
    manifest = manifest_of(quantized[precision])
    quality = manifest.quality
    assert quality is not None
    assert manifest.made_by.calibration == "16 demo scenes from seed 5000000"
    assert quality.agreement is not None
    assert quality.agreement > 0.85
    assert quality.tokens > 100
    assert quality.final_error is not None
    assert 0 < quality.final_error < 0.25
    assert len(quality.hidden_errors) == manifest.decoder.layers
    assert {layer.name for layer in quality.layers} == set(linear_layers(open_checkpoint(DEMO_CHECKPOINT).config))
    page = (quantized[precision] / "report.html").read_text()
    assert all(layer.name in page for layer in quality.layers)
    assert "report.html" in manifest.files


def test_bundles_shrink(quantized: dict[str, Path], demo_bundle: Path) -> None:
    sizes = {precision: open_bundle(bundle).total_bytes for precision, bundle in quantized.items()}
    whole = open_bundle(demo_bundle).total_bytes
    assert sizes["int4"] < sizes["int8-weight"] < sizes["int8"] < 0.45 * whole


def test_int8_matrices_and_activations_are_integers_in_both_graphs(quantized: dict[str, Path]) -> None:
    bundle = open_bundle(quantized["int8"])
    assert bundle.manifest.quality is not None
    kept = {layer.name for layer in bundle.manifest.quality.layers if layer.kept}
    layers = [name for name in linear_layers(open_checkpoint(DEMO_CHECKPOINT).config) if name not in kept]
    for graph, prefixes in ((VISION_GRAPH, ("vision.", "projector")), (DECODER_GRAPH, ("text.", "lm_head"))):
        expected = sum(name.startswith(prefixes) for name in layers)
        for path, opset in ((bundle.path / graph, 17), (bundle.tensorrt_graph(graph), 19)):
            model = onnx.load(path, load_external_data=False)
            onnx.checker.check_model(path)
            counts = operators(path)
            assert model.opset_import[0].version == opset
            assert counts["QuantizeLinear"] == expected
            assert counts["DequantizeLinear"] == 2 * expected
            assert all(len(node.input) == 3 for node in model.graph.node if node.op_type.endswith("tizeLinear"))


def test_int4_matrices_are_int4_in_both_graphs_and_share_a_file(quantized: dict[str, Path]) -> None:
    bundle = open_bundle(quantized["int4"])
    files = set()
    for path in (bundle.path / DECODER_GRAPH, bundle.tensorrt_graph(DECODER_GRAPH)):
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(path)
        assert model.opset_import[0].version == 21
        matrices = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT4]
        assert len(matrices) == 17
        files |= {entry.value for tensor in matrices for entry in tensor.external_data if entry.key == "location"}
    assert files == {"decoder.onnx.data"}


@pytest.mark.skipif(
    tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 22),
    reason=f"onnxruntime {onnxruntime.__version__} has no kernels for all of these yet, and computes them in floating point",
)
def test_onnxruntime_keeps_the_integers(quantized: dict[str, Path], tmp_path: Path) -> None:
    """Its optimised graph has integer products in place of every DequantizeLinear of a matrix."""
    for precision, operator in (
        ("int8", "MatMulIntegerToFloat"),
        ("int4", "MatMulNBits"),
        ("int8-weight", "MatMulNBits"),
    ):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / f"{precision}.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(quantized[precision] / DECODER_GRAPH, options)
        counts = operators(tmp_path / f"{precision}.onnx")
        assert counts[operator] >= 13
        assert counts["DequantizeLinear"] == 0


def test_the_fp16_graph_for_tensorrt_computes_what_the_other_does(quantized: dict[str, Path]) -> None:
    """Opset 19 and FP16 types against opset 17 and FP32 types, both by onnxruntime."""
    bundle = open_bundle(quantized["int8"])
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, 3, 112, 112)).astype(np.float32)
    rows = [
        onnxruntime.InferenceSession(path).run(None, {"pixel_values": pixels})[0].astype(np.float32)
        for path in (bundle.path / VISION_GRAPH, bundle.tensorrt_graph(VISION_GRAPH))
    ]
    assert np.linalg.norm(rows[1] - rows[0]) < 0.06 * np.linalg.norm(rows[0])  # 0.04 in onnxruntime 1.19


def test_parts_have_precisions_of_their_own(calibration: Calibration, tmp_path: Path) -> None:
    options = ExportOptions("int4", head_precision="fp16", vision_precision="int8", calibration=calibration)
    manifest = export(DEMO_CHECKPOINT, tmp_path / "mixed", options).manifest
    assert vars(PartPrecisions("int8", "int4", "int4", "fp16")) == {
        part: getattr(manifest.precisions, part) for part in ("vision", "projector", "decoder", "head")
    }
    assert manifest.quality is not None
    assert {(layer.part, layer.precision) for layer in manifest.quality.layers if not layer.kept} == {
        ("vision", "int8"), ("projector", "int4"), ("decoder", "int4"), ("head", "fp16"),
    }  # fmt: skip
    frame, _ = questions_about(3)
    assert palijet.load(tmp_path / "mixed").predict(frame, "caption en").text


def test_int8_weights_alone_have_no_graph_for_tensorrt(quantized: dict[str, Path]) -> None:
    assert not [name for name in manifest_of(quantized["int8-weight"]).files if "tensorrt" in name]


def test_keeping_nothing_at_fp16_keeps_nothing(
    calibration: Calibration, tmp_path: Path, quantized: dict[str, Path]
) -> None:
    quality = export(
        DEMO_CHECKPOINT, tmp_path / "b", ExportOptions("int8", calibration=calibration, keep_fp16=0)
    ).manifest.quality
    kept = manifest_of(quantized["int8"]).quality
    assert quality is not None
    assert kept is not None
    assert not any(layer.kept for layer in quality.layers)
    hurt = {layer.name for layer in kept.layers if layer.kept}
    assert hurt
    assert hurt <= {layer.name for layer in quality.layers if (layer.snr_db or 0) < 28}  # an error of 4 %


def test_weights_in_blocks_need_no_calibration_and_say_so(tmp_path: Path) -> None:
    quality = export(DEMO_CHECKPOINT, tmp_path / "b", ExportOptions("int4")).manifest.quality
    assert quality is not None
    assert quality.agreement is None
    assert quality.warnings == ("not compared with FP32: no frames were given (--calibrate)",)
    assert all(15 < (layer.snr_db or 0) < 30 for layer in quality.layers)


def test_smoothing_alone_changes_no_answer() -> None:
    """Any scales at all, moved from inputs into weights: the same image rows and tokens in FP32."""
    checkpoint = open_checkpoint(DEMO_CHECKPOINT)
    assert difference(checkpoint, 0.0) == 0.0
    assert difference(checkpoint, 1.0) < 1e-4


def difference(checkpoint: Checkpoint, spread: float) -> float:
    """The largest relative difference of image rows and log-probabilities under random smoothing."""
    vision, text = checkpoint.config.vision_config, checkpoint.config.text_config
    rng = np.random.default_rng(0)
    smoothing = Smoothing()
    for layer in linear_layers(checkpoint.config).values():
        if layer.producer is not None:
            channels = layer.producer.gather(np.ones(layer.into, np.float32)).size
            smoothing.add(layer, np.exp(rng.normal(0, spread, channels)).astype(np.float32))
    found = []
    for recipe in (Recipe(), Recipe(smoothing=smoothing)):
        with tempfile.TemporaryDirectory() as folder:
            parts = PartPrecisions("fp32", "fp32", "fp32", "fp32")
            GraphFiles(checkpoint, parts, recipe, Path(folder), Numerics.of("fp32"), 17).write(
                lambda part: lambda count: None
            )
            pixels = (
                np.random.default_rng(1).uniform(-1, 1, (1, 3, vision.image_size, vision.image_size)).astype(np.float32)
            )
            rows = onnxruntime.InferenceSession(Path(folder) / VISION_GRAPH).run(None, {"pixel_values": pixels})[0]
            decoder = onnxruntime.InferenceSession(Path(folder) / DECODER_GRAPH)
            feeds = {
                "inputs_embeds": np.random.default_rng(2).normal(0, 1, (1, 9, text.hidden_size)).astype(np.float32),
                "past_length": np.zeros(1, np.int32),
                "prefix_length": np.array([6], np.int32),
                "logits_index": np.arange(9, dtype=np.int32),
                "target": np.arange(9, dtype=np.int32),
            }
            feeds |= {
                value.name: np.zeros((1, 1, text.num_key_value_heads, text.head_dim), np.float32)
                for value in decoder.get_inputs()
                if "." in value.name
            }
            token, logprob = decoder.run(["token", "logprob"], feeds)
            found.append((rows, token, logprob))
    (rows, token, logprob), (other_rows, other_token, other_logprob) = found
    assert np.array_equal(token, other_token)
    return max(
        float(np.abs(other_rows - rows).max() / np.abs(rows).max()),
        float(np.abs(other_logprob - logprob).max() / np.abs(logprob).max()),
    )


def test_the_layerwise_run_says_what_the_bundle_says(model: palijet.Model, tmp_path: Path) -> None:
    """Every token of an answer, one by one through the decode loop, is the layerwise run's next token at that place."""
    checkpoint = open_checkpoint(DEMO_CHECKPOINT)
    frame, questions = questions_about(11)
    answers = model.predict(frame, [question.prompt for question in questions])
    examples = [Example(frame, answer.prompt, "one", answer.text) for answer in answers]
    images, sequences = as_sequences(examples, PromptTokenizer(DEMO_CHECKPOINT / "tokenizer.json"), 112)
    assert len(images) == 1
    steps = 0

    def advance(count: int) -> None:
        nonlocal steps
        steps += count

    run = LayerwiseRun(checkpoint, images, sequences, {0}, [1, 2], tmp_path, advance)
    stages = [stage.name for stage in run]
    assert stages[0] == "vision.embeddings"
    assert stages[-1] == "head"
    assert steps == LayerwiseRun.steps(checkpoint, 1, len(sequences))
    assert [len(rows) for rows in run.hidden] == [2] * 4
    for answer, tokens in zip(answers, run.tokens, strict=True):
        assert tuple(tokens[:-1]) == answer.tokens
        assert tokens[-1] in model.bundle.manifest.tokens.eos


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            ExportOptions("int8"),
            CalibrationError,
            "pass --calibrate FOLDER_OR_VIDEO .* or take --precision int8-weight",
        ),
        (
            ExportOptions("int3"),
            BundleError,
            "precision int3 is not known; choose one of fp32, fp16, int8, int8-weight, int4",
        ),
        (ExportOptions("int4", head_precision="q6"), BundleError, "precision q6 of the head is not known"),
        (ExportOptions("int4", vision_precision="fp32"), BundleError, "fp32 is for a whole bundle"),
        (ExportOptions("int4", block=48), BundleError, "a block of 48 is not known; choose 32, 64 or 128"),
        (ExportOptions("int4", keep_fp16=2), BundleError, "2 is no share of the weights"),
    ],
)
def test_options_that_cannot_be_are_refused(options: ExportOptions, error: type, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=sentence):
        export(DEMO_CHECKPOINT, tmp_path / "b", options)
    assert not list(tmp_path.iterdir())


def test_an_activation_that_is_no_number_is_named(checkpoint: Path, calibration: Calibration, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(checkpoint / "model.safetensors")
    tensors["language_model.model.layers.2.mlp.up_proj.weight"][0] = 3e38  # a number, but what it makes is none
    save_file(tensors, checkpoint / "model.safetensors")
    answered = tuple(Example(e.image, e.prompt, e.name, "yes") for e in calibration.examples[:4])
    with pytest.raises(CalibrationError, match=r"text.layers.2 computes values that are no numbers on scene 5000000"):
        export(checkpoint, tmp_path / "b", ExportOptions("int8", calibration=Calibration(answered, answered, "four")))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("precision", ["fp16", "int8-weight", "int4"])
@pytest.mark.parametrize(
    "name", ["language_model.model.layers.2.mlp.up_proj.weight", "language_model.model.embed_tokens.weight"]
)
def test_weights_that_are_no_numbers_are_refused(name: str, precision: str, checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(checkpoint / "model.safetensors")
    tensors[name][1600 % len(tensors[name]), 0] = np.nan
    save_file(tensors, checkpoint / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"the weights of .* hold values that are no numbers; the checkpoint is damaged"
    ):
        export(checkpoint, tmp_path / "b", ExportOptions(precision))
    assert not (tmp_path / "b").exists()


def test_what_is_quantized_already_is_refused(checkpoint: Path, quantized: dict[str, Path], tmp_path: Path) -> None:
    config = checkpoint / "config.json"
    text = config.read_text().replace("{", '{"quantization_config": {"quant_method": "bitsandbytes"},', 1)
    config.write_text(text)
    with pytest.raises(CheckpointError, match=r"quantized already \(bitsandbytes\); export the one in bfloat16"):
        export(checkpoint, tmp_path / "b", ExportOptions("int4"))
    with pytest.raises(CheckpointError, match="is a bundle, which was exported already"):
        export(quantized["int4"], tmp_path / "b", ExportOptions("int4"))


def test_the_command_line_calibrates_with_a_folder_and_reports(tmp_path: Path) -> None:
    import cv2

    for seed in range(4):
        cv2.imwrite(str(tmp_path / f"{seed}.png"), questions_about(seed)[0])
    done = subprocess.run(
        [sys.executable, "-m", "palijet", "export", str(DEMO_CHECKPOINT), "-o", str(tmp_path / "b"), "--precision", "int8",
         "--calibrate", str(tmp_path), "--calibrate-prompt", "caption en", "--calibrate-prompt", "ocr"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tokens on held-out frames are those of FP32" in done.stderr
    assert "warning: 4 frames are few to calibrate with; 32 or more would do" in done.stderr
    shown = subprocess.run(
        [sys.executable, "-m", "palijet", "inspect", str(tmp_path / "b")], capture_output=True, text=True
    )
    assert "final hidden state" in shown.stdout
