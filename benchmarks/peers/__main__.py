"""Measure PaliJet beside other engines; see the package's docstring and docs/performance.md."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from rich.console import Console

from ..shaped_checkpoint import VOCABULARY
from .engines import ENGINES, GROUPS, PEERS
from .environments import Environments, names
from .gemma_cpp import parse_gemma_cpp
from .measurement import Measurement, Settings
from .models import Models, Shape

talk = Console(stderr=True, markup=False, highlight=False)


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    cache = options.cache.expanduser().absolute()
    only, bits = set(_listed(options.only)), [int(width) for width in _listed(options.bits)]
    if unknown := only - set(PEERS) - {"gemma.cpp"}:
        parser.error(f"there is no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}, gemma.cpp")
    if unknown_bits := set(bits) - set(GROUPS):
        parser.error(f"there is no group of {', '.join(map(str, sorted(unknown_bits)))} bits; there are 16, 8 and 4")
    if options.vocabulary < 4096:
        parser.error("a vocabulary of less than 4096 has no room for places, pictures and a prompt of words")
    try:
        environments = Environments(cache, dict(options.python), talk.print)
    except ValueError as error:
        parser.error(str(error))
    if options.clean:
        return _clean(environments, only)
    memory_bytes = None if options.max_memory is None else int(options.max_memory * 1e9)
    shape = Shape(options.layers, options.vocabulary)
    models = Models(cache, shape, environments, memory_bytes, talk.print)
    engines = list(ENGINES)
    if options.gemma_cpp:
        engines.append(options.gemma_cpp)
    chosen = {width: [one for one in engines if one.bits == width and (not only or one.peer in only)] for width in bits}
    settings = Settings(
        rounds=options.rounds,
        threads=options.threads,
        rows=options.rows,
        tokens=options.tokens,
        timeout_s=options.timeout,
        keep_models=not options.drop_models,
        output=options.output.absolute(),
    )
    _end_children_on_sigterm()
    measurement = Measurement(settings, shape, environments, models, talk)
    try:
        for width, group in chosen.items():
            if options.prepare:
                measurement.prepare(group)
            elif group:
                print(measurement.group(GROUPS[width], group), flush=True)
    except KeyboardInterrupt:
        talk.print("interrupted; what was measured is in", str(settings.output))
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    add = parser.add_argument
    add("--only", default="", metavar="PEERS", help=f"of {', '.join(PEERS)}, gemma.cpp; all unless given")
    add("--bits", default="16,8,4", help="groups to measure (16,8,4)")
    add("--rounds", type=_positive, default=5, help="turns of every engine (5)")
    add("--threads", type=_positive, default=2, help="of every engine (2)")
    add("--rows", type=_positive, default=272, help="of the prompt: 256 of a picture and 16 of text (272)")
    add("--tokens", type=_positive, default=32, help="of the answer (32)")
    add("--layers", type=_positive, help="of the model, at full width: a smaller run (all)")
    add("--vocabulary", type=_positive, default=VOCABULARY, help=f"of the model: a smaller run ({VOCABULARY})")
    add("--timeout", type=float, default=900, metavar="S", help="for any one answer of an engine, seconds (900)")
    add("--max-memory", type=float, metavar="GB", help="converters that take more are not run (what is free)")
    add("--cache", type=Path, default=_default_cache(), help="environments and models (%(default)s)")
    add("--output", type=Path, default=Path("out/peers"), help="results.json, tables and plots (out/peers)")
    add(
        "--python",
        type=_named_path,
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        help=f"take this Python as it is; NAME is one of {', '.join(names())}",
    )
    add("--gemma-cpp", type=parse_gemma_cpp, metavar="BITS,BINARY,WEIGHTS[,TOKENIZER]", help="google/gemma.cpp as well")
    add("--drop-models", action="store_true", help="remove a group's models once it is measured: less disk")
    add("--prepare", action="store_true", help="make environments and models and measure nothing")
    add("--clean", action="store_true", help="remove environments (of --only, or all) and do nothing else")
    return parser


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give 1 or more")
    return number


def _named_path(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{path or 'nothing'} is not a Python; give NAME=/path/to/python")
    return name, Path(path).absolute()


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "palijet" / "peers"


def _clean(environments: Environments, only: set[str]) -> int:
    for name in names():
        if (not only or name.removesuffix("-convert") in only) and environments.remove(name):
            talk.print(f"removed the environment {name}")
    return 0


def _end_children_on_sigterm() -> None:
    """A `kill` unwinds like Ctrl-C, so that children end; so does a shell's background job, which is deaf to SIGINT."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)


if __name__ == "__main__":
    sys.exit(main())
