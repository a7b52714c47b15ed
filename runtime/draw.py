"""Draws results on a picture: boxes with labels, and the text of answers that name no objects on a panel below."""

from __future__ import annotations

import colorsys
import textwrap
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .preprocess import Image, as_frame
from .result import DetectedObject, Result

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_READABLE = 320  # pixels: a picture whose shorter side has fewer is enlarged by a whole factor first
_LARGEST = 1920  # pixels: but not beyond this
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)

Frame = NDArray[np.uint8]
Colour = tuple[int, int, int]


def draw(image: Image, results: Sequence[Result], *, panel_lines: int = 0) -> Frame:
    """The picture with all results on it: uint8 BGR, larger than the picture where that is too small to write on.

    panel_lines: room for at least so many lines of text below, so that the frames of a video keep one size.
    Letters that OpenCV's font has not are written without their accents, or as `?`.
    """
    canvas = _enlarged(_as_bgr(image))
    factor = canvas.shape[1] / results[0].image_size[0] if results else 1.0
    style = _Style.of(canvas)
    for result in results:
        for thing in result.objects:
            _draw_object(canvas, thing, factor, style)
    lines = [_line(result) for result in results if not result.objects]
    return _with_panel(canvas, lines, style, panel_lines) if lines or panel_lines else canvas


@dataclass(frozen=True)
class _Style:
    """Sizes that follow the picture's."""

    scale: float  # of the font
    thickness: int  # pixels, of lines
    pad: int  # pixels, around text

    @staticmethod
    def of(canvas: Frame) -> _Style:
        side = min(max(min(canvas.shape[:2]), 240), 2160)
        return _Style(scale=side / 800 + 0.1, thickness=max(1, round(side / 320)), pad=max(2, side // 120))

    @property
    def text_thickness(self) -> int:
        return max(1, round(self.scale * 1.6))

    def measure(self, text: str) -> tuple[int, int, int]:
        """Width, height and depth below the baseline, pixels."""
        (width, height), depth = cv2.getTextSize(text, _FONT, self.scale, self.text_thickness)
        return width, height, depth


def _line(result: Result) -> str:
    return f"{result.prompt}: {result.text}" if result.prompt else result.text


def _as_bgr(image: Image) -> Frame:
    frame, order = as_frame(image)
    if frame.ndim == 2 or frame.shape[2] == 1:
        return frame.reshape(*frame.shape[:2], 1).repeat(3, axis=2)
    colours = frame[:, :, :3]
    return np.ascontiguousarray(colours if order == "bgr" else colours[:, :, ::-1]).copy()


def _enlarged(canvas: Frame) -> Frame:
    height, width = canvas.shape[:2]
    factor = min(-(-_READABLE // min(height, width)), _LARGEST // max(height, width))
    if factor <= 1:
        return canvas
    return np.ascontiguousarray(canvas.repeat(factor, axis=0).repeat(factor, axis=1))


def _colour(label: str) -> Colour:
    """The same for a label in every frame."""
    hue = zlib.crc32(label.encode()) % 360 / 360
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 0.95)
    return (round(blue * 255), round(green * 255), round(red * 255))


def _draw_object(canvas: Frame, thing: DetectedObject, factor: float, style: _Style) -> None:
    x0, y0, x1, y1 = (round(edge * factor) for edge in thing.box)
    colour = _colour(thing.label)
    cv2.rectangle(canvas, (x0, y0), (x1, y1), _BLACK, style.thickness + 2, cv2.LINE_AA)
    cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, style.thickness, cv2.LINE_AA)
    text = _ascii(f"{thing.label} {thing.score:.0%}".strip())
    width, height, depth = style.measure(text)
    box_width, box_height = width + 2 * style.pad, height + depth + 2 * style.pad
    left = max(0, min(x0, canvas.shape[1] - box_width))
    top = y0 - box_height if y0 >= box_height else min(y0, max(0, canvas.shape[0] - box_height))
    cv2.rectangle(canvas, (left, top), (left + box_width, top + box_height), colour, cv2.FILLED)
    blue, green, red = colour
    ink = _BLACK if 0.114 * blue + 0.587 * green + 0.299 * red > 140 else _WHITE  # luma of BT.601
    origin = (left + style.pad, top + style.pad + height)
    cv2.putText(canvas, text, origin, _FONT, style.scale, ink, style.text_thickness, cv2.LINE_AA)


def _with_panel(canvas: Frame, lines: Sequence[str], style: _Style, at_least: int) -> Frame:
    """The picture with lines of text on a dark panel underneath."""
    letter, height, depth = style.measure("n")
    columns = max(8, (canvas.shape[1] - 2 * style.pad) // max(letter, 1))
    wrapped = [part for line in lines for part in textwrap.wrap(_ascii(line), columns) or [""]]
    step = height + depth + 2 * style.pad
    panel = np.full((step * max(len(wrapped), at_least) + 2 * style.pad, canvas.shape[1], 3), 24, dtype=np.uint8)
    for i, line in enumerate(wrapped):
        origin = (style.pad, style.pad + i * step + height + style.pad)
        cv2.putText(panel, line, origin, _FONT, style.scale, _WHITE, style.text_thickness, cv2.LINE_AA)
    return np.vstack([canvas, panel])


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.replace("\n", " "))
    return "".join(letter if " " <= letter <= "~" else "?" for letter in plain if not unicodedata.combining(letter))
