"""How a decoder's time and memory grow: python -m benchmarks.growth BUNDLE [BUNDLE ...] [--threads 2] [--json FILE] [--plot FILE]

Of the first bundle: a prefill over its rows (64 to 4096, as many as an 896-pixel picture has), a step over the cached rows,
a step over sequences that are decoded together (1 to 16), on PaliJet's decoder and, with --onnxruntime, on onnxruntime's. Of all
bundles: memory once loaded and answering, over the bundle's size. Each series ends in the exponent that fits its second half:
1 is linear. Rows are random: what is measured depends on no token.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from palijet.jetson.board import read_board
from palijet.runtime import _native, open_bundle
from palijet.runtime.backend import open_backend
from palijet.runtime.bundle import Bundle

PREFILL_ROWS = (64, 128, 256, 512, 1024, 2048, 4096)
CACHED_ROWS = (128, 256, 512, 1024, 2048, 4096)
BATCHES = (1, 2, 4, 8, 16)
CACHED_OF_A_BATCH = 288

talk = Console(stderr=True, markup=False, highlight=False)


@dataclass
class Series:
    """One thing measured over another."""

    title: str
    over: str  # what x counts
    unit: str  # of y
    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)  # above what was resident before, where it was measured

    @property
    def exponent(self) -> float | None:
        """b of y = a x^b, by least squares of the logarithms over the second half."""
        half = len(self.x) // 2
        if len(self.x) - half < 2:
            return None
        return float(np.polyfit(np.log(self.x[half:]), np.log(self.y[half:]), 1)[0])


class Rows:
    """Runs a bundle's decoder over random rows."""

    def __init__(self, bundle: Bundle, engine: _native.Engine) -> None:
        decoder = bundle.manifest.decoder
        self._engine = engine
        types = {name: element for name, element, _ in engine.inputs}
        self._real = np.dtype(types["inputs_embeds"])
        self._hidden = bundle.manifest.embeddings.width
        self._row = (decoder.kv_heads, decoder.head_dim)
        self._cached = [name for name in types if name.startswith(("past_key.", "past_value."))]
        self._rng = np.random.default_rng(0)

    def run(self, rows: int, cached: int = 0, batch: int = 1, prefix: bool = False) -> float:
        """Milliseconds of one run. rows, cached: of each sequence; prefix: whether rows see each other."""
        past = self._random(batch, max(cached, 1), *self._row)  # one for all: reading it costs the same
        feeds = {
            "inputs_embeds": self._random(batch, rows, self._hidden),
            "past_length": np.full(batch, cached, np.int32),
            "prefix_length": np.full(batch, rows if prefix else 0, np.int32),
            "logits_index": np.arange(1, batch + 1, dtype=np.int32) * rows - 1,
            "target": np.zeros(batch, np.int32),
            **dict.fromkeys(self._cached, past),
        }
        if cached:  # caches of different layers lie in different places
            feeds |= {name: past.copy() for name in self._cached}
        shapes: dict[str, Sequence[int]] = {
            name.replace("past_", "new_"): (batch, rows, *self._row) for name in self._cached
        }
        shapes |= dict.fromkeys(("token", "logprob", "target_logprob"), (batch,))
        started = time.perf_counter()
        self._engine.run(feeds, shapes)
        return (time.perf_counter() - started) * 1e3

    def _random(self, *shape: int) -> np.ndarray:
        return self._rng.standard_normal(shape, np.float32).astype(self._real)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each size, of which the median counts (3)")
    parser.add_argument("--most-rows", type=int, default=4096, help="of a prefill and of a cache (4096)")
    parser.add_argument("--least-rows", type=int, default=64, help="of a prefill (64)")
    parser.add_argument("--onnxruntime", action="store_true", help="prefill on onnxruntime's decoder as well")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="PNG")
    parser.add_argument("--resident", type=Path, metavar="BUNDLE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resident:
        print(resident_bytes(options.resident, options.threads))
        return 0
    if not options.bundles:
        parser.error("give a bundle")
    bundle = open_bundle(options.bundles[0], verify=False)
    sizes = [rows for rows in PREFILL_ROWS if options.least_rows <= rows <= options.most_rows]
    series = growth(bundle, "auto", options.threads, options.rounds, sizes, options.most_rows)
    if options.onnxruntime:
        series.append(prefill_growth(bundle, "onnxruntime", options.threads, options.rounds, sizes))
    memory = Series("memory of a process that answers", "GB of bundle", "GB")
    for folder in options.bundles:
        command = [sys.executable, "-m", "benchmarks.growth", "--resident", folder, "--threads", str(options.threads)]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        memory.x.append(open_bundle(folder, verify=False).total_bytes / 1e9)
        memory.y.append(int(said.stdout) / 1e9)
    series.append(memory)
    machine = f"{read_board()}, {options.threads} threads; {options.bundles[0]}"
    if options.json:
        record = {"machine": machine, "series": [asdict(one) | {"exponent": one.exponent} for one in series]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if options.plot:
        plot(series, machine, options.plot)
    print(machine)
    for one in series:
        print("\n" + markdown(one))
    return 0


def growth(
    bundle: Bundle, cpu_decoder: str, threads: int, rounds: int, sizes: Sequence[int], most_rows: int
) -> list[Series]:
    """sizes: rows of a prefill; most_rows: of a cache."""
    prefill = prefill_growth(bundle, cpu_decoder, threads, rounds, sizes)
    backend = open_backend(bundle, "cpu", threads=threads, spin=True, cpu_decoder=cpu_decoder)
    rows = Rows(bundle, backend.decoder)
    steps = Series("a step", "cached rows", "ms")
    for cached in CACHED_ROWS:
        if cached <= most_rows:
            steps.x.append(cached)
            steps.y.append(median_ms(rows, rounds * 3, rows=1, cached=cached))
    batches = Series("a step of a batch", "sequences", "ms")
    for batch in BATCHES:
        batches.x.append(batch)
        batches.y.append(median_ms(rows, rounds * 3, rows=1, cached=CACHED_OF_A_BATCH, batch=batch))
    return [prefill, steps, batches]


def prefill_growth(bundle: Bundle, cpu_decoder: str, threads: int, rounds: int, sizes: Sequence[int]) -> Series:
    backend = open_backend(bundle, "cpu", threads=threads, cpu_decoder=cpu_decoder)
    rows = Rows(bundle, backend.decoder)
    rows.run(64, prefix=True)  # the weights come into memory
    whose = "onnxruntime's decoder" if isinstance(backend.decoder, _native.OnnxEngine) else "PaliJet's decoder"
    series = Series(f"a prefill on {whose}", "rows", "ms")
    for count in sizes:
        ctypes.CDLL(None).malloc_trim(0)
        before = process_bytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew from here
        series.x.append(count)
        series.y.append(median_ms(rows, rounds, rows=count, prefix=True))
        series.peak_bytes.append(process_bytes("VmHWM") - before)
    return series


def median_ms(decoder: Rows, rounds: int, **sizes: int) -> float:
    talk.print(f"{sizes}")
    decoder.run(**sizes)  # type: ignore[arg-type]
    return statistics.median(decoder.run(**sizes) for _ in range(rounds))  # type: ignore[arg-type]


def resident_bytes(folder: Path, threads: int) -> int:
    """The peak of this process once a bundle is loaded and has answered."""
    import palijet

    model = palijet.load(folder, "cpu", threads=threads, max_batch=1, verify=False)
    model.predict_batch([(np.zeros((224, 224, 3), np.uint8), "caption en")], max_tokens=4, ignore_stop=True)
    return process_bytes("VmHWM")


def process_bytes(what: str) -> int:
    """Bytes, by a name in /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what + ":"))


def markdown(series: Series) -> str:
    exponent = "" if series.exponent is None else f"; fitted exponent {series.exponent:.2f}"
    lines = [f"{series.title}, over {series.over}{exponent}", ""]
    head = [series.over, series.unit, *(["peak memory besides, MB"] if series.peak_bytes else [])]
    rows = [[f"{x:g}", f"{y:.1f}"] for x, y in zip(series.x, series.y, strict=True)]
    for row, peak in zip(rows, series.peak_bytes, strict=False):
        row.append(f"{peak / 1e6:.0f}")
    lines += ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)


def plot(series: Sequence[Series], title: str, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, places = pyplot.subplots(1, len(series), figsize=(3.6 * len(series), 3.4), layout="constrained")
    for one, place in zip(series, places, strict=True):
        place.loglog(one.x, one.y, "o-")
        exponent = "" if one.exponent is None else f"\nexponent {one.exponent:.2f}"
        place.set(title=one.title + exponent, xlabel=one.over, ylabel=one.unit)
        place.grid(True, which="both", alpha=0.2)
    figure.suptitle(title, fontsize=8)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
