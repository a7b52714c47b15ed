"""The demo's tokenizer: Gemma's manner (BPE over "▁" with byte fallback), a vocabulary of some 1,600 tokens.

The words of the demo's prompts and answers are one token each, a serial number is a token per character, all
else falls back to characters and bytes, so that any text goes in and comes back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from .scene import COLOURS, SHAPES

PAD, EOS, BOS, UNK, IMAGE = "<pad>", "<eos>", "<bos>", "<unk>", "<image>"

# Each is a token with a space in front of it; those of _FIRST_WORDS have none, as they open a text.
_WORDS = (
    *SHAPES,
    *COLOURS,
    *("label", "part", "belt", "yes", "no", "en", "how", "many", "what", "colour", "is", "there"),
    *("the", "a", "an", "and", "on", "with", "of", "in", "are"),
)
# Green stands first: "re" of "red" would else tear it apart, as merges apply in this order.
_FIRST_WORDS = ("green", "caption", "detect", "answer", "ocr", "a", "an", "yes", "no", *COLOURS)


def build_tokenizer() -> Tokenizer:
    """The tokenizer, made anew; always the same."""
    vocab: dict[str, int] = {}
    merges: list[tuple[str, str]] = []

    def add(token: str) -> None:
        vocab.setdefault(token, len(vocab))

    for token in (PAD, EOS, BOS, UNK):
        add(token)
    for byte in range(256):
        add(f"<0x{byte:02X}>")
    for character in ["▁", "\n", *map(chr, range(33, 127))]:
        add(character)
    for word in [*(f"▁{word}" for word in _WORDS), *_FIRST_WORDS, "▁;", "▁;▁"]:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocab:
                add(word[:end])
                merges.append((word[: end - 1], word[end - 1]))
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token=UNK, fuse_unk=True, byte_fallback=True, dropout=None)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in (PAD, EOS, BOS, UNK, IMAGE)]
    )
    places = [f"<loc{i:04d}>" for i in range(1024)] + [f"<seg{i:03d}>" for i in range(128)]
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in places])
    return tokenizer


def write_tokenizer(folder: Path, image_size: int, image_tokens: int) -> None:
    """Write tokenizer.json and the configs that transformers' PaliGemma processor reads beside it."""
    build_tokenizer().save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": "PaliGemmaProcessor",
            "bos_token": BOS,
            "eos_token": EOS,
            "pad_token": PAD,
            "unk_token": UNK,
            "extra_special_tokens": {"image_token": IMAGE},
            "add_bos_token": False,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 256,
        },
    )
    _write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "SiglipImageProcessor",
            "processor_class": "PaliGemmaProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"height": image_size, "width": image_size},
            "resample": 3,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "image_seq_length": image_tokens,
        },
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
