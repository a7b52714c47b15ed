"""The bundle: the folder that `palijet export` writes and a device loads. Its schema, and how one is checked.

A bundle goes in as a path; a `Bundle` comes out whose files are all there, whole and unaltered, or a `BundleError`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import msgspec

from .errors import BundleError

CONTRACT_VERSION = 2
"""Version of the graph contract and of the manifest; a bundle of another version is refused."""

MANIFEST = "manifest.json"
VISION_GRAPH = "vision.onnx"
DECODER_GRAPH = "decoder.onnx"
TENSORRT_GRAPHS = {VISION_GRAPH: "vision.tensorrt.onnx", DECODER_GRAPH: "decoder.tensorrt.onnx"}
"""Of a quantized bundle: the same graphs in FP16 types, for TensorRT 10 and later; weights are shared."""

REPORT = "report.html"
TOKENIZER = "tokenizer.json"
EMBEDDINGS = "embeddings.bin"


class VisionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The SigLIP encoder with its projector: [B, 3, image_size, image_size] -> [B, rows, decoder hidden]."""

    image_size: int  # pixels, the side of the square
    patch_size: int  # pixels
    rows: int  # image rows per frame: (image_size / patch_size) ** 2
    hidden: int
    intermediate: int
    layers: int
    heads: int


class DecoderSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The Gemma decoder."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    max_positions: int  # rows of a sequence, prefix and answer together
    sliding_window: int | None = None  # rows; Gemma 2 applies it to every other layer


class DecoderArithmetic(msgspec.Struct, frozen=True, kw_only=True):
    """What the decoder's graph computes beyond its sizes, for an engine that reads the weights and no graph."""

    epsilon: float  # of the norms that read the residual stream
    post_epsilon: float | None = None  # of the norms at the end of a branch, where there are any (Gemma 2)
    rope_base: float
    attention_scale: float  # what scores are multiplied by
    attention_cap: float | None = None  # soft cap of scores
    logit_cap: float | None = None  # soft cap of logits
    exact_gelu: bool = False  # by erf, else by tanh
    windows: tuple[int | None, ...]  # by layer: how many rows attention reaches back; None: all


class StoredTensor(msgspec.Struct, frozen=True, kw_only=True):
    """Where a tensor lies in a file of weights, row-major, little-endian."""

    dtype: str  # "float32", "float16", "int8" or "int4" (two's complement, two to a byte, the first in the low half)
    shape: tuple[int, ...]
    offset: int  # bytes


class StoredLinear(msgspec.Struct, frozen=True, kw_only=True):
    """A linear layer's weight, and its scales where it is of integers."""

    weight: StoredTensor  # [in, out]
    scale: StoredTensor | None = None  # float16: [out], or [in / block, out]
    block: int | None = None  # inputs per scale; None: all
    input_scale: float | None = None  # of INT8 inputs, where those are rounded too (W8A8)


class DecoderWeights(msgspec.Struct, frozen=True, kw_only=True):
    """The decoder for an engine of our own: arithmetic, and the graph's own weights by name."""

    file: str
    arithmetic: DecoderArithmetic
    linears: dict[str, StoredLinear]
    norms: dict[str, StoredTensor]  # [hidden], the 1 added


class EmbeddingSpec(msgspec.Struct, frozen=True, kw_only=True):
    """embeddings.bin: [rows, width], row-major, little-endian; a row is multiplied by `scale` when gathered."""

    rows: int
    width: int
    dtype: str  # "float32", "float16" or "bfloat16"
    scale: float  # sqrt(hidden), over 16 where the residual stream is rescaled for FP16


class Precisions(msgspec.Struct, frozen=True, kw_only=True):
    """What the weights of each part are stored as."""

    vision: str
    projector: str
    decoder: str
    head: str


class TokenIds(msgspec.Struct, frozen=True, kw_only=True):
    """The ids that the runtime must know without asking the tokenizer."""

    bos: int
    eos: tuple[int, ...]  # any of them ends an answer
    image: int
    newline: int | None = None  # what closes a prompt, where it is one token


class FileSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the bundle as it was when it was written."""

    bytes: int
    sha256: str


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle was made from and by."""

    checkpoint: str  # folder name of the checkpoint
    adapters: tuple[str, ...] = ()  # folder names of what was merged into it
    created: str  # ISO 8601, UTC
    tools: dict[str, str]  # package -> version
    calibration: str | None = None


class LayerQuality(msgspec.Struct, frozen=True, kw_only=True):
    """What quantization did to a linear layer."""

    name: str
    part: str
    precision: str  # what it is stored as
    weights: int  # how many there are
    snr_db: float | None = None  # of its output on calibration rows, or of the weights without them; None: exact
    plain_snr_db: float | None = None  # the same without smoothing and clipping
    smoothing: float | None = None  # alpha, where its input was smoothed
    clipping: str | None = None  # how the scale of INT8 activations was chosen
    kept: bool = False  # kept at FP16 from the noise that snr_db says


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """How the graphs that onnxruntime is given compare with FP32. Errors are relative: ||quantized - float|| / ||float||."""

    layers: tuple[LayerQuality, ...]
    examples: int = 0  # held out, that the rest was measured on
    tokens: int = 0  # next tokens compared, each after the same text
    tokens_agreeing: int = 0
    image_error: float | None = None  # of the image rows
    hidden_errors: tuple[float, ...] = ()  # of the residual stream after each decoder layer
    final_error: float | None = None  # behind the last norm
    warnings: tuple[str, ...] = ()

    @property
    def agreement(self) -> float | None:
        """The share of next tokens that are FP32's."""
        return self.tokens_agreeing / self.tokens if self.tokens else None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """manifest.json."""

    contract: int
    family: str  # "paligemma" or "paligemma2"
    precision: str  # as asked for: "fp32", "fp16", ...
    precisions: Precisions
    opset: int
    vision: VisionSpec
    decoder: DecoderSpec
    embeddings: EmbeddingSpec
    tokens: TokenIds
    files: dict[str, FileSpec]  # relative POSIX path -> what it must be; the manifest itself is not listed
    made_by: Provenance
    decoder_weights: DecoderWeights | None = None  # None: engines run the graph
    quality: Quality | None = None  # of a quantized bundle


