"""Options that every measurement with the peers' environments and models has."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.console import Console

from ..shaped_checkpoint import VOCABULARY
from .environments import Environments, names
from .models import Models, Shape

_LEAST_VOCABULARY = 4096


def add_options(parser: argparse.ArgumentParser, output: Path) -> None:
    """output: the folder of results, unless another is given."""
    add = parser.add_argument
    add("--threads", type=positive, default=2, help="of every engine (2)")
    add("--layers", type=positive, help="of the model, at full width: a smaller run (all)")
    add("--vocabulary", type=_vocabulary, default=VOCABULARY, help=f"of the model: a smaller run ({VOCABULARY})")
    add("--timeout", type=float, default=900, metavar="S", help="for any one answer of an engine, seconds (900)")
    add("--max-memory", type=float, metavar="GB", help="converters that take more are not run (what is free)")
    add("--cache", type=Path, default=_default_cache(), help="environments and models (%(default)s)")
    add("--output", type=Path, default=output, help="folder of results (%(default)s)")
    add(
        "--python",
        type=_named_path,
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        help=f"take this Python as it is, NAME one of {', '.join(names())}; may be given several times",
    )


def open_cache(
    parser: argparse.ArgumentParser, options: argparse.Namespace, talk: Console
) -> tuple[Environments, Models]:
    """The environments and models that the options name; nothing is made yet."""
    cache = options.cache.expanduser().absolute()
    try:
        environments = Environments(cache, dict(options.python), talk.print)
    except ValueError as error:
        parser.error(str(error))
    memory_bytes = None if options.max_memory is None else int(options.max_memory * 1e9)
    return environments, Models(
        cache, Shape(options.layers, options.vocabulary), environments, memory_bytes, talk.print
    )


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give 1 or more")
    return number


def listed(text: str) -> list[str]:
    """What commas part."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _vocabulary(text: str) -> int:
    number = int(text)
    if number < _LEAST_VOCABULARY:
        raise argparse.ArgumentTypeError(f"less than {_LEAST_VOCABULARY} has no room for places, pictures and words")
    return number


def _named_path(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{path or 'nothing'} is not a Python; give NAME=/path/to/python")
    return name, Path(path).absolute()


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "palijet" / "peers"
