"""Closed answers: which of a few texts the model would say, and how likely each is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .errors import InputError
from .prompt import PromptTokenizer


def choice_tokens(choices: Sequence[str], tokenizer: PromptTokenizer, eos: int) -> list[list[int]]:
    """The token ids that say each choice.

    A choice that another one begins with ends in the end token, so that "no" is not counted as "no idea" as well.

    Raises:
        InputError: there is none, one is no text or is empty, or two are said by the same tokens.
    """
    if isinstance(choices, str) or not isinstance(choices, Sequence) or not choices:
        raise InputError(f'choices are {choices!r}; give a list of texts, such as ["yes", "no"]')
    for choice in choices:
        if not isinstance(choice, str) or not choice:
            raise InputError(f"the choice {choice!r} is no text; give each choice as the model would say it")
    said = [tokenizer.encode_answer(choice) for choice in choices]
    for i, tokens in enumerate(said):
        twin = next((j for j in range(i) if said[j] == tokens), None)
        if twin is not None:
            raise InputError(f"the choices {choices[twin]!r} and {choices[i]!r} are the same tokens; give each once")
    return [
        [*tokens, eos] if any(other[: len(tokens)] == tokens for other in said if other is not tokens) else tokens
        for tokens in said
    ]


def normalized(logprobs: Sequence[float]) -> list[float]:
    """Probabilities among the choices alone, which add up to 1, from each one's log-probability."""
    highest = max(logprobs)
    weights = [math.exp(logprob - highest) for logprob in logprobs]
    return [weight / sum(weights) for weight in weights]