class Bundle(msgspec.Struct, frozen=True):
    """An opened bundle: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def vision_graph(self) -> Path:
        return self.path / VISION_GRAPH

    @property
    def decoder_graph(self) -> Path:
        return self.path / DECODER_GRAPH

    def tensorrt_graph(self, graph: str) -> Path:
        """The graph (VISION_GRAPH or DECODER_GRAPH) that TensorRT 10 and later are given."""
        typed = TENSORRT_GRAPHS[graph]
        return self.path / (typed if typed in self.manifest.files else graph)

    @property
    def tokenizer(self) -> Path:
        return self.path / TOKENIZER

    @property
    def embeddings(self) -> Path:
        return self.path / EMBEDDINGS

    @property
    def total_bytes(self) -> int:
        return sum(spec.bytes for spec in self.manifest.files.values())


def open_bundle(path: str | os.PathLike[str], *, verify: bool = True) -> Bundle:
    """Read and check the bundle in folder `path`.

    Sizes are always checked. With `verify`, so is every file's sha256, unless that very file (same inode, size and
    modification time) was verified before on this machine.

    Raises:
        BundleError: there is none, a file is missing, cut or altered, or the contract version is another.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    check_files(folder, manifest.files, mend="export again or copy the bundle once more", contents=verify)
    return Bundle(folder, manifest)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the bundle in `folder`; its contract version is looked at before anything else.

    Raises:
        BundleError: no such folder, no manifest, one that is not valid, or one of another contract version.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a folder; give the folder that `palijet export` wrote")
    try:
        raw = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise BundleError(
            f"{folder} has no {MANIFEST}, so it is not a bundle; make one with `palijet export CHECKPOINT -o BUNDLE`"
        ) from None
    except OSError as error:
        raise BundleError(f"{folder / MANIFEST} cannot be read: {error.strerror}") from None
    try:
        contract = msgspec.json.decode(raw, type=_ContractOnly).contract
        if contract != CONTRACT_VERSION:
            raise BundleError(
                f"{folder} follows graph contract {contract} and this PaliJet reads contract {CONTRACT_VERSION}; "
                "export the checkpoint again with this version"
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
    except msgspec.DecodeError as error:  # ValidationError is one of them
        raise BundleError(f"{folder / MANIFEST} is not a valid manifest ({error}); export again") from None
    for name in (VISION_GRAPH, DECODER_GRAPH, TOKENIZER, EMBEDDINGS):
        if name not in manifest.files:
            raise BundleError(f"{folder / MANIFEST} does not list {name}; export again")
    for name in manifest.files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BundleError(f"{folder / MANIFEST} lists {name}, which lies outside the bundle; export again")
    return manifest


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


class _ContractOnly(msgspec.Struct):
    contract: int


def check_files(folder: Path, files: dict[str, FileSpec], *, mend: str, contents: bool = True) -> None:
    """Check that files are what they were when they were written: their sizes, and with `contents` their sha256.

    A file that was verified before on this machine (same inode, size and modification time) is not read again.

    Raises:
        BundleError: one is missing, cut or altered; `mend` is what to do about it.
    """
    for name, spec in files.items():
        _check_size(folder, name, spec, mend)
    if contents:
        _check_contents(folder, files, mend)


def file_spec(path: Path) -> FileSpec:
    """What a manifest says of a file that is written."""
    return FileSpec(bytes=path.stat().st_size, sha256=sha256_of(path))


def _check_size(folder: Path, name: str, spec: FileSpec, mend: str) -> None:
    try:
        found = (folder / name).stat().st_size
    except OSError:
        raise BundleError(f"{folder} lacks {name}, which its manifest lists; {mend}") from None
    if found != spec.bytes:
        difference = abs(found - spec.bytes)
        word = "short of" if found < spec.bytes else "longer than"
        raise BundleError(f"{folder / name} is {difference} bytes {word} its manifest; {mend}")


def _check_contents(folder: Path, files: dict[str, FileSpec], mend: str) -> None:
    verified = _read_stamps()
    pending = {
        name: _stamp(folder / name, spec) for name, spec in files.items() if _stamp(folder / name, spec) not in verified
    }
    if not pending:
        return
    with ThreadPoolExecutor(max_workers=min(len(pending), os.cpu_count() or 1)) as pool:
        digests = dict(zip(pending, pool.map(lambda name: sha256_of(folder / name), pending), strict=True))
    for name, digest in digests.items():
        if digest != files[name].sha256:
            raise BundleError(f"{folder / name} was altered: its sha256 is not the manifest's; {mend}")
    _write_stamps(verified | set(pending.values()))


# A verified file is remembered by what changes when it does, so that a service that restarts does not read
# gigabytes again only to hash them.

_STAMPS_KEPT = 4096


def _stamp(path: Path, spec: FileSpec) -> str:
    stat = path.stat()
    return f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{spec.sha256}"


def _stamps_path() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "palijet" / "verified-files.json"


def _read_stamps() -> set[str]:
    try:
        return set(msgspec.json.decode(_stamps_path().read_bytes(), type=list[str]))
    except (OSError, RuntimeError, msgspec.DecodeError):  # none yet, no home, or cut: verify again
        return set()


def _write_stamps(stamps: set[str]) -> None:
    try:
        path = _stamps_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as stream:
            stream.write(msgspec.json.encode(sorted(stamps)[-_STAMPS_KEPT:]))
        Path(stream.name).replace(path)
    except (OSError, RuntimeError):
        return  # a read-only home costs a second verification, nothing else
