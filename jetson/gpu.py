"""The NVIDIA GPU of this machine, asked of the driver itself: nothing needs to be installed for that."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

# CUdevice_attribute, cuda.h
_COMPUTE_CAPABILITY_MAJOR = 75
_COMPUTE_CAPABILITY_MINOR = 76
_INTEGRATED = 18


@dataclass(frozen=True)
class Gpu:
    """What the driver says of its first device."""

    name: str  # "Orin"
    compute_capability: str  # "8.7"
    memory_bytes: int
    is_integrated: bool  # shares its memory with the processor, as on every Jetson


def read_gpu() -> Gpu | None:
    """The first GPU, or None where there is no driver or no device."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, count = ctypes.c_int(), ctypes.c_int()
    if (
        cuda.cuInit(0)
        or cuda.cuDeviceGetCount(ctypes.byref(count))
        or count.value == 0
        or cuda.cuDeviceGet(ctypes.byref(device), 0)
    ):
        return None

    def attribute(which: int) -> int:
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), which, device)
        return value.value

    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(
        name=name.value.decode(errors="replace"),
        compute_capability=f"{attribute(_COMPUTE_CAPABILITY_MAJOR)}.{attribute(_COMPUTE_CAPABILITY_MINOR)}",
        memory_bytes=memory.value,
        is_integrated=bool(attribute(_INTEGRATED)),
    )
