"""A checkpoint of a published PaliGemma's shape with random weights, for measuring export, memory and speed.

python -m benchmarks.shaped_checkpoint paligemma-3b-224 OUT      (or paligemma2-3b-224, ...-448, ...-896)

Written shard by shard in bfloat16 with numpy alone, in under 3 GB of memory; the tokenizer is one of random words.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from rich.progress import track
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from palijet.export.checkpoint import EMBEDDINGS, expected_tensors
from palijet.export.config import read_config

SHARD_BYTES = 1 << 30
VOCABULARY = 257216
IMAGE_TOKEN = 257152

TEXT: dict[str, dict[str, Any]] = {
    "paligemma-3b": {
        "model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18,
        "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": VOCABULARY,
    },
    "paligemma2-3b": {
        "model_type": "gemma2", "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": VOCABULARY,
        "query_pre_attn_scalar": 256, "sliding_window": 4096,
    },
}  # fmt: skip
"""The text_config of the published checkpoints (google/paligemma-3b-pt-224, google/paligemma2-3b-pt-224)."""

_NAMES = (
    (re.compile(r"^text\."), "language_model.model."),
    (re.compile(r"^vision\."), "vision_tower.vision_model."),
    (re.compile(r"^projector\."), "multi_modal_projector.linear."),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", help="paligemma-3b-224, paligemma2-3b-448, ...")
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    family, _, size = options.shape.rpartition("-")
    if family not in TEXT or not size.isdigit():
        parser.error(f"the shape is one of {', '.join(TEXT)}, then -224, -448 or -896")
    write_checkpoint(family, int(size), options.output)
    return 0


def write_checkpoint(family: str, image_size: int, folder: Path) -> None:
    """Write config, weights and tokenizer into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "paligemma",
        "image_token_index": IMAGE_TOKEN,
        "text_config": TEXT[family],
        "vision_config": {"model_type": "siglip_vision_model", "image_size": image_size, "vision_use_head": False},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    _write_tokenizer(folder)
    rng = np.random.default_rng(0)
    shard: dict[str, np.ndarray] = {}
    weight_map: dict[str, str] = {}
    number = 0

    def flush() -> None:
        nonlocal number, shard
        name = f"model-{number:05}.safetensors"
        save_file(shard, folder / name)
        weight_map.update(dict.fromkeys(shard, name))
        number += 1
        shard = {}

    for name, shape in track(expected_tensors(read_config(folder)).items(), "writing"):
        shard[_stored_name(name)] = _random(rng, name, shape)
        if sum(tensor.nbytes for tensor in shard.values()) > SHARD_BYTES:
            flush()
    flush()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def _stored_name(name: str) -> str:
    for pattern, prefix in _NAMES:
        name = pattern.sub(prefix, name)
    return name


def _random(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if "norm" in name:
        flat = 1.0 if name.startswith("vision") and name.endswith("weight") else 0.0
        return np.full(shape, flat, ml_dtypes.bfloat16)
    scale = 0.02 if name == EMBEDDINGS or len(shape) < 2 else 1 / np.sqrt(np.prod(shape[1:]))
    out = np.empty(shape, ml_dtypes.bfloat16)
    for start in range(0, shape[0], 4096):
        part = out[start : start + 4096]
        part[...] = (rng.standard_normal(part.shape, dtype=np.float32) * np.float32(scale)).astype(ml_dtypes.bfloat16)
    return out


def _write_tokenizer(folder: Path) -> None:
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    words = [*special, *(f"word{i}" for i in range(IMAGE_TOKEN - len(special)))]
    vocabulary = {word: i for i, word in enumerate([*words[:IMAGE_TOKEN], "<image>"])}
    places = [f"<loc{i:04}>" for i in range(1024)] + [f"<seg{i:03}>" for i in range(128)]
    for i, place in enumerate(places):  # where PaliGemma has them: right below 257152
        old = IMAGE_TOKEN - len(places) + i
        del vocabulary[words[old]]
        vocabulary[place] = old
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in [*special, "<image>"]])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in places])
    tokenizer.save(str(folder / "tokenizer.json"))


if __name__ == "__main__":
    sys.exit(main())
