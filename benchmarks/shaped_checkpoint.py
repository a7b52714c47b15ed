"""A checkpoint of a published PaliGemma's shape with random weights, for measuring export, memory and speed.

python -m benchmarks.shaped_checkpoint paligemma-3b-224 OUT      (or paligemma2-3b-224, ...-448, ...-896)
    --outliers      a few channels of every layer's input are 20 to 80 times the others, as large language models have them,
                    and branches add little to the residual stream, as in trained models
    --layers N      N layers of the decoder and of the vision tower: a slice at full width

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
from palijet.export.config import Config, read_config
from palijet.export.linear_layers import linear_layers
from palijet.export.smoothing import Smoothing

SHARD_BYTES = 1 << 30
VOCABULARY = 257216

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

VISION: dict[str, Any] = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16, "patch_size": 14,
}  # fmt: skip
"""Their vision_config: SigLIP So400m/14 (transformers' own defaults are the base model's)."""

_NAMES = (
    (re.compile(r"^text\."), "language_model.model."),
    (re.compile(r"^vision\."), "vision_tower.vision_model."),
    (re.compile(r"^projector\."), "multi_modal_projector.linear."),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", help="paligemma-3b-224, paligemma2-3b-448, ...")
    parser.add_argument("output", type=Path)
    parser.add_argument("--outliers", action="store_true")
    parser.add_argument("--layers", type=int)
    options = parser.parse_args()
    family, _, size = options.shape.rpartition("-")
    if family not in TEXT or not size.isdigit():
        parser.error(f"the shape is one of {', '.join(TEXT)}, then -224, -448 or -896")
    write_checkpoint(family, int(size), options.output, layers=options.layers, outliers=options.outliers)
    return 0


def write_checkpoint(
    family: str,
    image_size: int,
    folder: Path,
    *,
    layers: int | None = None,
    outliers: bool = False,
    vocabulary: int = VOCABULARY,
    branch_gain: float = 1.0,
) -> None:
    """Write config, weights and tokenizer into `folder`; `layers` of each tower, all unless given.

    branch_gain: how many times more attention and MLP add to the residual stream. At 1 the LM head, which is the embeddings, finds
    the last token again in the stream and repeats it whatever was computed; from 16 on it does not.
    """
    image_token = vocabulary - 64  # where PaliGemma has it
    folder.mkdir(parents=True, exist_ok=True)
    depth = {} if layers is None else {"num_hidden_layers": layers}
    config = {
        "model_type": "paligemma",
        "image_token_index": image_token,
        "text_config": TEXT[family] | depth | {"vocab_size": vocabulary},
        "vision_config": {
            "model_type": "siglip_vision_model",
            "image_size": image_size,
            "vision_use_head": False,
            **VISION,
            **depth,
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    _write_tokenizer(folder, image_token)
    rng = np.random.default_rng(0)
    shaping = injected_outliers(read_config(folder)) if outliers else Smoothing()
    branch = (2 * TEXT[family]["num_hidden_layers"]) ** -0.5 if outliers else 1.0  # as GPT-2 is initialised
    branch *= branch_gain
    shard: dict[str, np.ndarray] = {}
    weight_map: dict[str, str] = {}
    number = total_bytes = 0

    def flush() -> None:
        nonlocal number, shard, total_bytes
        name = f"model-{number:05}.safetensors"
        save_file(shard, folder / name)
        weight_map.update(dict.fromkeys(shard, name))
        number += 1
        total_bytes += sum(tensor.nbytes for tensor in shard.values())
        shard = {}

    for name, shape in track(expected_tensors(read_config(folder)).items(), "writing"):
        tensor = shaping.apply(name, _random(rng, name, shape, branch))
        shard[_stored_name(name)] = tensor.astype(ml_dtypes.bfloat16)
        if sum(tensor.nbytes for tensor in shard.values()) > SHARD_BYTES:
            flush()
    flush()
    index = {"metadata": {"total_size": total_bytes}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def injected_outliers(config: Config) -> Smoothing:
    """SmoothQuant's transformation the wrong way round: 0.4 % of the channels of each input become 20 to 80 times larger.

    Share and size are those that Xiao et al. 2023 (arXiv:2211.10438, section 3) and, for what gated units put out, Yang et al.
    2024 (arXiv:2405.14428) measured in language models; the weights that read them are smaller by as much, as theirs are.
    """
    rng = np.random.default_rng(1)
    shaping = Smoothing()
    for layer in linear_layers(config).values():
        if layer.producer is None or layer.part in ("projector", "head"):
            continue
        channels = (
            layer.into
            if layer.producer.heads is None
            else layer.into * layer.producer.heads[0] // layer.producer.heads[1]
        )
        scale = np.ones(channels, np.float32)
        chosen = rng.choice(channels, max(4, channels // 250), replace=False)
        scale[chosen] = 1 / rng.uniform(20, 80, len(chosen))
        shaping.add(layer, scale)
    return shaping


def _stored_name(name: str) -> str:
    for pattern, prefix in _NAMES:
        name = pattern.sub(prefix, name)
    return name


def _random(rng: np.random.Generator, name: str, shape: tuple[int, ...], branch: float) -> np.ndarray:
    if "norm" in name:
        flat = 1.0 if name.startswith("vision") and name.endswith("weight") else 0.0
        return np.full(shape, flat, ml_dtypes.bfloat16)
    scale = 0.02 if name == EMBEDDINGS or len(shape) < 2 else 1 / np.sqrt(np.prod(shape[1:]))
    if name.endswith(("o_proj.weight", "down_proj.weight", "out_proj.weight", "fc2.weight")):
        scale *= branch
    out = np.empty(shape, ml_dtypes.bfloat16)
    for start in range(0, shape[0], 4096):
        part = out[start : start + 4096]
        part[...] = (rng.standard_normal(part.shape, dtype=np.float32) * np.float32(scale)).astype(ml_dtypes.bfloat16)
    return out


def _write_tokenizer(folder: Path, image_token: int) -> None:
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    words = [*special, *(f"word{i}" for i in range(image_token - len(special)))]
    vocabulary = {word: i for i, word in enumerate([*words[:image_token], "<image>"])}
    places = [f"<loc{i:04}>" for i in range(1024)] + [f"<seg{i:03}>" for i in range(128)]
    for i, place in enumerate(places):  # where PaliGemma has them: right below <image>
        old = image_token - len(places) + i
        del vocabulary[words[old]]
        vocabulary[place] = old
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in [*special, "<image>"]])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in places])
    tokenizer.save(str(folder / "tokenizer.json"))


if __name__ == "__main__":
    sys.exit(main())
