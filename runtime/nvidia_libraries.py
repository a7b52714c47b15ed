"""Finds CUDA's and TensorRT's shared libraries, which the native core opens; no Python package of theirs is imported."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from . import _native
from .errors import EngineError


def find_cudart() -> str:
    """The path of libcudart: $PALIJET_CUDART, or that of NVIDIA's wheel; empty: where the system finds it.

    Raises:
        EngineError: the variable names no file.
    """
    # Where the wheels put it: nvidia-cuda-runtime (CUDA 13), nvidia-cuda-runtime-cu12, -cu11.
    return _named("PALIJET_CUDART") or _in_package(
        "nvidia", ("cu13/lib/libcudart.so.*", "cuda_runtime/lib/libcudart.so.*")
    )


def find_libcuda() -> str:
    """The path of the CUDA driver's libcuda: $PALIJET_LIBCUDA; empty: where the system finds it.

    Raises:
        EngineError: the variable names no file.
    """
    return _named("PALIJET_LIBCUDA")


def find_nvinfer() -> str:
    """The path of libnvinfer: $PALIJET_NVINFER, or that of NVIDIA's wheel; empty: where the system finds it.

    Raises:
        EngineError: the variable names no file.
    """
    return _named("PALIJET_NVINFER") or _in_package("tensorrt_libs", (f"libnvinfer.so.{_native.TENSORRT_MAJOR}",))


def _named(variable: str) -> str:
    given = os.environ.get(variable, "")
    if given and not Path(given).is_file():
        raise EngineError(f"{variable} names {given}, which is not a file; name the path of the library")
    return given


def _in_package(package: str, patterns: tuple[str, ...]) -> str:
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for pattern in patterns:
            for found in sorted(Path(folder).glob(pattern)):
                return str(found)
    return ""
