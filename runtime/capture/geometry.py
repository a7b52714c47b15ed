"""Crop, rotation and scale of a picture, where the machine did not do them on the way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..cameras.options import CameraOptions
from .reader import CaptureError


def check_region(options: CameraOptions, width: int, height: int) -> None:
    """Raises CaptureError where the region of interest is not wholly inside a frame of this size."""
    if options.crop and (options.crop[2] > width or options.crop[3] > height):
        region = ",".join(str(edge) for edge in options.crop)
        raise CaptureError(
            "region", f"the region {region} is outside the frame of {width} x {height} pixels; give one inside it"
        )


def apply_geometry(image: NDArray[np.uint8], options: CameraOptions, *, scale: bool) -> NDArray[np.uint8]:
    """Crop, then rotate, then scale an image [height, width, 3]; the same memory where there is nothing to do.

    scale: to the options' width and height; one of them alone keeps the proportions. A camera that was asked for that size gives
    it by itself, and what is cropped of it is not blown up again.
    Raises CaptureError where the region of interest is outside the frame.
    """
    check_region(options, image.shape[1], image.shape[0])
    if options.crop:
        x0, y0, x1, y1 = options.crop
        image = image[y0:y1, x0:x1]
    if not options.rotation and not scale:
        return image
    from ..sources.opencv import cv2

    if options.rotation:
        turn = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
        image = np.asarray(cv2.rotate(image, turn[options.rotation]), np.uint8)
    size = scaled_size(image.shape[1], image.shape[0], options)
    if scale and size != (image.shape[1], image.shape[0]):
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return image


def scaled_size(width: int, height: int, options: CameraOptions) -> tuple[int, int]:
    """Width and height that the options want of a picture of this size."""
    if options.width and options.height:
        return options.width, options.height
    if options.width:
        return options.width, max(1, round(height * options.width / width))
    if options.height:
        return max(1, round(width * options.height / height)), options.height
    return width, height
