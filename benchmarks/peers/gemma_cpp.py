"""google/gemma.cpp, which is on no package index: an engine for a binary and weights that the user brings."""

from __future__ import annotations

import argparse
from pathlib import Path

from .engines import Engine


def gemma_cpp_engine(binary: Path, weights: Path, tokenizer: Path | None, bits: int) -> Engine:
    """Its weights are compressed by its own tools to a .sbs file, so they are not this benchmark's."""
    options = {"binary": str(binary), "weights": str(weights), "tokenizer": str(tokenizer) if tokenizer else None}
    return Engine("gemma.cpp", weights.stem, bits, "", "drive_gemma_cpp.py", options=options)


def parse_gemma_cpp(text: str) -> Engine:
    """BITS,BINARY,WEIGHTS[,TOKENIZER], as --gemma-cpp has it."""
    bits, *files = text.split(",")
    paths = [Path(file).absolute() for file in files]
    if bits not in ("16", "8", "4") or not 2 <= len(paths) <= 3:
        raise argparse.ArgumentTypeError("give BITS,BINARY,WEIGHTS[,TOKENIZER], as 8,build/gemma,3b-sfp.sbs")
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise argparse.ArgumentTypeError(f"{missing[0]} is not there")
    return gemma_cpp_engine(paths[0], paths[1], paths[2] if len(paths) == 3 else None, int(bits))
