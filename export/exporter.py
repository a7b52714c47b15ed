"""A checkpoint in, a bundle out: graphs and weights, embeddings, tokenizer, manifest; whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from math import prod
from pathlib import Path

import msgspec

from ..jetson.boards import board_spec
from ..jetson.memory_plan import plan, refusal
from ..runtime.bundle import (
    CONTRACT_VERSION,
    EMBEDDINGS,
    MANIFEST,
    REPORT,
    TOKENIZER,
    Bundle,
    DecoderSpec,
    EmbeddingSpec,
    FileSpec,
    Manifest,
    Precisions,
    Provenance,
    Quality,
    TokenIds,
    VisionSpec,
    file_spec,
    open_bundle,
)
from ..runtime.errors import BundleError, CalibrationError
from . import checkpoint as names
from .calibration import Calibration
from .checkpoint import Checkpoint, expected_tensors
from .graph_files import GraphFiles
from .judge import judge
from .linear import finite
from .linear_layers import linear_layers
from .numerics import Numerics
from .open_checkpoint import open_checkpoint
from .precision import BLOCKWISE, PRECISIONS, PartPrecisions
from .quantizer import Calibrated, calibrate
from .recipe import Recipe, plain_recipe
from .report import report_page
from .staging import move_into_place, staging_folder
from .token_ids import read_token_ids
from .weights import HashedFile

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done and how much it is in all: bytes, or runs of the model."""

_EMBEDDING_ROWS = 8192  # rows of the embedding table copied at a time
_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "int8-weight": 1.0, "int4": 0.5}


@dataclass(frozen=True)
class ExportOptions:
    """How a checkpoint is exported."""

    precision: str = "fp32"  # one of PRECISIONS
    vision_precision: str | None = None  # of a part, where it is another
    projector_precision: str | None = None
    decoder_precision: str | None = None
    head_precision: str | None = None
    adapters: tuple[Path, ...] = ()  # folders of PEFT's, merged one after the other
    calibration: Calibration | None = None  # what int8 needs, and int4 is better for
    block: int = 32  # inputs that share a scale in int8-weight and int4: 32, 64 or 128
    keep_fp16: float = 0.1  # share of the weights that may stay at FP16 where quantization hurts
    smooth: bool = True  # False shows what int8 and int4 do without smoothing
    board: str | None = None  # refuse what this board cannot run: "orin-nano-8gb"
    opset: int = 17  # the highest that TensorRT 8.6 reads; block-quantized graphs have 21
    overwrite: bool = False  # replace a bundle that is there
    rescale: bool = True  # False shows what FP16 does without the rescaling of `numerics`

    def parts(self) -> PartPrecisions:
        """What each part is stored as.

        Raises:
            BundleError: an option that is none, or that lacks another.
        """
        if self.precision not in PRECISIONS:
            raise BundleError(f"precision {self.precision} is not known; choose one of {', '.join(PRECISIONS)}")
        if self.block not in (32, 64, 128):
            raise BundleError(f"a block of {self.block} is not known; choose 32, 64 or 128")
        if not 0 <= self.keep_fp16 <= 1:
            raise BundleError(f"{self.keep_fp16} is no share of the weights to keep at FP16; give 0 to 1")
        parts = PartPrecisions.resolve(
            self.precision,
            vision=self.vision_precision,
            projector=self.projector_precision,
            decoder=self.decoder_precision,
            head=self.head_precision,
        )
        if self.calibration is not None and not parts.is_quantized:
            raise CalibrationError(
                f"{self.precision} needs no calibration; leave --calibrate out, or choose int8, int8-weight or int4"
            )
        if "int8" in parts.all and self.calibration is None:
            raise CalibrationError(
                "int8 quantizes activations, whose range must be seen first: pass --calibrate FOLDER_OR_VIDEO with frames of "
                "the camera in use, or take --precision int8-weight, which needs none"
            )
        return parts


