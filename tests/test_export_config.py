"""Published configurations leave much out; what is filled in gives models of the published sizes."""

import json
from math import prod
from pathlib import Path

import pytest

from palijet.export.checkpoint import expected_tensors
from palijet.export.config import read_config

# vision_config as all of google's checkpoints have it: the rest are SiglipVisionConfig's and PaliGemma's defaults.
SO400M = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "model_type": "siglip_vision_model",
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "num_image_tokens": 256,
    "patch_size": 14,
    "projection_dim": 2048,
    "projector_hidden_act": "gelu_fast",
    "vision_use_head": False,
}

# text_config of google/paligemma-3b-*, paligemma2-3b-*, -10b-* and -28b-*, and the parameters that the hub counts.
PUBLISHED = {
    "paligemma-3b": (
        {
            "hidden_size": 2048,
            "intermediate_size": 16384,
            "model_type": "gemma",
            "num_attention_heads": 8,
            "num_hidden_layers": 18,
            "num_image_tokens": 256,
            "num_key_value_heads": 1,
            "vocab_size": 257216,
        },
        2.92e9,
    ),
    "paligemma2-3b": (
        {
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "model_type": "gemma2",
            "num_hidden_layers": 26,
            "num_key_value_heads": 4,
            "vocab_size": 257216,
        },
        3.03e9,
    ),
    "paligemma2-10b": (
        {
            "hidden_size": 3584,
            "intermediate_size": 14336,
            "model_type": "gemma2",
            "num_attention_heads": 16,
            "num_hidden_layers": 42,
            "num_key_value_heads": 8,
            "vocab_size": 257216,
        },
        9.66e9,
    ),
    "paligemma2-28b": (
        {
            "head_dim": 128,
            "hidden_size": 4608,
            "intermediate_size": 36864,
            "model_type": "gemma2",
            "num_attention_heads": 32,
            "num_hidden_layers": 46,
            "num_key_value_heads": 16,
            "query_pre_attn_scalar": 144,
            "vocab_size": 257216,
        },
        27.7e9,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(("image_size", "rows"), [(None, 256), (448, 1024), (896, 4096)])
def test_published_configurations_give_the_published_sizes(
    name: str, image_size: int | None, rows: int, tmp_path: Path
) -> None:
    text, parameters = PUBLISHED[name]
    vision = SO400M | ({"image_size": image_size} if image_size else {})
    raw = {"model_type": "paligemma", "image_token_index": 257152, "text_config": text, "vision_config": vision}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    config = read_config(tmp_path)
    assert config.vision_config.rows == rows
    assert config.family == name.split("-")[0]
    total = sum(prod(shape) for shape in expected_tensors(config).values())
    assert total == pytest.approx(parameters, rel=0.005)


def test_gemma_2_slides_on_every_other_layer_from_the_first(tmp_path: Path) -> None:
    raw = {"model_type": "paligemma", "image_token_index": 1, "text_config": PUBLISHED["paligemma2-3b"][0]}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    text = read_config(tmp_path).text_config
    assert text.sliding_window == 4096
    assert [text.slides(layer) for layer in range(4)] == [True, False, True, False]
    assert (text.attn_logit_softcapping, text.final_logit_softcapping) == (50, 30)


def test_gemma_1_neither_slides_nor_caps(tmp_path: Path) -> None:
    raw = {"model_type": "paligemma", "image_token_index": 1, "text_config": PUBLISHED["paligemma-3b"][0]}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    text = read_config(tmp_path).text_config
    assert not any(text.slides(layer) for layer in range(18))
    assert text.attn_logit_softcapping is None
    assert text.attention_scale == 1 / 16
