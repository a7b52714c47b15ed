"""Whole answers, from a clip's frames to text: PaliJet at each precision beside transformers' whole PaliGemma in bfloat16.

python -m benchmarks.answers [--precisions int8,int4] [--clip VIDEO] [--frames 4] [--tokens 32] [--rounds 3] [--layers N]

The same random weights in PaliGemma 3B's shape, the same frames and prompt, always --tokens tokens. Engines take turns as in
benchmarks.peers, whose environments and models these are: each turn is a fresh process that loads, answers a frame to warm up and
then every frame. Preprocessing, vision encoder, prefill, decoding and text are all within an answer's time. PaliJet's drafts are
off: how often a guess holds is a matter of the scene, and random weights say nothing about it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from palijet.demo.clip import Clip, write_clip
from palijet.jetson.board import read_board
from palijet.runtime.sources import VideoFile

from .peers.agreement import prompt_ids
from .peers.child import ChildError, interrupt_on_sigterm
from .peers.driver_process import DriverError
from .peers.engines import ENGINES, Engine
from .peers.models import NoRoomError
from .peers.options import add_options, listed, open_cache, positive
from .peers.ready import ready
from .peers.spread import Spread
from .peers.turns import Runner, Work

PROMPT_ROWS = 16  # behind the picture's, <bos> among them
PICTURE_ROWS = 256
_COLUMNS = ("engine", "answers per minute", "ms per answer", "load s", "peak memory GB", "tokens as transformers'")

talk = Console(stderr=True, markup=False, highlight=False)


@dataclass(frozen=True)
class Turn:
    """One process: loaded, warmed up, every frame answered."""

    load_s: float
    answer_ms: list[float]  # [frames]
    tokens: list[list[int]]  # [frames, tokens]
    peak_resident_bytes: int


@dataclass
class Row:
    """An engine and all that was seen of it."""

    engine: Engine
    turns: list[Turn] = field(default_factory=list)
    failure: str | None = None  # why there are no turns, or no more


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.answers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precisions", default="fp16,int8,int8-weight,int4", help="of PaliJet (%(default)s)")
    parser.add_argument("--clip", type=Path, help="video whose frames are asked about (the demo's clip)")
    parser.add_argument("--frames", type=positive, default=4, help="taken evenly from the clip (4)")
    parser.add_argument("--tokens", type=positive, default=32, help="of every answer (32)")
    parser.add_argument("--rounds", type=positive, default=3, help="turns of every engine (3)")
    add_options(parser, Path("out/answers"))
    options = parser.parse_args()
    wanted = set(listed(options.precisions))
    engines = [engine for engine in ENGINES if engine.peer == "palijet" and engine.precision in wanted]
    if unknown := wanted - {engine.precision for engine in engines}:
        parser.error(f"PaliJet is not measured at {', '.join(sorted(unknown))}")
    environments, models = open_cache(parser, options, talk)
    interrupt_on_sigterm()
    oracle = Engine("transformers", "bf16", 16, "checkpoint", "drive_transformers.py", options={"whole": True})
    rows = [Row(engine) for engine in (oracle, *engines)]
    work = Work(prompt_ids(PROMPT_ROWS, options.vocabulary), options.tokens, options.threads, options.timeout)
    output = options.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    try:
        runners: list[tuple[Row, Runner]] = []
        for row in rows:
            try:
                runners.append((row, ready(row.engine, environments, models, output / "logs")))
            except (ChildError, NoRoomError) as error:
                row.failure = str(error)
        with tempfile.TemporaryDirectory() as folder:
            frames = _frames(options.clip, options.frames, Path(folder))
            measure(runners, options.rounds, work, frames, Path(folder))
    except KeyboardInterrupt:
        talk.print("interrupted")
        return 130
    settings = {key: str(value) for key, value in vars(options).items()}
    made_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    record: dict[str, Any] = {"made_at": made_at, "machine": str(read_board()), "settings": settings}
    record["engines"] = {row.engine.name: asdict(row) for row in rows}
    (output / "results.json").write_text(json.dumps(record, indent=1))
    page = markdown(rows, work.tokens)
    (output / "table.md").write_text(page + "\n")
    print(page)
    return 0


def measure(runners: Sequence[tuple[Row, Runner]], rounds: int, work: Work, frames: np.ndarray, folder: Path) -> None:
    """Turns into the rows. frames: [n, height, width, 3] uint8 BGR; folder: for files that drivers read."""
    np.save(folder / "first.npy", frames[:1])
    np.save(folder / "all.npy", frames)
    with talk.status("answering") as status:
        for number in range(rounds):
            start = number % max(1, len(runners))
            for row, runner in [*runners[start:], *runners[:start]]:
                if row.failure is not None:
                    continue
                status.update(f"round {number + 1} of {rounds}: {row.engine.name}")
                try:
                    row.turns.append(_turn(runner, work, folder))
                except DriverError as error:
                    row.failure = str(error)


def markdown(rows: Sequence[Row], tokens: int) -> str:
    """A table; medians over all frames and rounds, with quartiles in brackets. rows: the first one is compared with."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + " --- |" * len(_COLUMNS)]
    expected = rows[0].turns[0].tokens if rows[0].turns else None
    for row in rows:
        spread = Spread.of([lap for turn in row.turns for lap in turn.answer_ms])
        if spread is None:
            reason = f"no figures: {row.failure or 'it had no turn'}".replace("|", "\\|").replace("\n", " ")
            cells = [row.engine.name, reason, *["-"] * (len(_COLUMNS) - 2)]
        else:
            peak = max(turn.peak_resident_bytes for turn in row.turns)
            load_s = Spread.of([turn.load_s for turn in row.turns])
            assert load_s is not None
            cells = [row.engine.name, f"{60_000 / spread.median:.1f}", spread.text(), f"{load_s.median:.1f}"]
            cells += [f"{peak / 1e9:.2f}", _alike(row.turns[0].tokens, expected, tokens)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        f"\n- {row.engine.name} stopped after {len(row.turns)} rounds: {row.failure}"
        for row in rows
        if row.turns and row.failure
    ]
    return "\n".join(lines)


