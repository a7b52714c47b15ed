"""Figures of a bundle, or of a checkpoint through transformers, on scenes of any seeds.

python -m palijet.demo.evaluate BUNDLE --first-seed 0 --scenes 500 --json
python -m palijet.demo.evaluate --checkpoint demo/checkpoint --first-seed 0 --scenes 500 --json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .drawing import draw
from .questions import TASKS, Question, ask
from .scene import random_scene
from .scores import Scores

MAX_TOKENS = 48
"""The longest right answer, three or four boxes of two classes, has some 30 tokens."""

Frame = NDArray[np.uint8]


def questions_about(seed: int) -> tuple[Frame, list[Question]]:
    """The frame of a seed ([240, 320, 3] BGR) and one question of every task that can be asked about it."""
    view = draw(random_scene(seed))
    rng = np.random.default_rng([0xE7A1, seed])
    asked = [ask(rng, task, view.parts, view.labels) for task in TASKS]
    return view.image, [question for question in asked if question is not None]


def answer_with_bundle(bundle: Path, asked: list[tuple[Frame, list[str]]], backend: str) -> Iterator[list[str]]:
    """The answers of PaliJet, frame by frame."""
    import palijet

    model = palijet.load(bundle, backend=backend)
    for frame, prompts in asked:
        yield [result.text for result in model.predict(frame, prompts, max_tokens=MAX_TOKENS)]


def answer_with_transformers(checkpoint: Path, asked: list[tuple[Frame, list[str]]]) -> Iterator[list[str]]:
    """The answers of transformers in float32, frame by frame; needs the `oracle` and `test` extras."""
    import torch
    from PIL import Image
    from transformers import AutoTokenizer, PaliGemmaForConditionalGeneration

    model = PaliGemmaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    model.train(False)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    vision = model.config.vision_config
    size, rows = vision.image_size, (vision.image_size // vision.patch_size) ** 2
    pixels = torch.stack(
        [
            (
                torch.from_numpy(np.array(Image.fromarray(frame[:, :, ::-1].copy()).resize((size, size), 3))).float()
                - 127.5
            )
            / 127.5
            for frame, _ in asked
        ]
    ).permute(0, 3, 1, 2)
    ids = [
        [(scene, tokenizer(f"<bos>{prompt}\n", add_special_tokens=False)["input_ids"]) for prompt in prompts]
        for scene, (_, prompts) in enumerate(asked)
    ]
    # Prompts of one length make a batch without padding.
    by_length: dict[int, list[tuple[int, int]]] = {}
    for scene, prompts_of_scene in enumerate(ids):
        for number, (_, prompt_ids) in enumerate(prompts_of_scene):
            by_length.setdefault(len(prompt_ids), []).append((scene, number))
    answers: list[list[str]] = [[""] * len(prompts) for _, prompts in asked]
    for places in by_length.values():
        for start in range(0, len(places), 64):
            batch = places[start : start + 64]
            prefix = torch.tensor([[model.config.image_token_index] * rows + ids[s][n][1] for s, n in batch])
            with torch.inference_mode():
                made = model.generate(
                    input_ids=prefix,
                    pixel_values=pixels[[s for s, _ in batch]],
                    attention_mask=torch.ones_like(prefix),
                    token_type_ids=torch.zeros_like(prefix),
                    max_new_tokens=MAX_TOKENS,
                    do_sample=False,
                )
            texts = tokenizer.batch_decode(made[:, prefix.shape[1] :], skip_special_tokens=True)
            for (scene, number), text in zip(batch, texts, strict=True):
                answers[scene][number] = text
    yield from answers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--checkpoint", type=Path, help="ask transformers and this checkpoint instead of a bundle")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--wrong", action="store_true", help="list the wrong answers on standard error")
    options = parser.parse_args()
    if (options.bundle is None) == (options.checkpoint is None):
        parser.error("name either a bundle or a --checkpoint")
    started = time.monotonic()
    scenes = [questions_about(seed) for seed in range(options.first_seed, options.first_seed + options.scenes)]
    asked = [(frame, [question.prompt for question in questions]) for frame, questions in scenes]
    if options.bundle:
        answers = answer_with_bundle(options.bundle, asked, options.backend)
    else:
        answers = answer_with_transformers(options.checkpoint, asked)
    scores = Scores()
    for seed, ((_, questions), texts) in enumerate(zip(scenes, answers, strict=True), options.first_seed):
        for question, text in zip(questions, texts, strict=True):
            scores.add(question, text)
            if options.wrong and text != question.answer:
                print(f"{seed}: {question.prompt}: {text!r}, not {question.answer!r}", file=sys.stderr)
    figures = scores.figures() | {
        "first_seed": options.first_seed,
        "scenes": options.scenes,
        "seconds": round(time.monotonic() - started, 1),
    }
    if options.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name:24} {value}" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
