"""Whatever a user has for a picture becomes a frame, and a frame what the vision encoder is given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _native
from .errors import InputError
from .nv12 import Nv12

Image = Any
"""A BGR array as OpenCV gives it, a PIL image, the path of a picture, `Nv12`, or BGR pixels in memory of CUDA."""


def preprocess(image: Image, size: int) -> NDArray[np.float32]:
    """Exactly what the vision encoder is given: [3, size, size] float32, red green blue, -1 to 1.

    The picture is squashed to the square by Pillow's antialiased bicubic on uint8, then (x - 127.5) / 127.5, as
    transformers' SiglipImageProcessor does.

    Raises:
        InputError: what was given is not a picture.
    """
    pixels: NDArray[np.float32] = _native.preprocess(open_frame(image), size)
    return pixels


def open_frame(image: Image, device: _native.CudaDevice | None = None) -> _native.Frame:
    """A picture as the native core reads it; memory of CUDA is not copied.

    device: the GPU that is to read it; None: the host is. Memory of CUDA is what has `__dlpack__` or `__cuda_array_interface__`, a
    pycuda GPUArray for instance: [height, width, 3] uint8 BGR, or 1 or 4 channels.

    Raises:
        InputError: what was given is not a picture.
    """
    if isinstance(image, Nv12):
        return _native.Frame(image.data, f"nv12-{image.matrix}", device)
    if not isinstance(image, np.ndarray) and (
        hasattr(image, "__cuda_array_interface__") or hasattr(image, "__dlpack__")
    ):
        return _native.Frame(image, "bgr", device)
    return _native.Frame(*as_frame(image), device)


def as_frame(image: Image) -> tuple[NDArray[np.uint8], str]:
    """A picture as uint8 [height, width] or [height, width, 1, 3 or 4], and the order of its channels, "bgr" or "rgb".

    Arrays are not copied. 16 bits become 8 by dividing by 257; alpha is not looked at; PIL images of 8 bits are converted to
    RGB by PIL itself; EXIF orientation is not applied, as transformers' processor does not.

    Raises:
        InputError: what was given is not a picture.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(Path(image)), "bgr"
    if isinstance(image, np.ndarray):
        return _check_array(image), "bgr"
    if hasattr(image, "convert") and hasattr(image, "getbands"):  # a PIL image, without importing PIL
        if image.mode.startswith(("I", "F")):  # PIL's own conversion cuts these off at 255
            return _check_array(_sixteen_bits(np.asarray(image))), "bgr"
        return np.asarray(image.convert("RGB")), "rgb"
    raise InputError(
        f"a {type(image).__name__} is not a picture; give a BGR uint8 array as OpenCV does, a PIL image or a path"
    )


def read_image(path: Path) -> NDArray[np.uint8]:
    """The picture in a file as uint8 BGR, grey or BGRA.

    Raises:
        InputError: there is none, or it is no picture.
    """
    import cv2

    try:
        data = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path of the picture") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        decoded = cv2.imdecode(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    except cv2.error:  # OpenCV refuses some damaged files by throwing
        decoded = None
    if decoded is None:
        raise InputError(f"{path} is empty, damaged or not a picture that OpenCV can read; give a JPEG or PNG")
    return _check_array(decoded)


def _sixteen_bits(image: np.ndarray) -> np.ndarray:
    """PIL keeps 16-bit grey in modes of 32 bits as well; what does not fit 16 bits stays as it is and is refused."""
    fits = image.size > 0 and image.dtype.kind in "iu" and image.min() >= 0 and image.max() <= 65535
    return image.astype(np.uint16) if fits else image


def _check_array(image: np.ndarray) -> NDArray[np.uint8]:
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise InputError(
            f"an array of shape {list(image.shape)} is not a picture; give [height, width] or [height, width, 1, 3 or 4]"
        )
    if image.size == 0:
        raise InputError(f"the picture is empty: its shape is {list(image.shape)}; was the camera read successfully?")
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.dtype == np.bool_:
        return image.astype(np.uint8) * np.uint8(255)
    if image.dtype != np.uint8:
        raise InputError(
            f"a picture of {image.dtype} cannot be read; convert it to uint8 first, "
            "for instance (image * 255).astype('uint8') if it is within 0 to 1"
        )
    return image
