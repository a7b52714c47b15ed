"""The demo checkpoint's answers are those that transformers gave; recorded by make_goldens.py."""

import hashlib
import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO_CHECKPOINT

import palijet

GOLDEN = json.loads((Path(__file__).parent / "goldens" / "demo.json").read_text())


def test_goldens_are_of_this_checkpoint() -> None:
    found = hashlib.sha256((DEMO_CHECKPOINT / "model.safetensors").read_bytes()).hexdigest()
    assert found == GOLDEN["checkpoint_sha256"], "run tests/make_goldens.py again"


def test_tokens_logprobs_and_texts_are_transformers_own(model: palijet.Model) -> None:
    size = GOLDEN["image_size"]
    distinct = set()
    for _, group in groupby(GOLDEN["answers"], key=lambda answer: answer["scene"]):
        answers = list(group)
        frame = np.frombuffer(bytes.fromhex(answers[-1]["frame"]), np.uint8).reshape(size, size, 3)
        results = model.predict(frame, [answer["prompt"] for answer in answers], max_tokens=64)
        for answer, result in zip(answers, results, strict=True):
            assert list(result.tokens) == answer["tokens"]
            assert result.text == answer["text"]
            assert result.logprobs == pytest.approx(answer["logprobs"], abs=1e-4)
            distinct.add(result.text)
    assert len(distinct) > 20, "answers that do not vary show nothing"
