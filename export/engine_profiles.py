"""The shapes that engines are built for: prefill, decode and verify of the decoder, batches of frames of the vision encoder."""

from __future__ import annotations

from dataclasses import dataclass

from ..runtime.bundle import Manifest
from ..runtime.engines import ProfileSpec, Range
from ..runtime.errors import EngineError

ANSWER_ROWS = 512  # in the cache behind the image, as `palijet.load` takes without being told
CACHE_STEP = 64  # rows by which the native core's cache grows


@dataclass(frozen=True)
class ShapeLimits:
    """How much an engine must take at once."""

    max_batch: int = 4  # sequences decoded together
    max_rows: int | None = None  # of a sequence; None: the image's and 512 more
    verify_rows: int = 16  # of a sequence in one step: a token and its drafts
    wanted_rows: int = 128  # of a prefill whose next token is told: the prompt's last, and drafts or choices

    def rows(self, manifest: Manifest) -> int:
        """Rows of a sequence, a whole number of the cache's steps.

        Raises:
            EngineError: fewer than the model's images need, or more than it has positions for.
        """
        spec, image = manifest.decoder, manifest.vision.rows
        wanted = self.max_rows or min(image + ANSWER_ROWS, spec.max_positions)
        if not image < wanted <= spec.max_positions:
            raise EngineError(
                f"{wanted} rows cannot be built: this model needs more than its {image} image rows and has positions for "
                f"{spec.max_positions}; give --max-rows between them"
            )
        return -(-wanted // CACHE_STEP) * CACHE_STEP


def engine_profiles(manifest: Manifest, limits: ShapeLimits) -> dict[str, tuple[ProfileSpec, ...]]:
    """Profiles by engine: "vision" and "decoder"."""
    return {"vision": (_frames(manifest, limits),), "decoder": _decoder(manifest, limits)}


def _frames(manifest: Manifest, limits: ShapeLimits) -> ProfileSpec:
    side = manifest.vision.image_size
    frames: Range = (1, 3, side, side), (1, 3, side, side), (limits.max_batch, 3, side, side)
    return ProfileSpec(name="frames", shapes={"pixel_values": frames})


def _decoder(manifest: Manifest, limits: ShapeLimits) -> tuple[ProfileSpec, ...]:
    image, rows, drafts, wanted = manifest.vision.rows, limits.rows(manifest), limits.verify_rows, limits.wanted_rows
    lone, batch = (1, 1, 1), (1, 1, limits.max_batch)
    cached = (CACHE_STEP, min(rows, -(-(image + 32) // CACHE_STEP) * CACHE_STEP), rows)
    return (
        # An empty cache is one row that past_length says is none: TensorRT is not known to take dimensions of 0.
        _profile("prefill", manifest, batch=lone, new=(2, image + 16, rows), past=lone, wanted=(1, 1, wanted)),
        _profile("decode", manifest, batch=batch, new=lone, past=cached, wanted=batch),
        _profile(
            "verify",
            manifest,
            batch=batch,
            new=(2, min(8, drafts), drafts),
            past=cached,
            wanted=(1, min(8, drafts), drafts * limits.max_batch),
        ),
    )


def _profile(
    name: str,
    manifest: Manifest,
    *,
    batch: tuple[int, int, int],
    new: tuple[int, int, int],
    past: tuple[int, int, int],
    wanted: tuple[int, int, int],
) -> ProfileSpec:
    """batch: sequences; new: rows of each; past: cached rows; wanted: rows whose next token is told; least, usual, most."""
    spec = manifest.decoder

    def ranged(*dims: int | tuple[int, int, int]) -> Range:
        least, usual, most = (tuple(dim if isinstance(dim, int) else dim[which] for dim in dims) for which in range(3))
        return least, usual, most

    shapes = {
        "inputs_embeds": ranged(batch, new, spec.hidden),
        "past_length": ranged(batch),
        "prefix_length": ranged(batch),
        "logits_index": ranged(wanted),
        "target": ranged(wanted),
    }
    for layer in range(spec.layers):
        for part in ("key", "value"):
            shapes[f"past_{part}.{layer}"] = ranged(batch, past, spec.kv_heads, spec.head_dim)
    return ProfileSpec(name=name, shapes=shapes)
