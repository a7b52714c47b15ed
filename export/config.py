"""A checkpoint's config.json: PaliGemma 1 (Gemma) and 2 (Gemma 2), with transformers' defaults for what it leaves out.

Field names are transformers'; see its PaliGemmaConfig, GemmaConfig, Gemma2Config and SiglipVisionConfig.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ..runtime.errors import CheckpointError

_GELU_TANH = ("gelu_pytorch_tanh", "gelu_fast", "gelu_new")


class VisionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The SigLIP vision tower."""

    hidden_size: int = 1152
    intermediate_size: int = 4304
    num_hidden_layers: int = 27
    num_attention_heads: int = 16
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 14
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6

    @property
    def rows(self) -> int:
        """Image rows per frame."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads


class TextConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The Gemma or Gemma 2 decoder; the defaults are Gemma's, Gemma 2's are laid over them when it is read."""

    model_type: str = "gemma"
    hidden_size: int = 3072
    intermediate_size: int = 24576
    num_hidden_layers: int = 28
    num_attention_heads: int = 16
    num_key_value_heads: int = 16
    head_dim: int = 256
    vocab_size: int = 256000
    max_position_embeddings: int = 8192
    rms_norm_eps: float = 1e-6
    hidden_act: str | None = "gelu_pytorch_tanh"
    hidden_activation: str | None = None
    attention_bias: bool = False
    rope_theta: float | None = None
    rope_parameters: dict[str, Any] | None = None
    rope_scaling: dict[str, Any] | None = None
    query_pre_attn_scalar: float | None = None
    sliding_window: int | None = None
    layer_types: list[str] | None = None
    attn_logit_softcapping: float | None = None
    final_logit_softcapping: float | None = None

    @property
    def is_gemma2(self) -> bool:
        return self.model_type == "gemma2"

    @property
    def attention_scale(self) -> float:
        """What scores are multiplied by: Gemma's head_dim ** -0.5, Gemma 2's query_pre_attn_scalar ** -0.5."""
        return float(self.query_pre_attn_scalar or self.head_dim) ** -0.5

    @property
    def rope_base(self) -> float:
        given = (self.rope_parameters or {}).get("rope_theta", self.rope_theta)
        return 10000.0 if given is None else float(given)

    @property
    def exact_gelu(self) -> bool:
        """Whether the MLP's activation is GELU by erf, not its approximation by tanh."""
        return (self.hidden_activation or self.hidden_act) == "gelu"

    def slides(self, layer: int) -> bool:
        """Whether attention of this layer (from 0) is limited to the sliding window."""
        if self.sliding_window is None:
            return False
        if self.layer_types is not None:
            return self.layer_types[layer] == "sliding_attention"
        return layer % 2 == 0


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """config.json of a PaliGemma."""

    vision_config: VisionConfig
    text_config: TextConfig
    image_token_index: int
    tie_word_embeddings: bool = True

    @property
    def family(self) -> str:
        return "paligemma2" if self.text_config.is_gemma2 else "paligemma"


GEMMA2_DEFAULTS: dict[str, Any] = {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}


def read_config(folder: Path) -> Config:
    """The config.json in a checkpoint's folder.

    Raises:
        CheckpointError: it is missing, unreadable, not a PaliGemma's, or asks for something PaliGemma has not.
    """
    path = folder / "config.json"
    if (folder / "manifest.json").exists() and not path.exists():
        raise CheckpointError(
            f"{folder} is a bundle, which was exported already; give the checkpoint that it was made from to export it anew"
        )
    try:
        raw = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has no config.json; give the folder that transformers' save_pretrained wrote"
        ) from None
    except (OSError, msgspec.DecodeError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}; copy the checkpoint once more") from None
    model_type = raw.get("model_type") if isinstance(raw, dict) else None
    if model_type != "paligemma":
        raise CheckpointError(f"{path} describes a {model_type or 'nameless'} model; PaliJet exports PaliGemma 1 and 2")
    if raw.get("quantization_config"):
        method = raw["quantization_config"].get("quant_method", "some method")
        raise CheckpointError(
            f"{path}: the checkpoint is quantized already ({method}); export the one in bfloat16 or float32 that it was made from"
        )
    try:
        config = _convert(raw)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path} is not a valid PaliGemma configuration: {error}") from None
    _check(config, path)
    return config


def _convert(raw: dict[str, Any]) -> Config:
    # An explicit null means the default, as it does in transformers.
    text = {key: value for key, value in (raw.get("text_config") or {}).items() if value is not None}
    if text.get("model_type") == "gemma2":
        text = {**GEMMA2_DEFAULTS, **text}
        if (raw.get("text_config") or {}).get("sliding_window", 0) is None:
            text["sliding_window"] = None
    else:  # Gemma has none of these
        text = {key: value for key, value in text.items() if key not in ("sliding_window", "query_pre_attn_scalar")}
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if key in (raw.get("text_config") or {}) and raw["text_config"][key] is None:
            text[key] = None
    vision = {key: value for key, value in (raw.get("vision_config") or {}).items() if value is not None}
    image_token = raw.get("image_token_index", raw.get("image_token_id"))
    return msgspec.convert(
        {
            "text_config": text,
            "vision_config": vision,
            "image_token_index": image_token,
            "tie_word_embeddings": raw.get("tie_word_embeddings", True),
        },
        Config,
    )


def _check(config: Config, path: Path) -> None:
    text, vision = config.text_config, config.vision_config
    activation = text.hidden_activation or text.hidden_act
    rope_type = (text.rope_parameters or {}).get("rope_type", "default")
    refusals = {
        f"a {text.model_type} decoder": text.model_type not in ("gemma", "gemma2"),
        f"the activation {activation}": activation not in (*_GELU_TANH, "gelu"),
        f"the vision activation {vision.hidden_act}": vision.hidden_act not in _GELU_TANH,
        f"{rope_type} rotary scaling": rope_type != "default" or bool(text.rope_scaling),
        "attention biases": text.attention_bias,
        f"{vision.num_channels} image channels": vision.num_channels != 3,
    }
    for what, refused in refusals.items():
        if refused:
            raise CheckpointError(f"{path} asks for {what}, which no published PaliGemma has and PaliJet cannot export")
    if vision.image_size % vision.patch_size or vision.hidden_size % vision.num_attention_heads:
        raise CheckpointError(
            f"{path}: the vision tower's image or head size is not a whole number of patches or heads"
        )
    if text.num_attention_heads % text.num_key_value_heads:
        raise CheckpointError(
            f"{path}: {text.num_attention_heads} heads cannot share {text.num_key_value_heads} key-value heads evenly"
        )
    if text.layer_types is not None and len(text.layer_types) != text.num_hidden_layers:
        raise CheckpointError(f"{path}: layer_types names {len(text.layer_types)} of {text.num_hidden_layers} layers")
