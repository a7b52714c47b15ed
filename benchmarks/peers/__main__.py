"""Measure PaliJet beside other engines; see the package's docstring and docs/performance.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from .child import interrupt_on_sigterm
from .engines import ENGINES, GROUPS, PEERS
from .environments import Environments, names
from .gemma_cpp import parse_gemma_cpp
from .measurement import Measurement, Settings
from .options import add_options, listed, open_cache, positive

talk = Console(stderr=True, markup=False, highlight=False)


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    only, bits = set(listed(options.only)), listed(options.bits)
    if unknown := only - {*PEERS, "gemma.cpp"}:
        parser.error(f"there is no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}, gemma.cpp")
    if unknown := set(bits) - {str(width) for width in GROUPS}:
        parser.error(f"there is no group of {', '.join(sorted(unknown))} bits; there are 16, 8 and 4")
    environments, models = open_cache(parser, options, talk)
    if options.clean:
        return _clean(environments, only)
    engines = [*ENGINES, *options.gemma_cpp]
    settings = Settings(
        rounds=options.rounds,
        threads=options.threads,
        rows=options.rows,
        tokens=options.tokens,
        timeout_s=options.timeout,
        keep_models=not options.drop_models,
        output=options.output.absolute(),
    )
    interrupt_on_sigterm()
    measurement = Measurement(settings, environments, models, talk)
    try:
        groups = {
            width: [one for one in engines if one.bits == width and (not only or one.peer in only)]
            for width in map(int, bits)
        }
        if options.prepare:
            measurement.prepare([engine for group in groups.values() for engine in group])
            return 0
        for width, group in groups.items():
            if group:
                print(measurement.group(GROUPS[width], group), flush=True)
    except KeyboardInterrupt:
        talk.print(f"interrupted; what was measured is in {settings.output}")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    add = parser.add_argument
    add("--only", default="", metavar="PEERS", help=f"of {', '.join(PEERS)}, gemma.cpp; all unless given")
    add("--bits", default="16,8,4", help="groups to measure (%(default)s)")
    add("--rounds", type=positive, default=5, help="turns of every engine (5)")
    add("--rows", type=positive, default=272, help="of the prompt: 256 of a picture and 16 of text (272)")
    add("--tokens", type=positive, default=32, help="of the answer (32)")
    add_options(parser, Path("out/peers"))
    add(
        "--gemma-cpp",
        type=parse_gemma_cpp,
        action="append",
        default=[],
        metavar="BITS,BINARY,WEIGHTS[,TOKENIZER]",
        help="google/gemma.cpp as well, with weights of your own",
    )
    add("--drop-models", action="store_true", help="remove a group's models once it is measured: less disk")
    add("--prepare", action="store_true", help="make environments and models and measure nothing")
    add("--clean", action="store_true", help="remove environments (of --only, or all) and do nothing else")
    return parser


def _clean(environments: Environments, only: set[str]) -> int:
    for name in names():
        if (not only or name.removesuffix("-convert") in only) and environments.remove(name):
            talk.print(f"removed the environment {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
