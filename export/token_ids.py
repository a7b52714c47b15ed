"""The token ids that the runtime must know, from a checkpoint's tokenizer.json and configs."""

from __future__ import annotations

from pathlib import Path

import msgspec
from tokenizers import Tokenizer

from ..runtime.bundle import TokenIds
from ..runtime.errors import CheckpointError
from .checkpoint import Checkpoint

_NEEDED_TOKENS = ("<bos>", "<eos>", "<image>", "<loc0000>", "<loc1023>")


def read_token_ids(checkpoint: Checkpoint) -> TokenIds:
    """The ids the runtime must know, from tokenizer.json and the configs.

    Raises:
        CheckpointError: the tokenizer is missing, unreadable, or not PaliGemma's.
    """
    path = checkpoint.path / "tokenizer.json"
    if not path.exists():
        raise CheckpointError(
            f"{checkpoint.path} has no tokenizer.json; save the processor there too: processor.save_pretrained(folder)"
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise CheckpointError(f"{path} cannot be read as a tokenizer: {error}; copy it once more") from None
    missing = [token for token in _NEEDED_TOKENS if tokenizer.token_to_id(token) is None]
    if missing:
        raise CheckpointError(f"{path} does not know {missing[0]}, so it is not PaliGemma's; copy the right one there")
    image = checkpoint.config.image_token_index
    if tokenizer.token_to_id("<image>") != image:
        raise CheckpointError(
            f"{path} gives <image> the id {tokenizer.token_to_id('<image>')} and config.json the id {image}; "
            "tokenizer and model are not of one checkpoint"
        )
    bos, eos = tokenizer.token_to_id("<bos>"), tokenizer.token_to_id("<eos>")
    assert bos is not None  # looked for above
    assert eos is not None
    newline = tokenizer.encode("\n", add_special_tokens=False).ids
    return TokenIds(
        bos=bos,
        eos=_end_ids(checkpoint.path, eos),
        image=image,
        newline=newline[0] if len(newline) == 1 else None,
    )


class _GenerationConfig(msgspec.Struct):
    eos_token_id: int | list[int] | None = None


def _end_ids(folder: Path, default: int) -> tuple[int, ...]:
    """What ends an answer: generation_config.json's eos_token_id where it is given, as in transformers' generate."""
    path = folder / "generation_config.json"
    try:
        given = msgspec.json.decode(path.read_bytes(), type=_GenerationConfig).eos_token_id
    except FileNotFoundError:
        given = None
    except (OSError, msgspec.DecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; mend it or take it away") from None
    if given is None:
        return (default,)
    return tuple(given) if isinstance(given, list) else (given,)
