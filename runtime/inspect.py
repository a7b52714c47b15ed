"""What a bundle is, for people: its parts with shapes and sizes, and what it needs to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from .bundle import DECODER_GRAPH, EMBEDDINGS, TOKENIZER, VISION_GRAPH, Bundle, Manifest


@dataclass(frozen=True)
class Part:
    """One part of a bundle."""

    name: str
    what: str  # its shape in words
    precision: str
    bytes: int


@dataclass(frozen=True)
class Summary:
    """A bundle at a glance."""

    parts: tuple[Part, ...]
    needs: dict[str, str]
    manifest: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {
            "parts": [vars(part) for part in self.parts],
            "needs": self.needs,
            "manifest": self.manifest,
        }


def summarize(bundle: Bundle) -> Summary:
    """Sum up an opened bundle; reads nothing but its manifest."""
    manifest = bundle.manifest
    vision, decoder, table = manifest.vision, manifest.decoder, manifest.embeddings
    precisions = manifest.precisions
    sizes = {name: spec.bytes for name, spec in manifest.files.items()}

    def weight(graph: str) -> int:
        return sum(size for name, size in sizes.items() if name.startswith(graph))

    side = vision.image_size
    parts = (
        Part(
            VISION_GRAPH,
            f"[B, 3, {side}, {side}] -> [B, {vision.rows}, {decoder.hidden}]; {vision.layers} layers of {vision.hidden}, "
            f"{vision.heads} heads, patches of {vision.patch_size}",
            _joined(precisions.vision, precisions.projector),
            weight(VISION_GRAPH),
        ),
        Part(
            DECODER_GRAPH,
            f"{decoder.layers} layers of {decoder.hidden}, {decoder.heads} heads sharing {decoder.kv_heads} key-value "
            f"heads of {decoder.head_dim}, vocabulary {decoder.vocab}"
            + (f", sliding window {decoder.sliding_window}" if decoder.sliding_window else ""),
            _joined(precisions.decoder, precisions.head),
            weight(DECODER_GRAPH),
        ),
        Part(EMBEDDINGS, f"[{table.rows}, {table.width}], mapped", table.dtype, sizes[EMBEDDINGS]),
        Part(
            TOKENIZER,
            f"<bos> {manifest.tokens.bos}, ends at {list(manifest.tokens.eos)}",
            "",
            sizes[TOKENIZER],
        ),
    )
    element = 2 if precisions.decoder == "fp16" and precisions.head == "fp16" else 4
    row = 2 * decoder.layers * decoder.kv_heads * decoder.head_dim * element
    return Summary(
        parts=parts,
        needs={
            "family": manifest.family,
            "precision": manifest.precision,
            "opset": str(manifest.opset),
            "contract": str(manifest.contract),
            "weights in memory": readable_bytes(weight(VISION_GRAPH) + weight(DECODER_GRAPH)),
            "cache": f"{readable_bytes(row)} per row, {readable_bytes(row * (vision.rows + 64))} for a picture and 64 rows",
            "on disk": readable_bytes(bundle.total_bytes),
            "made from": f"{manifest.made_by.checkpoint}, {manifest.made_by.created}",
            "made by": ", ".join(f"{tool} {version}" for tool, version in manifest.made_by.tools.items()),
            **_quality(manifest),
        },
        manifest=msgspec.to_builtins(manifest),
    )


def _joined(*precisions: str) -> str:
    """The precisions of a graph's two parts: "int8", or "int8 + fp16"."""
    return " + ".join(dict.fromkeys(precisions))


def _quality(manifest: Manifest) -> dict[str, str]:
    quality = manifest.quality
    if quality is None:
        return {}
    lines = {"calibrated with": manifest.made_by.calibration or "nothing"}
    if quality.agreement is not None:
        lines["tokens as FP32's"] = (
            f"{quality.agreement:.2%} of {quality.tokens}, on {quality.examples} held-out examples"
        )
        lines["final hidden state"] = f"{quality.final_error:.4f} relative error"
    measured = [layer for layer in quality.layers if layer.snr_db is not None]
    if measured:
        worst = min(measured, key=lambda layer: layer.snr_db or 0.0)
        lines["worst layer"] = f"{worst.name}, {worst.snr_db} dB" + (", so kept at FP16" if worst.kept else "")
    lines["kept at FP16"] = ", ".join(layer.name for layer in quality.layers if layer.kept) or "none"
    return lines


def readable_bytes(count: float) -> str:
    """1536 -> "1.5 KB"; powers of 1000."""
    units = ["B", "KB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.0f} B" if units[0] == "B" else f"{count:.1f} {units[0]}"
