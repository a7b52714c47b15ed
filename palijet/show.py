"""`palijet run`: results to the terminal, to JSON Lines and to an annotated video as they come."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from .runtime.errors import PaliJetError
from .runtime.model import load
from .runtime.result import StreamResult
from .runtime.stream import StreamOptions, answer_frames


def run_source(
    bundle: Path,
    source: str,
    prompts: list[str],
    *,
    jsonl: str | None,
    save: Path | None,
    options: StreamOptions,
    limit: int | None,
    threads: int,
    backend: str,
    talk: Console,
) -> None:
    """Answer the prompts on every frame; JSON Lines on standard output unless that is a terminal, which gets a live table."""
    from .runtime.draw import draw
    from .runtime.sources import open_source
    from .runtime.sinks.video_writer import VideoWriter

    model = load(bundle, backend, threads=threads)
    if model.backend_note:
        talk.print(f"on the CPU: {model.backend_note}", soft_wrap=True)
    opened = open_source(source)
    show_table = jsonl != "-" and sys.stdout.isatty()
    with ExitStack() as stack:
        lines = _Lines(jsonl, show_table, stack)
        video = stack.enter_context(VideoWriter(save, opened.fps / options.every)) if save else None
        live = stack.enter_context(Live(console=Console(), refresh_per_second=8)) if show_table else None
        started = time.monotonic()
        answered = 0
        with opened as frames:
            for frame, results in answer_frames(model, frames, prompts, options):
                answered += 1
                lines.write(results)
                if video:
                    video.write(draw(frame.image, results, panel_lines=len(prompts) + 1))
                if live:
                    live.update(_table(results, answered / (time.monotonic() - started)))
                if answered == limit:
                    break
        if opened.ended_early:
            talk.print(f"note: {opened.ended_early}", style="yellow", soft_wrap=True)
    rate = answered / max(time.monotonic() - started, 1e-9)
    talk.print(f"{answered} frames answered, {rate:.1f} per second" + (f"; {save}" if save else ""))


class _Lines:
    """JSON Lines to standard output, to a file or nowhere.

    The file is opened at the first result, so that an error before it keeps what was there.
    """

    def __init__(self, jsonl: str | None, show_table: bool, stack: ExitStack) -> None:
        self._stack = stack
        self._path = Path(jsonl) if jsonl not in (None, "-") else None
        self._stream: IO[str] | None = sys.stdout if jsonl == "-" or (jsonl is None and not show_table) else None
        if self._path and (self._path.is_dir() or not os.access(self._path.absolute().parent, os.W_OK)):
            raise PaliJetError(
                f"{self._path} cannot be written; give a file in a folder that is there and yours to write"
            )

    def write(self, results: list[StreamResult]) -> None:
        if self._path and self._stream is None:
            self._stream = self._stack.enter_context(self._path.open("w", encoding="utf-8"))
        if self._stream is not None:
            self._stream.writelines(result.to_json() + "\n" for result in results)
            self._stream.flush()


def _table(results: list[StreamResult], rate: float) -> Table:
    first = results[0]
    table = Table("prompt", "answer", "sure", title=f"{first.source}, frame {first.frame_index}, {rate:.1f} frames/s")
    for result in results:
        answer = ", ".join(thing.label for thing in result.objects) if result.objects else result.text
        table.add_row(result.prompt, answer, f"{result.confidence:.0%}")
    return table
