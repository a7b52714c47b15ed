"""A picture per group: time to the first token, time per token, and the share of the memory bandwidth, engine beside engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from .spread import Spread
from .table import Row

_OURS, _OTHERS = "#2a6fbb", "#9aa5b1"


def plot(rows: Sequence[Row], title: str, file: Path) -> None:
    """Bars are medians, whiskers quartiles; engines without figures are left out, the table tells why."""
    shown = [row for row in reversed(rows) if row.turns]
    if not shown:
        return
    figure, axes = plt.subplots(1, 3, figsize=(13, 1.2 + 0.5 * len(shown)), sharey=True, layout="constrained")
    figure.suptitle(title)
    _bars(axes[0], shown, [row.ttft_ms for row in shown], "time to first token, ms", 1)
    _bars(axes[1], shown, [row.per_token_ms for row in shown], "time per token, ms", 1)
    _bars(axes[2], shown, [row.bandwidth_share for row in shown], "share of memory bandwidth, %", 100)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def _bars(axes: Axes, rows: Sequence[Row], spreads: Sequence[Spread | None], label: str, factor: float) -> None:
    seen = [spread for spread in spreads if spread]
    middles = [spread.median * factor for spread in seen]
    whiskers = [
        [(spread.median - spread.low) * factor for spread in seen],
        [(spread.high - spread.median) * factor for spread in seen],
    ]
    colours = [_OURS if row.engine.peer == "palijet" else _OTHERS for row in rows]
    bars = axes.barh([row.engine.name for row in rows], middles, xerr=whiskers, color=colours, capsize=3)
    axes.bar_label(bars, [f"{middle:.0f}" for middle in middles], label_type="center", color="white")
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
