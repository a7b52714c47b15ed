"""A checkpoint in, a bundle out: graphs and weights, embeddings, tokenizer, manifest; whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from math import prod
from pathlib import Path

import msgspec
import onnx
import onnx_ir as ir
from tokenizers import Tokenizer

from ..runtime.bundle import (
    CONTRACT_VERSION,
    DECODER_GRAPH,
    EMBEDDINGS,
    MANIFEST,
    TOKENIZER,
    VISION_GRAPH,
    Bundle,
    DecoderSpec,
    EmbeddingSpec,
    FileSpec,
    Manifest,
    Precisions,
    Provenance,
    TokenIds,
    VisionSpec,
    open_bundle,
    sha256_of,
)
from ..runtime.errors import BundleError, CheckpointError
from . import checkpoint as names
from .checkpoint import Checkpoint, expected_tensors
from .gemma import build_decoder
from .graph import Graph
from .numerics import Numerics
from .siglip import build_vision
from .weights import HashedFile, WeightFile

PRECISIONS = ("fp32", "fp16")

Progress = Callable[[str, int, int], None]
"""Called with the part being written, the bytes done and the bytes in all."""

_NEEDED_TOKENS = ("<bos>", "<eos>", "<image>", "<loc0000>", "<loc1023>")
_EMBEDDING_ROWS = 8192  # rows of the embedding table copied at a time


@dataclass(frozen=True)
class ExportOptions:
    """How a checkpoint is exported."""

    precision: str = "fp32"  # one of PRECISIONS
    opset: int = 17  # the highest that TensorRT 8.6 reads
    overwrite: bool = False  # replace a bundle that is there
    rescale: bool = True  # False shows what FP16 does without the rescaling of `numerics`


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
        BundleError: the output exists, cannot be written, or the disk is full.
    """
    options = options or ExportOptions()
    if options.precision not in PRECISIONS:
        raise BundleError(f"precision {options.precision} is not known; choose one of {', '.join(PRECISIONS)}")
    source = Checkpoint(Path(checkpoint))
    tokens = read_token_ids(source)
    target = Path(output).absolute()
    with _staging_folder(source, target, options) as staging:
        meter = _Meter(_estimate_bytes(source, options), progress or (lambda part, done, total: None))
        manifest = _write_bundle(source, staging, options, tokens, meter)
        (staging / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        _sync(*staging.iterdir(), staging)  # before the folder gets its name
        _move_into_place(staging, target)
        _sync(target.parent)
    return open_bundle(target, verify=False)


def read_token_ids(checkpoint: Checkpoint) -> TokenIds:
    """The ids the runtime must know, from tokenizer.json and the configs.

    Raises:
        CheckpointError: the tokenizer is missing, unreadable, or not PaliGemma's.
    """
    path = checkpoint.path / "tokenizer.json"
    if not path.exists():
        raise CheckpointError(
            f"{checkpoint.path} has no tokenizer.json; save the processor there too: processor.save_pretrained(folder)"
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise CheckpointError(f"{path} cannot be read as a tokenizer: {error}; copy it once more") from None
    missing = [token for token in _NEEDED_TOKENS if tokenizer.token_to_id(token) is None]
    if missing:
        raise CheckpointError(f"{path} does not know {missing[0]}, so it is not PaliGemma's; copy the right one there")
    image = checkpoint.config.image_token_index
    if tokenizer.token_to_id("<image>") != image:
        raise CheckpointError(
            f"{path} gives <image> the id {tokenizer.token_to_id('<image>')} and config.json the id {image}; "
            "tokenizer and model are not of one checkpoint"
        )
    bos, eos = tokenizer.token_to_id("<bos>"), tokenizer.token_to_id("<eos>")
    assert bos is not None  # looked for above
    assert eos is not None
    newline = tokenizer.encode("\n", add_special_tokens=False).ids
    return TokenIds(
        bos=bos,
        eos=_end_ids(checkpoint.path, eos),
        image=image,
        newline=newline[0] if len(newline) == 1 else None,
    )


class _GenerationConfig(msgspec.Struct):
    eos_token_id: int | list[int] | None = None


def _end_ids(folder: Path, default: int) -> tuple[int, ...]:
    """What ends an answer: generation_config.json's eos_token_id where it is given, as in transformers' generate."""
    path = folder / "generation_config.json"
    try:
        given = msgspec.json.decode(path.read_bytes(), type=_GenerationConfig).eos_token_id
    except FileNotFoundError:
        given = None
    except (OSError, msgspec.DecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; mend it or take it away") from None
    if given is None:
        return (default,)
    return tuple(given) if isinstance(given, list) else (given,)


def _write_bundle(
    source: Checkpoint, staging: Path, options: ExportOptions, tokens: TokenIds, meter: _Meter
) -> Manifest:
    numerics = Numerics.of(options.precision, rescale=options.rescale)
    files = {
        **_write_graph("vision", build_vision, source, staging / VISION_GRAPH, numerics, options, meter),
        **_write_graph("decoder", build_decoder, source, staging / DECODER_GRAPH, numerics, options, meter),
        EMBEDDINGS: _write_embeddings(source, staging / EMBEDDINGS, meter),
        TOKENIZER: _copy(source.path / TOKENIZER, staging / TOKENIZER),
    }
    vision, text = source.config.vision_config, source.config.text_config
    return Manifest(
        contract=CONTRACT_VERSION,
        family=source.config.family,
        precision=options.precision,
        precisions=Precisions(vision=options.precision, decoder=options.precision, head=options.precision),
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
        files=files,
        made_by=Provenance(
            checkpoint=source.path.resolve().name,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            tools={package: version(package) for package in ("palijet", "onnx", "onnx-ir", "safetensors")},
        ),
    )


def _write_graph(
    part: str,
    build: Callable[[Graph, Checkpoint], None],
    source: Checkpoint,
    path: Path,
    numerics: Numerics,
    options: ExportOptions,
    meter: _Meter,
) -> dict[str, FileSpec]:
    with HashedFile(path.with_name(path.name + ".data"), meter.part(part)) as data:
        graph = Graph(numerics, WeightFile(data), options.opset)
        build(graph, source)
    ir.save(graph.model(part, version("palijet")), path)
    onnx.checker.check_model(path)
    return {path.name: _spec_of(path), data.path.name: data.spec}


def _write_embeddings(source: Checkpoint, path: Path, meter: _Meter) -> FileSpec:
    rows = source.config.text_config.vocab_size
    with HashedFile(path, meter.part("embeddings")) as file:
        for start in range(0, rows, _EMBEDDING_ROWS):
            file.write_array(source.read_rows(names.EMBEDDINGS, start, min(start + _EMBEDDING_ROWS, rows)))
    return file.spec


def _copy(origin: Path, target: Path) -> FileSpec:
    shutil.copyfile(origin, target)
    return _spec_of(target)


def _spec_of(path: Path) -> FileSpec:
    return FileSpec(bytes=path.stat().st_size, sha256=sha256_of(path))


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


def _estimate_bytes(source: Checkpoint, options: ExportOptions) -> int:
    """What the bundle will weigh: every tensor in the graphs' type, the LM head apart, the table as stored."""
    shapes = expected_tensors(source.config)
    element = Numerics.of(options.precision).numpy_type.itemsize
    in_graphs = sum(prod(shape) for name, shape in shapes.items() if name not in (names.EMBEDDINGS, names.LM_HEAD))
    table = prod(shapes[names.EMBEDDINGS])
    stored = 4 if source.dtype(names.EMBEDDINGS) == "float32" else 2
    return (in_graphs + table) * element + table * stored


@contextmanager
def _staging_folder(source: Checkpoint, target: Path, options: ExportOptions) -> Iterator[Path]:
    """A folder beside the target to write into; gone in the end, unless it was moved into place.

    What the disk says no to on the way becomes a BundleError here.
    """
    if target.exists() and not options.overwrite:
        raise BundleError(f"{target} exists; choose another output or pass --overwrite to replace it")
    if target == source.path.resolve() or (target.exists() and not (target / MANIFEST).exists()):
        raise BundleError(f"{target} is not a bundle, so it is not replaced; choose another output folder")
    staging: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        needed, free = _estimate_bytes(source, options), shutil.disk_usage(target.parent).free
        if free < needed:
            raise BundleError(
                f"{target.parent} has {free / 1e9:.2f} GB free and the bundle needs {needed / 1e9:.2f} GB; "
                "make room or choose another disk"
            )
        _clear_abandoned(target)
        prefix = f".{target.name}.{os.getpid()}."
        staging = Path(tempfile.mkdtemp(prefix=prefix, suffix=_STAGING_SUFFIX, dir=target.parent))
        staging.chmod(0o755)
        yield staging
    except OSError as error:
        if error.filename and Path(error.filename).absolute().is_relative_to(source.path.absolute()):
            raise CheckpointError(f"{error.filename} cannot be read: {error.strerror}") from None
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BundleError(
                f"the disk of {target} filled up midway; nothing was left there, make room and retry"
            ) from None
        raise BundleError(f"{target} cannot be written: {error.strerror or error}; choose another output") from None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


_STAGING_SUFFIX = ".partial"


def _clear_abandoned(target: Path) -> None:
    """Remove what an export of this bundle that was killed left behind; the folder's name tells its process."""
    for left in target.parent.glob(f".{target.name}.*{_STAGING_SUFFIX}"):
        process = left.name.removeprefix(f".{target.name}.").split(".")[0]
        if process.isdigit() and not Path("/proc", process).exists():
            shutil.rmtree(left, ignore_errors=True)


def _sync(*paths: Path) -> None:
    """Have files and folders on the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _move_into_place(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
        return
    replaced = target.with_name(f".{target.name}.replaced-{os.getpid()}")
    target.rename(replaced)
    try:
        staging.rename(target)
    except OSError:
        replaced.rename(target)
        raise
    shutil.rmtree(replaced, ignore_errors=True)  # the new bundle is in place; what is left of the old one harms nobody
