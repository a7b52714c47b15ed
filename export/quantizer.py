"""From a calibration to a recipe, and to what the quantized model is judged by: the float model's run over both."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..runtime.bundle import TOKENIZER, Bundle
from ..runtime.errors import CalibrationError
from ..runtime.model import Model
from ..runtime.prompt import PromptTokenizer
from .calibration import Calibration, Example, answered
from .checkpoint import Checkpoint
from .judge import Reference
from .layerwise import LayerwiseRun
from .precision import PartPrecisions
from .recipe import Recipe, calibrated_recipe
from .sequence import as_sequences

Progress = Callable[[str, int, int], None]

_ANSWER_TOKENS = 64


@dataclass(frozen=True)
class Calibrated:
    """What calibration found."""

    recipe: Recipe
    reference: Reference


def calibrate(
    checkpoint: Checkpoint,
    calibration: Calibration,
    parts: PartPrecisions,
    *,
    block: int,
    keep_fp16: float,
    smooth: bool,
    write_draft: Callable[[Path], Bundle],
    scratch: Path,
    progress: Progress,
) -> Calibrated:
    """Run the float model over the calibration and choose a recipe.

    `write_draft` writes a bundle that answers examples which bring no answer, into a folder under `scratch`.

    Raises:
        CalibrationError: there are no examples, or an activation is not a number.
        InputError: a prompt holds what only the model may say.
        EngineError: onnxruntime is not installed.
    """
    if not calibration.examples or not calibration.held_out:
        raise CalibrationError(
            "the calibration has no examples, or holds none out to judge by; give some frames of each"
        )
    examples = _with_answers(calibration.examples + calibration.held_out, write_draft, scratch, progress)
    tokenizer = PromptTokenizer(checkpoint.path / TOKENIZER)
    images, sequences = as_sequences(examples, tokenizer, checkpoint.config.vision_config.image_size)
    sampled = set(range(len(calibration.examples)))
    total = LayerwiseRun.steps(checkpoint, len(images), len(sequences))
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress("calibrating", done, total)

    kept = list(range(len(calibration.examples), len(examples)))
    run = LayerwiseRun(checkpoint, images, sequences, sampled, kept, scratch, advance)
    recipe = calibrated_recipe(checkpoint, parts, block, run, keep_fp16=keep_fp16, smooth=smooth)
    return Calibrated(recipe, Reference.of(run))


def _with_answers(
    examples: tuple[Example, ...], write_draft: Callable[[Path], Bundle], scratch: Path, progress: Progress
) -> tuple[Example, ...]:
    """What the model itself would say, where nobody wrote it down: calibration has to see decode steps as well."""
    if all(example.answer is not None for example in examples):
        return examples
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        model = Model(write_draft(Path(folder) / "draft"))
        answers = []
        for i, example in enumerate(examples):
            known = example.answer
            answers.append(
                known
                if known is not None
                else model.predict(example.image, example.prompt, max_tokens=_ANSWER_TOKENS).text
            )
            progress("answering", i + 1, len(examples))
    return answered(examples, answers)
