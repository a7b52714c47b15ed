"""The benchmarks of cameras hold what they promise, if small: fresh frames, unhurt neighbours, explained gaps, equal answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rtsp_server import why_not

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.mark.parametrize(
    ("benchmark", "arguments"),
    [
        ("freshness", ["--seconds", "20"]),
        ("crowd", ["--seconds", "30"]),
        ("soak", ["--minutes", "1.5"]),
        ("together", ["--rounds", "12"]),
    ],
)
def test_a_benchmark_of_cameras_holds_what_it_promises(benchmark: str, arguments: list[str], demo_bundle: Path) -> None:
    command = [sys.executable, "-m", f"benchmarks.cameras.{benchmark}", str(demo_bundle), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=400, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
