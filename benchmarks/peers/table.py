"""The tables: a row per engine of a group, in Markdown; an engine without figures has the reason in their place."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .agreement import Agreement
from .engines import Engine
from .spread import Spread
from .turns import Turn

COLUMNS = (
    "engine", "precision", "first token ms", "ms per token", "bandwidth GB/s", "share of it", "load s", "peak memory GB",
    "anonymous GB", "weights GB", "read per token GB", "log-probability error", "tokens as float32's",
)  # fmt: skip


@dataclass
class Row:
    """An engine and all that was seen of it."""

    engine: Engine
    turns: list[Turn] = field(default_factory=list)
    agreement: Agreement | None = None
    agreement_failure: str | None = None
    failure: str | None = None  # why there are no turns, or no more

    @property
    def per_token_ms(self) -> Spread | None:
        """Over all steps of all rounds."""
        return Spread.of([lap for turn in self.turns for lap in turn.token_ms])

    @property
    def ttft_ms(self) -> Spread | None:
        return Spread.of([turn.ttft_ms for turn in self.turns])

    @property
    def bandwidth_share(self) -> Spread | None:
        return Spread.of([turn.bandwidth_share for turn in self.turns])


def markdown(rows: Sequence[Row], tokens: int) -> str:
    """A table; medians, with quartiles in brackets. tokens: how many each engine was asked for."""
    lines = [_line(COLUMNS), "|" + " --- |" * len(COLUMNS)]
    lines += [_line(_cells(row, tokens)) for row in rows]
    notes = _notes(rows)
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _cells(row: Row, tokens: int) -> list[str]:
    names = [row.engine.peer, row.engine.precision]
    if not row.turns:
        reason = f"no figures: {row.failure or 'it had no turn'}"
        return [*names, reason, *["-"] * (len(COLUMNS) - len(names) - 1)]
    ttft, step, share = row.ttft_ms, row.per_token_ms, row.bandwidth_share
    assert ttft
    assert step
    assert share
    around = [statistics.mean((turn.bandwidth_before, turn.bandwidth_after)) for turn in row.turns]
    return [
        *names,
        ttft.text(),
        step.text(1),
        f"{statistics.median(around) / 1e9:.1f}",
        f"{100 * share.median:.0f} %",
        f"{statistics.median(turn.load_s for turn in row.turns):.1f}",
        _gigabytes([turn.peak_resident_bytes for turn in row.turns]),
        _gigabytes([turn.peak_anonymous_bytes for turn in row.turns]),
        _gigabytes([row.turns[0].weights_bytes]),
        _gigabytes([row.turns[0].bytes_per_token]),
        f"{row.agreement.logprob_error:.3f}" if row.agreement else "-",
        _alike(row.agreement, tokens),
    ]


def _gigabytes(sizes: Sequence[int]) -> str:
    return f"{max(sizes) / 1e9:.2f}"


def _alike(agreement: Agreement | None, tokens: int) -> str:
    if agreement is None or agreement.tokens_alike is None:
        return "-"
    return f"{agreement.tokens_alike} of {tokens}"


def _notes(rows: Sequence[Row]) -> list[str]:
    """What a table has no column for: vision apart, and who stopped early."""
    visions: Mapping[str, Spread | None] = {
        row.engine.name: Spread.of([turn.vision_ms for turn in row.turns if turn.vision_ms is not None]) for row in rows
    }
    notes = [
        f"- {name}: vision encoder {spread.text()} ms, not in the first token"
        for name, spread in visions.items()
        if spread
    ]
    notes += [
        f"- {row.engine.name} stopped after {len(row.turns)} rounds: {row.failure}"
        for row in rows
        if row.turns and row.failure
    ]
    notes += [f"- {row.engine.name} was not compared: {row.agreement_failure}" for row in rows if row.agreement_failure]
    return notes
