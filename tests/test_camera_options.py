"""How a camera is captured is checked when it is said, and what cannot be is named with what to give."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from palijet import InputError
from palijet.runtime.cameras.options import CameraOptions

WRONG: dict[str, tuple[object, ...]] = {
    "width": (-5, 0, 640.0, "640", True),
    "height": (0, -1, math.nan),
    "capture_fps": (-1, 0, 0.0, math.nan, math.inf, "30", True),
    "rotation": (45, -90, False, "90"),
    "crop": ((0, 0, 0, 10), (0, 10, 10, 5), (-1, 0, 10, 10), (0, 0, 10), (0, 0, 1.5, 2), "0,0,10,10", 7),
    "latency_ms": (-3, 1.5, math.nan, "100", True),
    "transport": ("sctp", None),
    "reader": ("ffmpeg", ""),
    "connect_s": (0, -1, math.nan, math.inf, "10"),
    "silence_s": (0, -0.5, math.nan, math.inf),
    "frozen_s": (-1, math.nan, math.inf, None),
    "blank_s": (-0.1, math.nan, "never"),
    "first_wait_s": (0, math.nan),
    "longest_wait_s": (0, -30, math.inf),
}


@pytest.mark.parametrize(("option", "value"), [(option, value) for option in WRONG for value in WRONG[option]])
def test_a_value_that_cannot_be_is_named_with_what_to_give(option: str, value: object) -> None:
    with pytest.raises(InputError) as raised:
        CameraOptions(**{option: value})  # type: ignore[arg-type]
    shown = ",".join(map(str, value)) if isinstance(value, tuple) else repr(value)
    assert str(raised.value).startswith(f"{option} is {shown}; give ")


def test_every_option_is_checked() -> None:
    assert set(WRONG) == {field.name for field in fields(CameraOptions)}


def test_what_can_be_is_taken() -> None:
    CameraOptions(width=1, height=2160, capture_fps=29.97, rotation=270, crop=(0, 0, 1, 1), latency_ms=0)
    CameraOptions(capture_fps=30, connect_s=1, silence_s=0.1, frozen_s=0, blank_s=0, reader="opencv", transport="udp")
