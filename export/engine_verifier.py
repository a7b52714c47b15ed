"""`palijet build --verify`: each engine is run from Python beside onnxruntime on the same inputs, profile by profile.

It shares nothing with the native core: TensorRT's own Python module runs the plan and pycuda holds the memory.
Built, not yet run on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.bundle import DECODER_GRAPH, VISION_GRAPH, Bundle, Manifest
from ..runtime.engines import PLANS, EngineSet, ProfileSpec
from ..runtime.errors import EngineError
from .layerwise import import_onnxruntime, session_options
from .tensorrt_api import TensorRt, open_tensorrt

Tensors = dict[str, NDArray[Any]]

_GRAPHS = {"vision": VISION_GRAPH, "decoder": DECODER_GRAPH}


@dataclass(frozen=True)
class Difference:
    """How far an engine's output is from onnxruntime's."""

    engine: str  # "decoder, verify"
    output: str
    largest: float  # absolute
    relative: float  # of the largest value that onnxruntime has there


def verify(bundle: Bundle, folder: Path, built: EngineSet, tensorrt: str = "auto") -> list[Difference]:
    """Run every engine of a set at each profile's usual shapes.

    Raises:
        EngineError: there is no pycuda or no GPU, or TensorRT does not run an engine.
    """
    trt = open_tensorrt(tensorrt)
    differences = []
    for engine, plan in PLANS.items():
        session = open_session(bundle, engine)
        with _CudaPlan(trt, folder / plan) as running:
            for index, profile in enumerate(built.key.profiles[engine]):
                inputs = example_inputs(bundle.manifest, profile, _types(session))
                found = running.run(index, inputs)
                expected = run_session(session, inputs)
                differences += list(compare(f"{engine}, {profile.name}", found, expected))
    return differences


def open_session(bundle: Bundle, engine: str) -> Any:
    """The graph that the engine was built from, on onnxruntime."""
    return import_onnxruntime().InferenceSession(bundle.tensorrt_graph(_GRAPHS[engine]), session_options())


def run_session(session: Any, inputs: Tensors) -> Tensors:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _types(session: Any) -> dict[str, type]:
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int32)": np.int32}
    return {value.name: types[value.type] for value in session.get_inputs()}


def example_inputs(manifest: Manifest, profile: ProfileSpec, types: dict[str, type]) -> Tensors:
    """Random inputs of the profile's usual shapes that mean something: lengths that fit the cache, rows that exist."""
    random = np.random.default_rng(0)
    inputs: Tensors = {
        name: random.normal(0, 0.5, usual).astype(types[name]) for name, (_, usual, _) in profile.shapes.items()
    }
    if profile.name == "frames":
        return {"pixel_values": np.clip(inputs["pixel_values"], -1, 1)}
    batch, new, _ = inputs["inputs_embeds"].shape
    cached = inputs["past_key.0"].shape[1]
    is_prefill = profile.name == "prefill"
    inputs["past_length"] = np.full(batch, 0 if is_prefill else cached - 1, np.int32)
    inputs["prefix_length"] = np.full(batch, min(new, manifest.vision.rows + 4) if is_prefill else 0, np.int32)
    inputs["logits_index"] = np.arange(inputs["logits_index"].size, dtype=np.int32) % (batch * new)
    inputs["target"] = inputs["logits_index"] % manifest.decoder.vocab
    return inputs


def compare(engine: str, found: Tensors, expected: Tensors) -> Iterator[Difference]:
    """Differences of the outputs, the keys and values of all layers together."""
    groups: dict[str, list[str]] = {}
    for name in expected:
        groups.setdefault(name.split(".")[0], []).append(name)
    for group, names in groups.items():
        pairs = [(found[name].astype(np.float64), expected[name].astype(np.float64)) for name in names]
        largest = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
        size = max(float(np.abs(theirs).max()) for _, theirs in pairs)
        yield Difference(engine, group, largest, largest / max(size, 1e-12))


class _CudaPlan:
    """A plan run by TensorRT's Python module, with memory by pycuda."""

    def __init__(self, trt: TensorRt, plan: Path) -> None:
        try:
            import pycuda.driver as cuda
        except ImportError:
            raise EngineError(
                "--verify runs engines through pycuda, which is not installed: pip install pycuda"
            ) from None
        try:
            cuda.init()
            self._context = cuda.Device(0).make_context()
        except cuda.Error as error:
            raise EngineError(f"--verify needs a GPU, and CUDA says: {error}") from None
        self._cuda = cuda
        module = trt.module
        self._log: list[str] = []
        self._runtime = module.Runtime(trt.logger(self._log))
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            self._context.pop()
            raise EngineError(
                f"{plan} is not taken by {trt.name}: {self._log[-1] if self._log else 'it does not say why'}"
            )
        self._module = module

    def __enter__(self) -> _CudaPlan:
        return self

    def __exit__(self, *raised: object) -> None:
        self._engine = self._runtime = None
        self._context.pop()

    def run(self, profile: int, inputs: Tensors) -> Tensors:
        assert self._engine is not None
        cuda, stream = self._cuda, self._cuda.Stream()
        context = self._engine.create_execution_context()
        context.set_optimization_profile_async(profile, stream.handle)
        memory = []
        for name, array in inputs.items():
            array = np.ascontiguousarray(array)
            memory.append(cuda.to_device(array))
            context.set_input_shape(name, array.shape)
            context.set_tensor_address(name, int(memory[-1]))
        outputs: dict[str, tuple[Any, NDArray[Any]]] = {}
        for i in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(i)
            if name in inputs:
                continue
            host = np.empty(
                tuple(context.get_tensor_shape(name)), self._module.nptype(self._engine.get_tensor_dtype(name))
            )
            outputs[name] = (cuda.mem_alloc(max(host.nbytes, 1)), host)
            context.set_tensor_address(name, int(outputs[name][0]))
        if not context.execute_async_v3(stream.handle):
            raise EngineError(
                f"TensorRT did not run the engine: {self._log[-1] if self._log else 'it does not say why'}"
            )
        stream.synchronize()
        for device, host in outputs.values():
            cuda.memcpy_dtoh(host, device)
        return {name: host for name, (_, host) in outputs.items()}
