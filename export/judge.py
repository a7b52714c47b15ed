"""How a quantized bundle compares with the float model on held-out examples: hidden states, and next tokens after the same text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime.bundle import LayerQuality, Quality
from .checkpoint import Checkpoint
from .layerwise import LayerwiseRun, import_onnxruntime, session_options
from .recipe import is_hurt
from .sequence import Sequence, embedded

POOR_AGREEMENT = 0.95
"""Share of next tokens below which `palijet export` warns."""

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """What the float model computed for the held-out sequences."""

    images: list[Rows]  # pixels
    image_rows: list[Rows]
    sequences: list[Sequence]
    hidden: list[list[Rows]]  # [layer][sequence] -> [rows, hidden]
    tokens: list[NDArray[np.int32]]  # [sequence] -> [answer + 1]

    @staticmethod
    def of(run: LayerwiseRun) -> Reference:
        """Of a finished run, the sequences that it kept."""
        return Reference(
            run.images,
            run.image_rows,
            [run.sequences[i] for i in run.kept],
            run.hidden,
            [run.tokens[i] for i in run.kept],
        )


@dataclass
class _Sums:
    error: float = 0.0
    power: float = 0.0

    def add(self, found: Rows, expected: Rows) -> None:
        self.error += float(((found - expected) ** 2).sum())
        self.power += float((expected**2).sum())

    @property
    def relative(self) -> float:
        return round((self.error / max(self.power, 1e-30)) ** 0.5, 6)


@dataclass
class _Tally:
    layers: list[_Sums]
    image: _Sums = field(default_factory=_Sums)
    final: _Sums = field(default_factory=_Sums)
    tokens: int = 0
    agreeing: int = 0


def judge(
    checkpoint: Checkpoint,
    vision_graph: Path,
    decoder_graph: Path,
    residual_scale: float,
    reference: Reference,
    layers: tuple[LayerQuality, ...],
    advance: Callable[[int], None],
) -> Quality:
    """Run both graphs over the reference's sequences. `decoder_graph` is one whose hidden states are outputs (`build_decoder`)."""
    ort = import_onnxruntime()
    text = checkpoint.config.text_config
    vision = ort.InferenceSession(vision_graph, session_options())
    rows = {
        i: vision.run(None, {"pixel_values": reference.images[i][None]})[0][0]
        for i in {s.image for s in reference.sequences}
    }
    del vision
    session = ort.InferenceSession(decoder_graph, session_options())
    names = [output.name for output in session.get_outputs()]
    wanted = [name for name in names if name == "token" or name.startswith("hidden.")]
    nothing = np.zeros((1, 1, text.num_key_value_heads, text.head_dim), np.float32)
    past = {
        value.name: nothing for value in session.get_inputs() if value.name.startswith("past_") and "." in value.name
    }
    final_norm = 1.0 + checkpoint.read("text.norm.weight").astype(np.float32)
    tally = _Tally([_Sums() for _ in range(text.num_hidden_layers)])
    for i, sequence in enumerate(reference.sequences):
        image = rows[sequence.image]
        asked = sequence.wanted(len(image))
        outputs = dict(
            zip(
                wanted,
                session.run(
                    wanted,
                    {
                        "inputs_embeds": embedded(checkpoint, sequence, image, residual_scale)[None],
                        "past_length": np.zeros(1, np.int32),
                        "prefix_length": np.array([len(image) + len(sequence.prompt)], np.int32),
                        "logits_index": asked,
                        "target": np.zeros_like(asked),
                        **past,
                    },
                ),
                strict=True,
            )
        )
        tally.image.add(image / residual_scale, reference.image_rows[sequence.image])
        for layer, sums in enumerate(tally.layers):
            sums.add(outputs[f"hidden.{layer}"][0] / residual_scale, reference.hidden[layer][i])
        last = outputs[f"hidden.{text.num_hidden_layers - 1}"][0] / residual_scale
        expected = reference.hidden[-1][i]
        tally.final.add(*(_normed(rows, final_norm, text.rms_norm_eps) for rows in (last, expected)))
        tally.tokens += len(reference.tokens[i])
        tally.agreeing += int((outputs["token"] == reference.tokens[i]).sum())
        advance(1)
    share = tally.agreeing / max(tally.tokens, 1)
    return Quality(
        layers=layers,
        examples=len(reference.sequences),
        tokens=tally.tokens,
        tokens_agreeing=tally.agreeing,
        image_error=tally.image.relative,
        hidden_errors=tuple(sums.relative for sums in tally.layers),
        final_error=tally.final.relative,
        warnings=() if share >= POOR_AGREEMENT else (_advice(share, layers),),
    )


def _advice(share: float, layers: tuple[LayerQuality, ...]) -> str:
    hurt = [layer for layer in layers if is_hurt(layer) and not layer.kept]
    if hurt:
        mend = f"keep more layers at FP16 (--keep-fp16 0.2: {hurt[0].name} is the first of {len(hurt)} that need it)"
    else:
        mend = "give a part more bits (--vision-precision fp16, --head-precision fp16)"
    safer = "fp16" if "int8-weight" in {layer.precision for layer in layers} else "int8-weight or fp16"
    return (
        f"only {share:.1%} of the tokens are those of FP32: {mend}, calibrate with more frames of the camera in use, or take "
        f"--precision {safer}"
    )


def _normed(rows: Rows, weight: Rows, epsilon: float) -> Rows:
    return rows / np.sqrt((rows**2).mean(axis=-1, keepdims=True) + np.float32(epsilon)) * weight
