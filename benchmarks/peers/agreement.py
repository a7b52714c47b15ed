"""Do the engines compute the same model? Log-probabilities and tokens beside transformers' with the same weights in float32.

Not timed. It shows that weights, norms, rotary positions and activations went through every conversion unharmed, and what an
engine's own rounding costs. The weights are random: quantization hurts them more than trained ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from .driver_process import DriverError
from .turns import Runner, Work

TARGETS = 64


@dataclass(frozen=True)
class Agreement:
    """Of one engine with the reference."""

    logprob_error: float  # root mean square over the targets, nats
    tokens_alike: int | None  # greedy tokens before the first that differs; None: the engine has none to compare


@dataclass(frozen=True)
class Reference:
    """What float32 says."""

    targets: list[int]
    logprobs: list[float]  # of each target, as the one token after the prompt
    tokens: list[int]  # greedy

    def compare(self, logprobs: Sequence[float], tokens: Sequence[int] | None) -> Agreement:
        squares = [(one - other) ** 2 for one, other in zip(logprobs, self.logprobs, strict=True)]
        alike = (
            takewhile(lambda pair: pair[0] == pair[1], zip(tokens, self.tokens, strict=False))
            if tokens is not None
            else None
        )
        return Agreement(math.sqrt(sum(squares) / len(squares)), None if alike is None else len(list(alike)))


def prompt_ids(rows: int, vocabulary: int, seed: int = 0) -> tuple[int, ...]:
    """<bos> and random words, as every engine is given them: none special, none a place or a picture."""
    rng = np.random.default_rng(seed)
    return (2, *(int(word) for word in rng.integers(300, vocabulary - 2048, rows - 1)))


def reference(file: Path, runner: Runner | None, work: Work, vocabulary: int) -> Reference | None:
    """What `file` keeps for this work, made by transformers' runner if it is not there; None: nor is that.

    Raises:
        DriverError: transformers cannot make it.
    """
    key = {"prompt": list(work.prompt), "tokens": work.tokens}
    if file.exists():
        kept = json.loads(file.read_text())
        if kept["key"] == key:
            return Reference(**kept["reference"])
    if runner is None:
        return None
    targets = list(prompt_ids(TARGETS + 1, vocabulary, seed=1)[1:])
    with runner.start(work.threads) as driver:
        driver.ask(runner.load_request(work), work.timeout_s)
        request = {"do": "reference", "prompt": key["prompt"], "targets": targets, "count": work.tokens}
        said = driver.ask(request, work.timeout_s)
    found = {"targets": targets, "logprobs": said["logprobs"], "tokens": said["tokens"]}
    file.write_text(json.dumps({"key": key, "reference": found}))
    return Reference(**found)


def agreement(runner: Runner, expected: Reference, work: Work, tokens: list[int] | None) -> Agreement:
    """tokens: what the engine said in its turns; where it said none, `score` is asked for them.

    Raises:
        DriverError: the engine cannot tell log-probabilities.
    """
    with runner.start(work.threads) as driver:
        driver.ask(runner.load_request(work), work.timeout_s)
        request: dict[str, Any] = {"do": "score", "prompt": list(work.prompt), "targets": expected.targets}
        if tokens is None:
            request["count"] = work.tokens
        said = driver.ask(request, work.timeout_s)
    if not all(map(math.isfinite, said["logprobs"])):
        raise DriverError("gave log-probabilities that are no numbers")
    return expected.compare(said["logprobs"], said.get("tokens", tokens))
