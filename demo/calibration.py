"""Scenes that calibrate and judge the demo's quantized bundles; none of those that it was trained on or is measured on."""

from __future__ import annotations

from ..export import Calibration, Example, split
from .evaluate import questions_about

FIRST_SEED = 5_000_000


def demo_calibration(scenes: int = 48) -> Calibration:
    """So many scenes with a question of every task; a quarter of them is held out."""
    examples = []
    for seed in range(FIRST_SEED, FIRST_SEED + scenes):
        frame, asked = questions_about(seed)
        examples += [Example(frame, question.prompt, f"scene {seed}") for question in asked]
    return split(examples, f"{scenes} demo scenes from seed {FIRST_SEED}")
