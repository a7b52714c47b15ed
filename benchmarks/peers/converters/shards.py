"""The tensors of a safetensors checkpoint in its shards' own bytes, mapped and not loaded; numpy has no bfloat16.

The format: 8 bytes of the header's length, little-endian; a header of JSON, {name: {"dtype", "shape", "data_offsets"}}; the data.
(https://github.com/huggingface/safetensors, README, "Format")
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Tensor(NamedTuple):
    name: str
    dtype: str  # "BF16"
    shape: tuple[int, ...]
    data: np.ndarray  # [bytes] uint8


def tensors(folder: Path) -> Iterator[Tensor]:
    """All tensors of a folder's shards."""
    for shard in sorted(folder.glob("*.safetensors")):
        with shard.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        data = np.memmap(shard, np.uint8, "r", offset=8 + length)
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, stop = entry["data_offsets"]
            yield Tensor(name, entry["dtype"], tuple(entry["shape"]), data[start:stop])


def widened(tensor: Tensor) -> np.ndarray:
    """A bfloat16 tensor as float32: its bits are the upper half."""
    if tensor.dtype != "BF16":
        raise ValueError(f"{tensor.name} is {tensor.dtype}; the benchmark's checkpoints are BF16")
    bits = tensor.data.view(np.uint16).astype(np.uint32) << 16
    return bits.view(np.float32).reshape(tensor.shape)
