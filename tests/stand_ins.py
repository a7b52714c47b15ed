"""The stand-ins of CUDA and TensorRT (tests/native/stand_in_*) as Python meets them: built, loaded, asked and told."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest

from palijet.export.engine_profiles import ShapeLimits, engine_profiles
from palijet.runtime import _native
from palijet.runtime.bundle import FileSpec, open_bundle, sha256_of
from palijet.runtime.engines import ENGINE_SET, PLANS, EngineKey, EngineSet, graph_hashes
from palijet.runtime.onnxruntime_library import find_onnxruntime

ROOT = Path(__file__).parent.parent


class Controls(ctypes.Structure):
    """The head of stand_in::Controls in stand_in_cuda.h."""

    _fields_ = (
        ("fail", ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int64)),
        ("calls", ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p)),
        ("living", ctypes.CFUNCTYPE(ctypes.c_int64)),
        ("set_integrated", ctypes.CFUNCTYPE(None, ctypes.c_bool)),
    )


class StandIns:
    """Both libraries, and memory of the pretended GPU."""

    def __init__(self, folder: Path) -> None:
        self.cuda = folder / "libstand_in_cuda.so"
        self.tensorrt = folder / "libstand_in_tensorrt.so"
        self.library = ctypes.CDLL(str(self.cuda))
        self.library.stand_in_controls.restype = ctypes.POINTER(Controls)
        self.controls: Controls = self.library.stand_in_controls().contents

    def calls(self, function: str) -> int:
        return int(self.controls.calls(function.encode()))


class GpuArray:
    """What a pycuda GPUArray is to others: memory of the GPU with `__cuda_array_interface__`."""

    def __init__(self, stand_ins: StandIns, values: np.ndarray) -> None:
        self._library, self._pointer = stand_ins.library, ctypes.c_void_p()
        stream = ctypes.c_void_p()
        values = np.ascontiguousarray(values)
        assert self._library.cudaMalloc(ctypes.byref(self._pointer), ctypes.c_size_t(values.nbytes)) == 0
        assert self._library.cudaStreamCreateWithFlags(ctypes.byref(stream), 0) == 0
        host = ctypes.c_void_p(values.ctypes.data)
        assert self._library.cudaMemcpyAsync(self._pointer, host, ctypes.c_size_t(values.nbytes), 4, stream) == 0
        assert self._library.cudaStreamSynchronize(stream) == 0
        assert self._library.cudaStreamDestroy(stream) == 0
        self.__cuda_array_interface__ = {
            "shape": values.shape,
            "typestr": values.dtype.str,
            "data": (self._pointer.value, False),
            "strides": None,
            "stream": None,
            "version": 3,
        }

    def __del__(self) -> None:
        self._library.cudaFree(self._pointer)


class DlTensor(ctypes.Structure):
    """DLManagedTensor of DLPack's dlpack.h, version 0."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("type_code", ctypes.c_uint8),
        ("type_bits", ctypes.c_uint8),
        ("type_lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class GpuTensor:
    """What a torch or CuPy tensor is to others: memory of the GPU with `__dlpack__`."""

    def __init__(self, array: GpuArray, device_type: int = 2) -> None:
        self._array, self._device_type = array, device_type
        self.streams: list[int | None] = []  # that it was told to make its values ready for

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device_type, 0

    def __dlpack__(self, stream: int | None = None) -> object:
        self.streams.append(stream)
        told = self._array.__cuda_array_interface__
        self._shape = (ctypes.c_int64 * len(told["shape"]))(*told["shape"])
        self._tensor = DlTensor(
            data=told["data"][0], device_type=self._device_type, ndim=len(self._shape), type_code=1, type_bits=8, type_lanes=1,
            shape=self._shape,
        )  # fmt: skip
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(ctypes.addressof(self._tensor), b"dltensor", None)


@pytest.fixture(scope="session")
def stand_ins() -> StandIns:
    """Skips where the core was built without TensorRT's headers."""
    if _native.TENSORRT_MAJOR is None:
        pytest.skip("the native core was built without TensorRT's headers")
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    build = ROOT / "build" / "stand_ins"
    for command in (
        [
            "-S",
            str(ROOT),
            "-B",
            str(build),
            "-DPALIJET_PYTHON=OFF",
            "-DPALIJET_STAND_INS=ON",
            "-DCMAKE_BUILD_TYPE=Debug",
        ],
        ["--build", str(build), "--target", "stand_in_tensorrt", "--parallel", "2"],
    ):
        done = subprocess.run(["cmake", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return StandIns(build / "tests" / "native")


@pytest.fixture
def tensorrt(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """The stand-ins in the place of the libraries."""
    monkeypatch.setenv("PALIJET_CUDART", str(stand_ins.cuda))
    monkeypatch.setenv("PALIJET_LIBCUDA", str(stand_ins.cuda))
    monkeypatch.setenv("PALIJET_NVINFER", str(stand_ins.tensorrt))
    return stand_ins


def write_stand_in_engines(folder: Path, stand_ins: StandIns) -> None:
    """A set of engines as `palijet build` lays it out, whose plans the stand-in runs."""
    bundle = open_bundle(folder)
    profiles = engine_profiles(bundle.manifest, ShapeLimits())
    key = EngineKey(
        tensorrt=f"tensorrt {_native.tensorrt_version(str(stand_ins.tensorrt))}",
        compute_capability="8.7",
        precision=bundle.manifest.precision,
        graphs=graph_hashes(bundle),
        profiles=profiles,
    )
    engines = folder / "engines" / key.folder
    engines.mkdir(parents=True)
    for part, graph in (("vision", bundle.vision_graph), ("decoder", bundle.decoder_graph)):
        lines = ["stand-in plan", f"onnxruntime {find_onnxruntime()}", f"graph {graph}"]
        for profile in profiles[part]:
            if part == "vision":
                dimensions = {"B": ("pixel_values", 0)}
            else:
                dimensions = {
                    "B": ("inputs_embeds", 0), "T": ("inputs_embeds", 1), "P": ("past_key.0", 1), "N": ("logits_index", 0),
                }  # fmt: skip
            ranges = (
                f"{symbol} {profile.shapes[tensor][0][axis]} {profile.shapes[tensor][2][axis]}"
                for symbol, (tensor, axis) in dimensions.items()
            )
            lines.append("profile " + " ".join(ranges))
        (engines / PLANS[part]).write_text("\n".join(lines) + "\n")
    plans = {
        plan: FileSpec(bytes=(engines / plan).stat().st_size, sha256=sha256_of(engines / plan))
        for plan in PLANS.values()
    }
    record = EngineSet(key=key, plans=plans, layers={}, seconds={}, created="2026-11-24T00:00:00+00:00")
    (engines / ENGINE_SET).write_bytes(msgspec.json.encode(record))
