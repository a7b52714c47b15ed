"""TensorRT engines of a bundle: engines/<key>/{vision,decoder}.plan, each set for one TensorRT, one kind of GPU and these graphs.

`palijet build` writes a set; a runtime asks `find_engines` for the one that it may run. A set that is stale, foreign or damaged
is never handed out.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from .bundle import DECODER_GRAPH, VISION_GRAPH, Bundle, FileSpec, check_files
from .errors import BundleError, EngineError

ENGINES = "engines"
ENGINE_SET = "engine.json"
PLANS = {"vision": "vision.plan", "decoder": "decoder.plan"}

Range = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""The smallest, the most usual and the largest shape of a tensor."""


class ProfileSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes that an engine is built for together: prefill, decode, verify."""

    name: str
    shapes: dict[str, Range]


class EngineKey(msgspec.Struct, frozen=True, kw_only=True):
    """All that an engine depends on; another key is another engine."""

    tensorrt: str  # "tensorrt 10.3.0" or "tensorrt_rtx 1.7.1.116"
    compute_capability: str  # "8.7"; "any" of an engine that is finished on the device
    precision: str
    graphs: dict[str, str]  # file -> sha256, of graphs and weights
    profiles: dict[str, tuple[ProfileSpec, ...]]  # by engine

    @property
    def folder(self) -> str:
        """The name of the set's folder: <trt-version>-<sm>-<hash>."""
        digest = hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()
        library = self.tensorrt.replace("tensorrt_", "").replace("tensorrt ", "").replace(" ", "-")
        return f"{library}-sm{self.compute_capability.replace('.', '')}-{digest[:12]}"


class EngineSet(msgspec.Struct, frozen=True, kw_only=True):
    """engine.json: a set of engines as it was built."""

    key: EngineKey
    plans: dict[str, FileSpec]  # file -> what it must be
    layers: dict[str, dict[str, int]]  # engine -> kinds of layers in its network
    seconds: dict[str, float]  # engine -> time it took to build
    created: str  # ISO 8601, UTC


def graph_hashes(bundle: Bundle, graphs: tuple[str, ...] = (VISION_GRAPH, DECODER_GRAPH)) -> dict[str, str]:
    """The sha256 of the graph files and of their weights, from the manifest."""
    files = bundle.manifest.files
    names = [name for graph in graphs for name in (bundle.tensorrt_graph(graph).name, graph, f"{graph}.data")]
    return {name: files[name].sha256 for name in sorted(set(names))}


def read_engine_sets(bundle: Bundle) -> dict[Path, EngineSet]:
    """Every set in the bundle whose engine.json can be read, newest first."""
    sets = {}
    for path in (bundle.path / ENGINES).glob(f"[!.]*/{ENGINE_SET}"):
        try:
            sets[path.parent] = msgspec.json.decode(path.read_bytes(), type=EngineSet)
        except (OSError, msgspec.DecodeError):  # cut, or of another version: as good as none
            continue
    return dict(sorted(sets.items(), key=lambda item: item[1].created, reverse=True))


def find_engines(bundle: Bundle, tensorrt: str, compute_capability: str) -> tuple[Path, EngineSet]:
    """The newest set that this TensorRT ("tensorrt 10.3.0") may run on a GPU of this compute capability ("8.7").

    Raises:
        EngineError: there is none, or those that are there are stale, foreign or damaged.
    """
    sets = read_engine_sets(bundle)
    mend = f"run `palijet build {bundle.path}` on this device"
    if not sets:
        raise EngineError(f"{bundle.path} holds no TensorRT engines; {mend}")
    reasons = []
    for folder, found in sets.items():
        reason = _refusal(bundle, found, tensorrt, compute_capability) or _damage(folder, found)
        if reason is None:
            return folder, found
        reasons.append(f"{folder.name} {reason}")
    raise EngineError(f"{bundle.path} has no engine for this device: {'; '.join(reasons)}; {mend}")


def _refusal(bundle: Bundle, found: EngineSet, tensorrt: str, compute_capability: str) -> str | None:
    key = found.key
    if key.tensorrt != tensorrt:
        return f"was built by {key.tensorrt} and this is {tensorrt}"
    if key.compute_capability not in ("any", compute_capability):
        return f"was built for compute capability {key.compute_capability} and this GPU's is {compute_capability}"
    if key.graphs != graph_hashes(bundle):
        return "was built from graphs that were exported anew since"
    return None


def _damage(folder: Path, found: EngineSet) -> str | None:
    try:
        check_files(folder, found.plans, mend="build it again")
    except BundleError as error:
        return f"is damaged ({error})"
    return None
