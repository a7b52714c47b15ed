"""Prompts become token ids and token ids become text, as transformers' PaliGemmaProcessor does it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from .errors import BundleError, InputError

_PLACES_AND_CODES = re.compile(r"<loc\d{4}>|<seg\d{3}>|<image>")


class PromptTokenizer:
    """The bundle's tokenizer."""

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the tokenizers library raises nothing narrower
            raise BundleError(f"{path} cannot be read as a tokenizer: {error}; export again") from None
        special = [token.content for token in self._tokenizer.get_added_tokens_decoder().values() if token.special]
        self._special = re.compile("|".join(map(re.escape, special))) if special else None

    def encode(self, prompt: str) -> list[int]:
        """The ids of `<bos>`, the prompt and the newline that closes it; the image's rows come before them.

        Raises:
            InputError: the prompt holds a token that only the model may use, such as `<image>` or `<loc0123>`.
        """
        if not isinstance(prompt, str):
            raise InputError(f"a prompt must be text; this one is of {type(prompt).__name__}")
        try:
            prompt.encode()
        except UnicodeEncodeError:
            raise InputError("the prompt holds bytes that are no text; give it in UTF-8") from None
        found = _PLACES_AND_CODES.search(prompt) or (self._special and self._special.search(prompt))
        if found:
            raise InputError(f"the prompt holds {found.group()}, which only the model may use; take it out")
        return list(self._tokenizer.encode(f"<bos>{prompt}\n", add_special_tokens=False).ids)

    def encode_answer(self, answer: str) -> list[int]:
        """The ids of an answer's text, as the model would say it."""
        return list(self._tokenizer.encode(answer, add_special_tokens=False).ids)

    def token_range(self, pattern: str, count: int) -> tuple[int, int]:
        """The id of the first of `count` numbered tokens, and how many follow it in order; (-1, 0) where there are none."""
        first = self._tokenizer.token_to_id(pattern.format(0))
        last = self._tokenizer.token_to_id(pattern.format(count - 1))
        return (first, count) if first is not None and last == first + count - 1 else (-1, 0)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer; location and segment tokens stay, special tokens do not."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def locations(self, tokens: Sequence[int]) -> list[int]:
        """Which of the tokens (by index) are location tokens."""
        return [i for i, token in enumerate(tokens) if self._is_location(token)]

    def _is_location(self, token: int) -> bool:
        text = self._tokenizer.id_to_token(token)
        return text is not None and text.startswith("<loc") and _PLACES_AND_CODES.fullmatch(text) is not None