def _turn(runner: Runner, work: Work, folder: Path) -> Turn:
    with runner.start(work.threads) as driver:
        rows = PICTURE_ROWS + len(work.prompt) + work.tokens
        loaded = driver.ask(runner.load_request(work) | {"rows": rows}, work.timeout_s)
        request = {"do": "answer", "prompt": list(work.prompt), "count": work.tokens}
        driver.ask({**request, "frames": str(folder / "first.npy")}, work.timeout_s)
        said = driver.ask({**request, "frames": str(folder / "all.npy")}, work.timeout_s)
        driver.memory.sample()
        if any(len(answer) != work.tokens for answer in said["tokens"]):
            raise DriverError(f"gave {list(map(len, said['tokens']))} tokens; {work.tokens} were asked for each time")
        return Turn(loaded["load_s"], said["answer_ms"], said["tokens"], driver.memory.resident_bytes)


def _frames(clip: Path | None, count: int, folder: Path) -> np.ndarray:
    """[count, height, width, 3] uint8 BGR, evenly from the clip."""
    if clip is None:
        clip = folder / "clip.mp4"
        write_clip(clip, Clip())
    with VideoFile(clip) as video:
        images = [frame.image for frame in video]
    places = np.linspace(0, len(images) - 1, count).round().astype(int)
    return np.stack([images[place] for place in places])


def _alike(answers: Sequence[Sequence[int]], expected: Sequence[Sequence[int]] | None, tokens: int) -> str:
    """Tokens before the first that differs, the mean over frames."""
    if expected is None:
        return "-"
    counts = [
        len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=True))))
        for one, other in zip(answers, expected, strict=True)
    ]
    return f"{sum(counts) / len(counts):.1f} of {tokens}"


if __name__ == "__main__":
    sys.exit(main())
