"""report.html: what quantization did to a model, on one page that needs no network."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from ..runtime.bundle import LayerQuality, Manifest
from .recipe import is_hurt

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; width: 100%; } td, th { padding: .15em .6em; text-align: left; white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.bar { background: #4a7; height: .8em; min-width: 1px; }
.bar.low { background: #c63; } .bar.plain { background: #bbb; height: .3em; }
td.plot { width: 40%; } .warning { background: #fff3d6; padding: .4em .8em; } .quiet { color: #777; }
"""
_TOP_DB = 60.0


def report_page(manifest: Manifest) -> str:
    """The page for a bundle whose manifest has a quality."""
    quality = manifest.quality
    assert quality is not None
    size = sum(spec.bytes for spec in manifest.files.values())
    facts = [
        ("model", f"{manifest.made_by.checkpoint} ({manifest.family}, {manifest.vision.image_size} pixels)"),
        ("precision", ", ".join(f"{part} {value}" for part, value in _precisions(manifest))),
        ("size", f"{size / 1e6:,.1f} MB"),
        ("calibrated with", manifest.made_by.calibration or "nothing: errors are those of the weights alone"),
    ]
    if quality.agreement is not None:
        agreed = f"{quality.agreement:.2%} of {quality.tokens} on {quality.examples} held-out examples, each after the same text"
        facts += [
            ("tokens as FP32's", agreed),
            ("error of the image rows", f"{quality.image_error:.4f}"),
            ("error of the final hidden state", f"{quality.final_error:.4f}"),
        ]
    kept = [layer.name for layer in quality.layers if layer.kept]
    if kept:
        facts.append(("kept at FP16", ", ".join(kept)))
    return "\n".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8><title>PaliJet quantization report</title>",
            f"<style>{_STYLE}</style><h1>Quantization report</h1>",
            *(f"<p class=warning>{escape(warning)}</p>" for warning in quality.warnings),
            _table(f"<tr><th>{escape(name)}<td style='white-space: normal'>{escape(value)}" for name, value in facts),
            *_hidden(quality.hidden_errors),
            "<h2>Linear layers</h2>",
            "<p class=quiet>Signal to noise of each layer's output, in decibels; thin bars: without smoothing and clipping. "
            "Layers kept at FP16 show what they were kept from.</p>",
            _table(
                [
                    "<tr><th>layer<th>stored as<th class=n>weights<th class=n>dB<th><th>smoothing<th>clipping",
                    *map(_layer, quality.layers),
                ]
            ),
        ]
    )


def _precisions(manifest: Manifest) -> list[tuple[str, str]]:
    precisions = manifest.precisions
    return [(part, getattr(precisions, part)) for part in precisions.__struct_fields__]


def _table(rows: Iterable[str]) -> str:
    return f"<table>{''.join(rows)}</table>"


def _layer(layer: LayerQuality) -> str:
    snr = "exact" if layer.snr_db is None else f"{layer.snr_db:.1f}"
    bars = _bar(layer.snr_db, "low" if is_hurt(layer) else "") + _bar(layer.plain_snr_db, "plain")
    return (
        f"<tr><td>{escape(layer.name)}<td>{escape(layer.precision)}{' (kept)' if layer.kept else ''}"
        f"<td class=n>{layer.weights:,}<td class=n>{snr}<td class=plot>{bars}"
        f"<td>{'' if layer.smoothing is None else layer.smoothing}<td>{escape(layer.clipping or '')}"
    )


def _bar(decibel: float | None, kind: str) -> str:
    if decibel is None:
        return ""
    return f"<div class='bar {kind}' style='width: {100 * max(0.0, min(decibel, _TOP_DB)) / _TOP_DB:.1f}%'></div>"


def _hidden(errors: tuple[float, ...]) -> list[str]:
    if not errors:
        return []
    highest = max(errors) or 1.0
    rows = (
        f"<tr><td>layer {i}<td class=n>{error:.4f}<td class=plot><div class=bar style='width: {100 * error / highest:.1f}%'></div>"
        for i, error in enumerate(errors)
    )
    return ["<h2>Error of the residual stream after each decoder layer</h2>", _table(rows)]