def export(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: ExportOptions | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Export the checkpoint in folder `checkpoint` as a bundle in folder `output`.

    Memory stays below a few times the largest tensor. The bundle appears under its name only when it is whole: a crash
    leaves what was there before, or nothing.

    Raises:
        CheckpointError: the checkpoint is incomplete or not a PaliGemma.
        CalibrationError: calibration is needed and not given, or finds what is no number.
        BundleError: the output exists, cannot be written, or the disk is full.
    """
    options = options or ExportOptions()
    options.parts()  # what is wrong with the options is said before a checkpoint is read
    source = open_checkpoint(Path(checkpoint), options.adapters)
    return _export(source, Path(output), options, progress or (lambda part, done, total: None))


def _export(source: Checkpoint, output: Path, options: ExportOptions, report: Progress) -> Bundle:
    parts = options.parts()
    tokens = read_token_ids(source)
    target = output.absolute()
    _check_target(target, source, options)
    numerics = (
        Numerics.of_quantized("fp32") if parts.is_quantized else Numerics.of(parts.vision, rescale=options.rescale)
    )
    manifest = _manifest(source, options, parts, numerics, tokens)
    _check_board(manifest, options)
    size = _estimate_bytes(source, parts, options.block)
    with staging_folder(target, size, source.path) as staging:
        calibrated = _calibrate(source, staging, parts, options, report)
        recipe = calibrated.recipe if calibrated else plain_recipe(source, parts, options.block)
        meter = _Meter(size, report)
        graphs = GraphFiles(source, parts, recipe, staging, numerics, options.opset)
        files = graphs.write(meter.part, judged=calibrated is not None)
        quality = _judge(source, graphs, recipe, calibrated, options, report) if parts.is_quantized else None
        files[EMBEDDINGS] = _write_embeddings(source, staging / EMBEDDINGS, meter)
        shutil.copyfile(source.path / TOKENIZER, staging / TOKENIZER)
        files[TOKENIZER] = file_spec(staging / TOKENIZER)
        manifest = msgspec.structs.replace(
            manifest, files=files, opset=graphs.opset, quality=quality, decoder_weights=graphs.decoder_weights
        )
        if quality is not None:
            (staging / REPORT).write_text(report_page(manifest), encoding="utf-8")
            files[REPORT] = file_spec(staging / REPORT)
        (staging / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        move_into_place(staging, target)
    return open_bundle(target, verify=False)


def _check_target(target: Path, source: Checkpoint, options: ExportOptions) -> None:
    if target.exists() and not options.overwrite:
        raise BundleError(f"{target} exists; choose another output or pass --overwrite to replace it")
    if target == source.path.resolve() or (target.exists() and not (target / MANIFEST).exists()):
        raise BundleError(f"{target} is not a bundle, so it is not replaced; choose another output folder")


def _calibrate(
    source: Checkpoint, staging: Path, parts: PartPrecisions, options: ExportOptions, report: Progress
) -> Calibrated | None:
    if options.calibration is None or not parts.is_quantized:
        return None
    return calibrate(
        source,
        options.calibration,
        parts,
        block=options.block,
        keep_fp16=options.keep_fp16,
        smooth=options.smooth,
        write_draft=lambda folder: _export(source, folder, ExportOptions("int8-weight"), report),
        scratch=staging,
        progress=report,
    )


def _judge(
    source: Checkpoint,
    graphs: GraphFiles,
    recipe: Recipe,
    calibrated: Calibrated | None,
    options: ExportOptions,
    report: Progress,
) -> Quality:
    if calibrated is None:
        return Quality(layers=recipe.layers, warnings=("not compared with FP32: no frames were given (--calibrate)",))
    assert options.calibration is not None
    total = len(calibrated.reference.sequences)
    with graphs.judged_decoder() as decoder:
        quality = judge(
            source,
            graphs.vision,
            decoder,
            graphs.residual_scale,
            calibrated.reference,
            recipe.layers,
            lambda done: report("judging", done, total),
        )
    return msgspec.structs.replace(quality, warnings=quality.warnings + options.calibration.notes)


def _check_board(manifest: Manifest, options: ExportOptions) -> None:
    if options.board is None:
        return
    why = refusal(plan(manifest, board_spec(options.board)), manifest)
    if why is not None:
        raise BundleError(why)


def _manifest(
    source: Checkpoint, options: ExportOptions, parts: PartPrecisions, numerics: Numerics, tokens: TokenIds
) -> Manifest:
    """What is known before anything is written: all but the files."""
    vision, text = source.config.vision_config, source.config.text_config
    return Manifest(
        contract=CONTRACT_VERSION,
        family=source.config.family,
        precision=options.precision,
        precisions=Precisions(**vars(parts)),
        opset=options.opset,
        vision=VisionSpec(
            image_size=vision.image_size,
            patch_size=vision.patch_size,
            rows=vision.rows,
            hidden=vision.hidden_size,
            intermediate=vision.intermediate_size,
            layers=vision.num_hidden_layers,
            heads=vision.num_attention_heads,
        ),
        decoder=DecoderSpec(
            hidden=text.hidden_size,
            intermediate=text.intermediate_size,
            layers=text.num_hidden_layers,
            heads=text.num_attention_heads,
            kv_heads=text.num_key_value_heads,
            head_dim=text.head_dim,
            vocab=text.vocab_size,
            max_positions=text.max_position_embeddings,
            sliding_window=text.sliding_window,
        ),
        embeddings=EmbeddingSpec(
            rows=text.vocab_size,
            width=text.hidden_size,
            dtype=source.dtype(names.EMBEDDINGS),
            scale=text.hidden_size**0.5 * numerics.residual_scale,
        ),
        tokens=tokens,
        files={},
        made_by=Provenance(
            checkpoint=source.path.resolve().name,
            adapters=tuple(folder.resolve().name for folder in options.adapters),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            tools={package: version(package) for package in ("palijet", "onnx", "onnx-ir", "safetensors")},
            calibration=options.calibration.source if options.calibration and parts.is_quantized else None,
        ),
    )


def _write_embeddings(source: Checkpoint, path: Path, meter: _Meter) -> FileSpec:
    rows = source.config.text_config.vocab_size
    with HashedFile(path, meter.part("embeddings")) as file:
        for start in range(0, rows, _EMBEDDING_ROWS):
            piece = source.read_rows(names.EMBEDDINGS, start, min(start + _EMBEDDING_ROWS, rows))
            file.write_array(finite(piece, "the embeddings"))
    return file.spec


class _Meter:
    """Adds up what all parts have written."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total = total
        self._done = 0
        self._progress = progress

    def part(self, name: str) -> Callable[[int], None]:
        def wrote(count: int) -> None:
            self._done += count
            self._progress(name, min(self._done, self._total), self._total)

        return wrote


def _estimate_bytes(source: Checkpoint, parts: PartPrecisions, block: int) -> int:
    """What the bundle will weigh: linear layers as their part is stored, the rest in floats, the table as it is."""
    shapes = expected_tensors(source.config)
    table = prod(shapes[names.EMBEDDINGS])
    layers = linear_layers(source.config).values()
    linear = sum(layer.weights * _bytes_per_weight(parts.of(layer.part), block) for layer in layers)
    everything = sum(prod(shape) for name, shape in shapes.items() if name not in (names.EMBEDDINGS, names.LM_HEAD))
    rest = everything - sum(layer.weights for layer in layers if layer.part != "head")
    element = 6 if parts.is_quantized else Numerics.of(parts.vision).numpy_type.itemsize  # FP32's and FP16's copies
    stored = 4 if source.dtype(names.EMBEDDINGS) == "float32" else 2
    return int(linear + rest * element + table * stored)


def _bytes_per_weight(precision: str, block: int) -> float:
    return _BYTES[precision] + (2 / block if precision in BLOCKWISE else 0)
