"""What a token and an answer cost, in counts that do not depend on the machine's mood: none may rise by more than 2 %.

python -m benchmarks.guard compares with what benchmarks/guard.json records and exits with 1 where a count has risen;
--record writes the file anew, for a change that is worth what it costs.

Counted are the decode loop's own instructions per token (callgrind, over an engine that computes nothing; one compiler's counts are
not another's, so they are compared where it is the one of the record), the bytes that it allocates per token, and the decoder's
runs per answer on the demo's clips with every draft verified.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import palijet
from palijet.export import ExportOptions, export
from palijet.runtime.drafting import DraftMemory

from .streams import CLIPS, PROMPTS

ROOT = Path(__file__).resolve().parent.parent
RECORD = Path(__file__).with_name("guard.json")
CASES = ("lone", "four", "drafts")
TOLERANCE = 1.02
FRAMES = 40  # of a clip
ANSWERS = 20  # of a case of decode_overhead
TOKENS = 64  # of each of its sequences
SEQUENCES = {"four": 4}
COMPILER = "compiler"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write what is counted to benchmarks/guard.json")
    parser.add_argument("--build", type=Path, default=ROOT / "build/guard", help="folder to build in (%(default)s)")
    options = parser.parse_args()
    counts, compiler = loop_counts(options.build)
    counts |= demo_counts()
    if options.record:
        RECORD.write_text(json.dumps({COMPILER: compiler, **counts}, indent=2) + "\n")
        print(f"recorded in {RECORD}")
        return 0
    recorded = json.loads(RECORD.read_text())
    if recorded.pop(COMPILER) != compiler:
        print(f"skipped: instructions were recorded with another compiler than {compiler}")
        counts = {name: count for name, count in counts.items() if not name.startswith("instructions")}
    return report(counts, recorded)


def report(counts: Mapping[str, float], recorded: Mapping[str, float]) -> int:
    """Print each count beside the recorded one; 1 where one has risen, or is not recorded."""
    worse = 0
    for name, count in counts.items():
        before = recorded.get(name)
        verdict = ""
        if before is None:
            verdict = "not recorded: run python -m benchmarks.guard --record"
        elif count > before * TOLERANCE:
            verdict = "has risen by more than 2 %: mend it, or record it (--record) and say what it buys"
        worse += bool(verdict)
        print(f"{name}: {count:,.2f}, recorded {'-' if before is None else f'{before:,.2f}'} {verdict}".rstrip())
    return 1 if worse else 0


def loop_counts(build: Path) -> tuple[dict[str, float], str]:
    """The decode loop's, by name, and the compiler that made it."""
    configure = ["cmake", "-S", ROOT, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DPALIJET_PYTHON=OFF"]
    _quietly([*configure, "-DPALIJET_BENCHMARKS=ON"])
    _quietly(["cmake", "--build", build, "--parallel", "--target", "decode_overhead"])
    program = build / "benchmarks/native/decode_overhead"
    cache = (build / "CMakeCache.txt").read_text()
    found = re.search(r"^CMAKE_CXX_COMPILER:\w+=(.+)$", cache, re.MULTILINE)
    assert found is not None
    compiler = _quietly([found[1], "--version"]).splitlines()[0] + f", {os.uname().machine}"
    counts: dict[str, float] = {}
    for case in CASES:
        said = json.loads(_quietly([program, case, str(ANSWERS)]))
        counts[f"bytes allocated per token, {case}"] = said["bytes_per_token"]
        counts[f"decoder runs per token, {case}"] = said["runs_per_token"]
        print(f"{case}: {said['us_per_token']:.1f} microseconds per token outside the engine")
    if shutil.which("valgrind") is None:
        print("skipped: instructions are counted by valgrind, which is not installed (sudo apt install valgrind)")
        return counts, compiler
    for case in CASES:
        counts[f"instructions per token, {case}"] = _instructions(program, case)
    return counts, compiler


def _instructions(program: Path, case: str) -> float:
    """Within Decoder::generate, of this program's own code: what libc runs depends on the processor."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        toggle = ["--collect-atstart=no", "--toggle-collect=palijet::Decoder::generate*"]
        _quietly(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *toggle, program, case, str(ANSWERS)])
        page = _quietly(["callgrind_annotate", "--threshold=100", "--auto=no", out])
    own = re.findall(rf"^\s*([\d,]+) .*\[.*/{program.name}\]$", page, re.MULTILINE)
    if not own:
        raise SystemExit(f"callgrind_annotate names no function of {program.name}:\n{page}")
    return sum(int(count.replace(",", "")) for count in own) / (ANSWERS * TOKENS * SEQUENCES.get(case, 1))


def demo_counts() -> dict[str, float]:
    """The decoder's runs per answer, by clip."""
    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        export(ROOT / "demo/checkpoint", bundle, ExportOptions(precision="fp32"))
        model = palijet.load(bundle, "cpu")
        for name, clip in CLIPS.items():
            model._drafts = DraftMemory(model._tokenizer, adaptive=False)  # what pays differs between machines
            runs = sum(
                result.timings.decoder_calls
                for frame in islice(clip(), FRAMES)
                for result in model.predict(frame, PROMPTS, camera=name)
            )
            counts[f"decoder runs per answer, {name} clip"] = runs / (FRAMES * len(PROMPTS))
    return counts


def _quietly(command: list[str | Path]) -> str:
    """What a command prints; what it says besides is shown where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
