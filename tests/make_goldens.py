"""Writes goldens/demo.json: what transformers answers with the demo checkpoint, so that `make test` compares without it.

python tests/make_goldens.py        (needs the `oracle` extra; again whenever the checkpoint changes)
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
import transformers
from checkpoints import Oracle
from transformers import AutoTokenizer

import palijet
from palijet.demo.drawing import draw
from palijet.demo.scene import random_scene

ROOT = Path(__file__).parent.parent
CHECKPOINT = ROOT / "demo" / "checkpoint"
PROMPTS = ("caption en", "detect part ; label", "ocr", "answer en how many parts", "")
FIRST_SEED = 6_000_000
SCENES = 12


def main() -> None:
    oracle = Oracle(CHECKPOINT)
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    answers = []
    for seed in range(FIRST_SEED, FIRST_SEED + SCENES):
        frame = draw(random_scene(seed)).image
        # The frame as this checkpoint sees it is kept: scenes may be drawn a grey level apart by other OpenCVs.
        pixels = palijet.runtime.preprocess(frame, oracle.image_size)
        squashed = ((pixels * 127.5 + 127.5).round().astype("uint8")).transpose(1, 2, 0)[:, :, ::-1]
        for prompt in PROMPTS:
            ids = tokenizer(f"<bos>{prompt}\n", add_special_tokens=False)["input_ids"]
            answer = oracle.answer(pixels, ids, 64)
            answers.append(
                {
                    "scene": seed,
                    "prompt": prompt,
                    "tokens": answer.tokens,
                    "logprobs": [round(logprob, 6) for logprob in answer.logprobs],
                    "text": tokenizer.decode(answer.tokens, skip_special_tokens=True),
                }
            )
        answers[-1]["frame"] = squashed.tobytes().hex()
    golden = {
        "made_by": {"transformers": transformers.__version__, "torch": torch.__version__},
        "checkpoint_sha256": hashlib.sha256((CHECKPOINT / "model.safetensors").read_bytes()).hexdigest(),
        "image_size": oracle.image_size,
        "answers": answers,
    }
    path = ROOT / "tests" / "goldens" / "demo.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
