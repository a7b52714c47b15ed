"""Each slot of onnxruntime's C API that the core uses is the function it takes it for (signatures: test_ort_api.cpp)."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEADER = ROOT.parent / "shared" / "headers" / "onnxruntime" / "onnxruntime_c_api.h"


def declared_slots() -> dict[str, int]:
    text = (ROOT / "cpp_ext" / "ort_api.h").read_text()
    return {name: int(slot) for slot, name in re.findall(r"X\((\d+),\s*(\w+),", text)}


def header_functions(before: str = "\n};") -> list[str]:
    """The functions of struct OrtApi, in order, as far as the text `before`."""
    text = HEADER.read_text()
    body = text[text.index("struct OrtApi {") :]
    body = body[: body.index(before)]
    body = body if before == "\n};" else body.rpartition("/**")[0]  # without a comment that was cut off
    body = re.sub(r"/\*.*?\*/|//[^\n]*", "", body, flags=re.DOTALL)
    pattern = (
        r"ORT_API2_STATUS\(\s*(\w+)|ORT_CLASS_RELEASE\(\s*(\w+)|ORT_API_T\(\s*[^,]+,\s*(\w+)"
        r"|\(ORT_API_CALL\s*\*\s*(\w+)\)"
    )
    return [
        function or (f"Release{released}" if released else typed or pointer)
        for function, released, typed, pointer in re.findall(pattern, body)
    ]


def test_slots_are_those_of_the_header() -> None:
    if not HEADER.exists():
        pytest.skip(f"no onnxruntime header at {HEADER}")
    functions = header_functions()
    slots = declared_slots()
    assert len(slots) > 25
    assert {name: functions[slot] for name, slot in slots.items()} == {name: name for name in slots}


def test_the_oldest_onnxruntime_has_every_slot() -> None:
    if not HEADER.exists():
        pytest.skip(f"no onnxruntime header at {HEADER}")
    assert "kApiVersion = 19" in (ROOT / "cpp_ext" / "ort_api.h").read_text()
    assert max(declared_slots().values()) < len(header_functions(before="since Version 1.20"))
