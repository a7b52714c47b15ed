"""What `palijet doctor` prints: findings, boards, and what a bundle takes on one."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .jetson.boards import BOARDS, BoardSpec, board_spec
from .jetson.doctor import NOTE, PROBLEM, examine, read_spec
from .jetson.memory_plan import Plan, plan, refusal
from .runtime.bundle import open_bundle
from .runtime.errors import InputError
from .runtime.inspect import readable_bytes

_COLOURS = {NOTE: "yellow", PROBLEM: "bold red"}


def show_findings(root: Path, *, as_json: bool) -> bool:
    """Print what was found; whether nothing is a problem."""
    findings = examine(root)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        table = Table(show_header=False)
        for finding in findings:
            status = Text(finding.status, style=_COLOURS.get(finding.status, "green"))
            table.add_row(finding.name, status, finding.value + (f"\n-> {finding.mend}" if finding.mend else ""))
        _print(table)
    return all(finding.status != PROBLEM for finding in findings)


def show_boards(*, as_json: bool) -> None:
    """Print the boards that are known."""
    if as_json:
        print(json.dumps([asdict(board) for board in BOARDS.values()]))
        return
    table = Table("board", "", "memory", "bandwidth", "compute capability")
    for board in BOARDS.values():
        memory, bandwidth = f"{board.memory_bytes >> 30} GB", f"{board.bandwidth / 1e9:.1f} GB/s"
        table.add_row(board.name, board.title, memory, bandwidth, board.compute_capability)
    _print(table)


def show_plans(bundle: Path, board: str | None, root: Path, *, as_json: bool) -> None:
    """Print what a bundle takes on a board, at its own precision and at the others."""
    manifest = open_bundle(bundle, verify=False).manifest
    spec = board_spec(board) if board else read_spec(root)
    if spec is None:
        raise InputError(f"this machine is no board that is known; name one: --board {', '.join(BOARDS)}")
    own = plan(manifest, spec)
    plans = [own, *(plan(manifest, spec, other) for other in ("fp16", "int8", "int4") if other != manifest.precision)]
    if as_json:
        print(json.dumps([_facts(each, spec) for each in plans]))
        return
    table = Table(
        "precision", "weights", "build", "load", "run", "tokens/s at best", "fits", title=f"{bundle} on {spec.title}"
    )
    for each in plans:
        fits = "yes" if each.runs and each.builds else "runs; building needs swap" if each.runs else "no"
        sizes = (readable_bytes(size) for size in (each.weights, each.build, each.load, each.run))
        table.add_row(each.precision, *sizes, f"{each.tokens_per_s:.0f}", fits)
    _print(table)
    why = refusal(own, manifest)
    if why:
        _print(why)


def _facts(found: Plan, spec: BoardSpec) -> dict[str, object]:
    return {
        **{key: value for key, value in asdict(found).items() if key != "board"},
        "board": spec.name,
        "tokens_per_s": round(found.tokens_per_s, 1),
        "runs": found.runs,
        "builds": found.builds,
    }


def _print(what: Table | str) -> None:
    Console(width=None if sys.stdout.isatty() else 160).print(what)
