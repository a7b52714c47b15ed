"""What a bundle takes on a board, before anybody tries: memory at build, load and run, and the tokens that bandwidth allows.

Weights are counted from the manifest. What the system, CUDA and TensorRT take for themselves are assumptions, named below; the
plan has been compared with no Jetson yet.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..runtime.bundle import Manifest
from ..runtime.errors import InputError
from ..runtime.inspect import readable_bytes
from .boards import BOARDS, BoardSpec

PRECISIONS = ("fp32", "fp16", "int8", "int8-weight", "int4")

SYSTEM_BYTES = 1_200_000_000
"""Taken by Jetson Linux without a desktop. Assumption: an Orin Nano at its console shows 0.6 to 1.3 GB used."""

CUDA_BYTES = 500_000_000
"""Taken by a CUDA context and TensorRT's libraries. Assumption: 0.3 to 0.6 GB, depending on how many kernels are loaded."""

BUILD_FACTOR = 2.2
"""Peak of a build over the weights of the engine at hand: network, its optimised copy, serialized plan. Measured with
TensorRT-RTX's builder on a CPU: 5.6 GB for the 2.5 GB of PaliGemma 3B's decoder at INT8 (docs/engines.md)."""

_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "int8-weight": 1 + 2 / 32, "int4": 0.5 + 2 / 32}
"""Per weight, with an FP16 scale per block of 32."""


@dataclass(frozen=True)
class Plan:
    """Bytes that a bundle takes on a board, all told, at each of its stages."""

    board: BoardSpec
    precision: str
    weights: int  # both graphs
    decoder_weights: int  # body and LM head: what every token reads
    cache: int
    activations: int  # of a prefill
    build: int
    load: int
    run: int

    @property
    def tokens_per_s(self) -> float:
        """What bandwidth allows at best: each token reads the decoder's weights and the cache once."""
        return self.board.bandwidth / (self.decoder_weights + self.cache)

    @property
    def runs(self) -> bool:
        return max(self.load, self.run) <= self.board.memory_bytes

    @property
    def builds(self) -> bool:
        """Without swap."""
        return self.build <= self.board.memory_bytes


def plan(
    manifest: Manifest, board: BoardSpec, precision: str | None = None, *, batch: int = 1, rows: int | None = None
) -> Plan:
    """What the bundle takes at a precision (its own unless given), with `batch` sequences of `rows` rows (image and 512 more).

    Raises:
        InputError: the precision is not known.
    """
    chosen = {
        part: precision or getattr(manifest.precisions, part) for part in ("vision", "projector", "decoder", "head")
    }
    for name in chosen.values():
        if name not in PRECISIONS:
            raise InputError(f"precision {name} is not known; choose one of {', '.join(PRECISIONS)}")
    counts = weight_counts(manifest)
    sizes = {part: int(count * _BYTES[chosen[part]]) for part, count in counts.items()}
    spec, vision = manifest.decoder, manifest.vision
    element = 4 if set(chosen.values()) == {"fp32"} else 2
    rows = rows or vision.rows + 512
    cache = 2 * spec.layers * spec.kv_heads * spec.head_dim * rows * batch * element
    # The widest tensors of a prefill: the gated unit's two halves and what they make, or all heads' attention scores.
    prefix = vision.rows + 64
    activations = batch * element * max(3 * prefix * spec.intermediate, 2 * spec.heads * prefix * prefix)
    encoder, decoder = sizes["vision"] + sizes["projector"], sizes["decoder"] + sizes["head"]
    own = SYSTEM_BYTES + CUDA_BYTES
    return Plan(
        board=board,
        precision=precision or manifest.precision,
        weights=encoder + decoder,
        decoder_weights=decoder,
        cache=cache,
        activations=activations,
        build=own + int(BUILD_FACTOR * max(encoder, decoder)) + (1 << 30),
        # Plans are read and copied to the GPU one after the other: the last one is there twice for a moment.
        load=own + encoder + decoder + max(encoder, decoder),
        run=own + encoder + decoder + cache + activations,
    )


def weight_counts(manifest: Manifest) -> dict[str, int]:
    """How many weights the linear layers of each part have; norms, biases and positions are below one in a thousand."""
    vision, text = manifest.vision, manifest.decoder
    attention = text.hidden * text.head_dim * (2 * text.heads + 2 * text.kv_heads)
    return {
        "vision": vision.layers * (4 * vision.hidden**2 + 2 * vision.hidden * vision.intermediate),
        "projector": vision.hidden * text.hidden,
        "decoder": text.layers * (attention + 3 * text.hidden * text.intermediate),
        "head": text.vocab * text.hidden,
    }


def refusal(found: Plan, manifest: Manifest) -> str | None:
    """Why the plan does not fit its board and what would; None where it fits."""
    if found.runs:
        return None
    most = max(found.load, found.run)
    others = [plan(manifest, found.board, precision) for precision in ("int8", "int4")]
    fitting = [other for other in others if other.runs and other.weights < found.weights]
    larger = [board for board in BOARDS.values() if board.memory_bytes >= most]
    mend = (
        f"--precision {fitting[0].precision} would take {readable_bytes(max(fitting[0].load, fitting[0].run))}"
        if fitting
        else f"the smallest board for it is {min(larger, key=lambda board: board.memory_bytes).name}"
        if larger
        else "no Jetson is large enough"
    )
    return (
        f"at {found.precision} the model takes {readable_bytes(most)} and the {found.board.title} has "
        f"{readable_bytes(found.board.memory_bytes)} for everything; {mend}"
    )
