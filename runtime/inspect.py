"""What a bundle is, for people: its parts with shapes and sizes, and what it needs to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from .bundle import DECODER_GRAPH, EMBEDDINGS, TOKENIZER, VISION_GRAPH, Bundle


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
    sizes = {name: spec.bytes for name, spec in manifest.files.items()}

    def weight(graph: str) -> int:
        return sum(size for name, size in sizes.items() if name.startswith(graph))

    side = vision.image_size
    parts = (
        Part(
            VISION_GRAPH,
            f"[B, 3, {side}, {side}] -> [B, {vision.rows}, {decoder.hidden}]; {vision.layers} layers of {vision.hidden}, "
            f"{vision.heads} heads, patches of {vision.patch_size}",
            manifest.precisions.vision,
            weight(VISION_GRAPH),
        ),
        Part(
            DECODER_GRAPH,
            f"{decoder.layers} layers of {decoder.hidden}, {decoder.heads} heads sharing {decoder.kv_heads} key-value "
            f"heads of {decoder.head_dim}, vocabulary {decoder.vocab}"
            + (f", sliding window {decoder.sliding_window}" if decoder.sliding_window else ""),
            manifest.precisions.decoder,
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
    element = 2 if manifest.precisions.decoder == "fp16" else 4
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
        },
        manifest=msgspec.to_builtins(manifest),
    )


def readable_bytes(count: float) -> str:
    """1536 -> "1.5 KB"; powers of 1000."""
    units = ["B", "KB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.0f} B" if units[0] == "B" else f"{count:.1f} {units[0]}"
