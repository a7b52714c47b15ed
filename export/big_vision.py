"""A checkpoint in big_vision's .npz, the format in which PaliGemma was first released, with a tokenizer.json beside it.

Names and axes are those of transformers' convert_paligemma_weights_to_hf.py and convert_paligemma2_weights_to_hf.py; the
configuration, which the file does not hold, follows from the tensors' shapes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from tokenizers import Tokenizer

from ..runtime.errors import CheckpointError
from .checkpoint import EMBEDDINGS, LM_HEAD, Checkpoint, Shape, expected_tensors
from .config import GEMMA2_DEFAULTS, Config, TextConfig, VisionConfig

_QUERY_SCALARS = {4608: 144.0}  # PaliGemma 2 28B's is hidden / heads; everybody else's is the head size


def find_npz(path: Path) -> Path | None:
    """The .npz that `path` is, or the one that a folder without config.json holds."""
    if path.suffix == ".npz":
        return path
    if not path.is_dir() or (path / "config.json").exists():
        return None
    found = sorted(path.glob("*.npz"))
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies: a member of the archive, and how to take it out."""

    member: str
    take: Callable[[np.ndarray], np.ndarray]


class BigVisionCheckpoint(Checkpoint):
    """An opened .npz. Members are mapped where they are stored uncompressed, as numpy.savez stores them; a compressed one is
    read whole when one of its layers is asked for, and kept until another member is.

    Raises:
        CheckpointError: the file is cut, is no PaliGemma of big_vision's, or has no tokenizer beside it.
    """

    def __init__(self, npz: Path) -> None:
        if not npz.exists():
            raise CheckpointError(f"{npz} does not exist; check the path of the checkpoint")
        self.path = npz.parent
        self._npz = npz
        self._open: tuple[str, np.ndarray] | None = None
        self._members = self._index()
        self.config = self._configuration()
        self._places = self._lay_out()
        for name, shape in expected_tensors(self.config).items():
            self._check(name, shape)

    def read_rows(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        place = self._places[name]
        return np.ascontiguousarray(place.take(self._member(place.member))[start:stop])

    def dtype(self, name: str) -> str:
        return str(self._member(self._places[name].member).dtype)

    def _index(self) -> dict[str, str]:
        """Names without their "params/" and ".npy" -> names in the archive."""
        try:
            with zipfile.ZipFile(self._npz) as archive:
                names = [info.filename for info in archive.infolist()]
        except (OSError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{self._npz} is cut or is not an .npz ({error}); copy it once more") from None
        return {name.removeprefix("params/").removesuffix(".npy"): name for name in names}

    def _member(self, name: str) -> np.ndarray:
        if self._open is None or self._open[0] != name:
            if name not in self._members:
                raise CheckpointError(
                    f"{self._npz} lacks {name}; it is not a PaliGemma checkpoint of big_vision's, or it is incomplete"
                )
            try:
                self._open = name, _mapped(self._npz, self._members[name])
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise CheckpointError(
                    f"{self._npz}: {name} cannot be read ({error}); copy the file once more"
                ) from None
        return self._open[1]

    def _shape(self, name: str) -> Shape:
        return self._member(name).shape

    def _configuration(self) -> Config:
        layers, heads, hidden, head_dim = self._shape("llm/layers/attn/q_einsum/w")
        is_gemma2 = "llm/layers/post_attention_norm/scale" in self._members
        common: dict[str, Any] = {
            "hidden_size": hidden,
            "intermediate_size": self._shape("llm/layers/mlp/linear")[1],
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": self._shape("llm/layers/attn/kv_einsum/w")[2],
            "head_dim": head_dim,
            "vocab_size": self._shape("llm/embedder/input_embedding")[0],
        }
        text = (
            TextConfig(
                **GEMMA2_DEFAULTS
                | common
                | {"model_type": "gemma2", "query_pre_attn_scalar": _QUERY_SCALARS.get(hidden, float(head_dim))}
            )
            if is_gemma2
            else TextConfig(**common)
        )
        patch, _, _, width = self._shape("img/embedding/kernel")
        side = isqrt(self._shape("img/pos_embedding")[-2])
        vision = VisionConfig(
            hidden_size=width,
            intermediate_size=self._shape("img/Transformer/encoderblock/MlpBlock_0/Dense_0/kernel")[2],
            num_hidden_layers=self._shape("img/Transformer/encoderblock/LayerNorm_0/scale")[0],
            num_attention_heads=self._shape("img/Transformer/encoderblock/MultiHeadDotProductAttention_0/query/kernel")[
                2
            ],
            image_size=side * patch,
            patch_size=patch,
        )
        return Config(text_config=text, vision_config=vision, image_token_index=self._image_token())

    def _image_token(self) -> int:
        tokenizer = self.path / "tokenizer.json"
        if not tokenizer.exists():
            raise CheckpointError(
                f"{self.path} has no tokenizer.json beside {self._npz.name}, which holds none; copy it there from a PaliGemma "
                "in transformers' format"
            )
        try:
            token = Tokenizer.from_file(str(tokenizer)).token_to_id("<image>")
        except Exception as error:  # the tokenizers library raises nothing narrower
            raise CheckpointError(f"{tokenizer} cannot be read as a tokenizer: {error}; copy it once more") from None
        if token is None:
            raise CheckpointError(
                f"{tokenizer} does not know <image>, so it is not PaliGemma's; copy the right one there"
            )
        return token

    def _lay_out(self) -> dict[str, _Place]:
        text, vision = self.config.text_config, self.config.vision_config
        width, hidden = vision.hidden_size, text.hidden_size
        places = {
            "vision.embeddings.patch_embedding.weight": _Place(
                "img/embedding/kernel", lambda a: a.transpose(3, 2, 0, 1)
            ),
            "vision.embeddings.patch_embedding.bias": _Place("img/embedding/bias", _whole),
            "vision.embeddings.position_embedding.weight": _Place("img/pos_embedding", lambda a: a.reshape(-1, width)),
            "vision.post_layernorm.weight": _Place("img/Transformer/encoder_norm/scale", _whole),
            "vision.post_layernorm.bias": _Place("img/Transformer/encoder_norm/bias", _whole),
            "projector.weight": _Place("img/head/kernel", np.transpose),
            "projector.bias": _Place("img/head/bias", _whole),
            EMBEDDINGS: _Place("llm/embedder/input_embedding", _whole),
            LM_HEAD: _Place("llm/embedder/input_embedding", _whole),
            "text.norm.weight": _Place("llm/final_norm/scale", _whole),
        }
        for i in range(vision.num_hidden_layers):
            for name, (member, take) in _vision_layer(width).items():
                places[f"vision.encoder.layers.{i}.{name}"] = _Place(
                    f"img/Transformer/encoderblock/{member}", _of(i, take)
                )
        for i in range(text.num_hidden_layers):
            for name, (member, take) in _text_layer(hidden, text.is_gemma2).items():
                places[f"text.layers.{i}.{name}"] = _Place(f"llm/layers/{member}", _of(i, take))
        return places

    def _check(self, name: str, shape: Shape) -> None:
        place = self._places[name]
        found = place.take(self._member(place.member))
        if found.shape != shape:
            raise CheckpointError(
                f"{self._npz}: {place.member} makes {name} of shape {list(found.shape)} where {list(shape)} is needed; "
                "it is not a PaliGemma checkpoint of big_vision's"
            )


Take = Callable[[np.ndarray], np.ndarray]


def _whole(array: np.ndarray) -> np.ndarray:
    return array


def _of(layer: int, take: Take) -> Take:
    return lambda array: take(array[layer])


def _vision_layer(width: int) -> dict[str, tuple[str, Take]]:
    """Tensors of an encoder layer: member below encoderblock/, and how to take them out of one layer of it."""
    layer: dict[str, tuple[str, Take]] = {}
    for ours, theirs in (("layer_norm1", "LayerNorm_0"), ("layer_norm2", "LayerNorm_1")):
        layer |= {f"{ours}.weight": (f"{theirs}/scale", _whole), f"{ours}.bias": (f"{theirs}/bias", _whole)}
    for ours, theirs in (("fc1", "Dense_0"), ("fc2", "Dense_1")):
        layer |= {
            f"mlp.{ours}.weight": (f"MlpBlock_0/{theirs}/kernel", np.transpose),
            f"mlp.{ours}.bias": (f"MlpBlock_0/{theirs}/bias", _whole),
        }
    for part in ("query", "key", "value", "out"):
        ours = f"self_attn.{'out' if part == 'out' else part[0]}_proj"
        theirs = f"MultiHeadDotProductAttention_0/{part}"
        # [in, heads, head_dim], and [heads, head_dim, out] on the way out: both fold to [in, out].
        layer |= {
            f"{ours}.weight": (f"{theirs}/kernel", lambda a: a.reshape(-1, width).T),
            f"{ours}.bias": (f"{theirs}/bias", np.ravel),
        }
    return layer


def _text_layer(hidden: int, is_gemma2: bool) -> dict[str, tuple[str, Take]]:
    """Tensors of a decoder layer: member below layers/, and how to take them out of one layer of it."""

    def by_head(array: np.ndarray) -> np.ndarray:  # [heads, hidden, head_dim] -> [heads * head_dim, hidden]
        return array.transpose(0, 2, 1).reshape(-1, hidden)

    norms = {"input_layernorm": "pre_attention_norm", "post_attention_layernorm": "pre_ffw_norm"}
    if is_gemma2:
        norms = {
            "input_layernorm": "pre_attention_norm",
            "post_attention_layernorm": "post_attention_norm",
            "pre_feedforward_layernorm": "pre_ffw_norm",
            "post_feedforward_layernorm": "post_ffw_norm",
        }
    return {
        **{f"{ours}.weight": (f"{theirs}/scale", _whole) for ours, theirs in norms.items()},
        "self_attn.q_proj.weight": ("attn/q_einsum/w", by_head),
        "self_attn.k_proj.weight": ("attn/kv_einsum/w", lambda a: by_head(a[0])),
        "self_attn.v_proj.weight": ("attn/kv_einsum/w", lambda a: by_head(a[1])),
        "self_attn.o_proj.weight": ("attn/attn_vec_einsum/w", lambda a: a.reshape(-1, hidden).T),
        "mlp.gate_proj.weight": ("mlp/gating_einsum", lambda a: a[0].T),
        "mlp.up_proj.weight": ("mlp/gating_einsum", lambda a: a[1].T),
        "mlp.down_proj.weight": ("mlp/linear", np.transpose),
    }


def _mapped(npz: Path, member: str) -> np.ndarray:
    """A member of the archive, mapped where it lies if it is stored uncompressed."""
    with zipfile.ZipFile(npz) as archive:
        info = archive.getinfo(member)
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, is_fortran, dtype = read_header(stream)
            header_bytes = stream.tell()
            if info.compress_type != zipfile.ZIP_STORED:
                return _typed(np.frombuffer(stream.read(), dtype).reshape(shape, order="F" if is_fortran else "C"))
    with npz.open("rb") as file:  # the local header, whose name and extra field may be longer than the directory's
        file.seek(info.header_offset + 26)
        name_bytes, extra_bytes = np.frombuffer(file.read(4), "<u2")
    offset = info.header_offset + 30 + int(name_bytes) + int(extra_bytes) + header_bytes
    return _typed(np.memmap(npz, dtype, "r", offset, shape, "F" if is_fortran else "C"))


def _typed(array: np.ndarray) -> np.ndarray:
    """numpy saves bfloat16, which it does not know, as two bytes of no type."""
    if array.dtype == np.dtype("V2"):
        return array.view(ml_dtypes.bfloat16)
    if array.dtype.name not in ("float32", "float16", "bfloat16"):
        raise ValueError(f"it is stored as {array.dtype}, where float32, float16 or bfloat16 is needed")
    return array
