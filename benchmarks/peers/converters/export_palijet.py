"""A checkpoint as a PaliJet bundle, by PaliJet's own export; int8 is calibrated with a few of the demo's scenes.

python export_palijet.py CHECKPOINT OUT fp16|int8|int8-weight|int4
"""

import sys
from pathlib import Path

from palijet.demo.evaluate import questions_about
from palijet.export import Calibration, Example, ExportOptions, export, split

SCENES = range(5_000_000, 5_000_006)
PROMPT = "word100 word2000 word30000 word4 word55555"  # words of the shaped checkpoint's own tokenizer


def calibration() -> Calibration:
    """Few are enough: the weights are random, and what is measured is speed."""
    examples = [Example(questions_about(seed)[0], PROMPT, f"scene {seed}") for seed in SCENES]
    return split(examples, f"{len(SCENES)} demo scenes and random words")


if __name__ == "__main__":
    checkpoint, out, precision = sys.argv[1:4]
    options = ExportOptions(precision, calibration=calibration() if precision == "int8" else None)
    export(Path(checkpoint), Path(out), options)
