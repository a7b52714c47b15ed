"""What a bundle's graphs run on: TensorRT, onnxruntime with CUDA, or onnxruntime on the CPU."""

from __future__ import annotations

from dataclasses import dataclass

from . import _native
from .bundle import Bundle
from .cpu_decoder import open_cpu_decoder, suits_cpu_decoder
from .engines import PLANS, find_engines, read_engine_sets
from .errors import EngineError
from .nvidia_libraries import find_cudart, find_libcuda, find_nvinfer
from .onnxruntime_library import find_onnxruntime

CPU_DECODERS = ("auto", "onnxruntime")
BACKENDS = ("auto", "tensorrt", "cuda", "cpu")


@dataclass(frozen=True)
class Backend:
    """The two engines of a bundle, opened."""

    name: str  # "tensorrt", "cuda" or "cpu"
    vision: _native.Engine
    decoder: _native.Engine
    version: str  # of the library that computes, as a person reads it
    device: _native.CudaDevice | None = None
    note: str = ""  # why "auto" did not take the engines that the bundle holds


def open_backend(
    bundle: Bundle, wanted: str, *, threads: int = 0, spin: bool = False, cpu_decoder: str = "auto"
) -> Backend:
    """Open a bundle's engines on one of `BACKENDS`.

    "auto" takes TensorRT where the bundle holds engines that this machine can run, and the CPU everywhere else. threads, spin,
    cpu_decoder: as in `LoadOptions`.

    Raises:
        EngineError: the backend is not there or refuses the graphs.
    """
    if cpu_decoder not in CPU_DECODERS:
        raise EngineError(f"cpu_decoder {cpu_decoder} is not known; use one of {', '.join(CPU_DECODERS)}")
    if wanted not in BACKENDS:
        raise EngineError(f"backend {wanted} is not known; use one of {', '.join(BACKENDS)}")
    note = ""
    if wanted == "tensorrt" or (wanted == "auto" and read_engine_sets(bundle)):
        try:
            return _open_tensorrt(bundle)
        except EngineError as error:
            if wanted == "tensorrt":
                raise
            note = str(error)
    if wanted != "cuda" and cpu_decoder != "onnxruntime" and suits_cpu_decoder(bundle.manifest.decoder_weights):
        return _open_cpu(bundle, threads, spin, note)
    return _open_onnxruntime(bundle, threads, spin, on_cuda=wanted == "cuda", note=note)


def _open_tensorrt(bundle: Bundle) -> Backend:
    if _native.TENSORRT_MAJOR is None:
        raise EngineError(
            "this PaliJet was built without TensorRT's headers; on a Jetson: sudo apt install libnvinfer-headers-dev, then "
            "pip install --force-reinstall --no-binary palijet palijet"
        )
    library = find_nvinfer()
    version = _native.tensorrt_version(library)
    devices = [
        _open_device(),
        _open_device(),
    ]  # a stream for each engine, so that one frame decodes while the next is encoded
    device = devices[0]
    folder, _ = find_engines(bundle, f"tensorrt {version}", device.compute_capability)
    vision, decoder = (
        _native.TensorRtEngine(str(folder / PLANS[part]), stream, library=library)
        for part, stream in zip(("vision", "decoder"), devices, strict=True)
    )
    return Backend("tensorrt", vision, decoder, f"TensorRT {version}, {_describe(device)}", device)


def _open_cpu(bundle: Bundle, threads: int, spin: bool, note: str) -> Backend:
    vision = _native.OnnxEngine(str(bundle.vision_graph), library=str(find_onnxruntime()), threads=threads, spin=spin)
    decoder = open_cpu_decoder(bundle, threads)
    return Backend("cpu", vision, decoder, f"onnxruntime {vision.version}, decoder by {decoder.kernels}", None, note)


def _open_onnxruntime(bundle: Bundle, threads: int, spin: bool, *, on_cuda: bool, note: str) -> Backend:
    library = str(find_onnxruntime())
    devices = [_open_device() if on_cuda else None for _ in range(2)]
    device = devices[0]
    vision, decoder = (
        _native.OnnxEngine(str(graph), library=library, threads=threads, spin=spin, device=stream)
        for graph, stream in zip((bundle.vision_graph, bundle.decoder_graph), devices, strict=True)
    )
    version = f"onnxruntime {vision.version}" + (f", {_describe(device)}" if device else "")
    return Backend("cuda" if on_cuda else "cpu", vision, decoder, version, device, note)


def _open_device() -> _native.CudaDevice:
    return _native.CudaDevice(runtime=find_cudart(), driver=find_libcuda())


def _describe(device: _native.CudaDevice) -> str:
    return f"CUDA {device.runtime_version}, compute capability {device.compute_capability}"
