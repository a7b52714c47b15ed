"""big_vision's .npz: a model written in its layout says what transformers says with the same weights.

The layout is that of the einsums in big_vision's models/ppp/gemma.py ("BTD,NDH->BTNH" for queries, "BSD,2KDH->2BSKH" for keys and
values, "BTNH,NHD->BTD" on the way out) and of flax's attention and dense layers; transformers' conversion scripts say the same.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import palijet
from palijet import CheckpointError
from palijet.export import ExportOptions, export
from palijet.export.checkpoint import LM_HEAD, expected_tensors
from palijet.export.open_checkpoint import open_checkpoint

pytestmark = pytest.mark.oracle
pytest.importorskip("transformers", reason="the oracle extra is not installed: pip install -e '.[oracle]'")

from checkpoints import Oracle, make_checkpoint, random_prompt, shape  # noqa: E402
from test_tokens import answers, pipeline  # noqa: E402


def to_big_vision(checkpoint: Path) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint in transformers' format, as big_vision lays them out."""
    source = open_checkpoint(checkpoint)
    text, vision = source.config.text_config, source.config.vision_config
    heads, kv_heads, size, hidden = text.num_attention_heads, text.num_key_value_heads, text.head_dim, text.hidden_size

    def stacked(layers: int, name: str, turn=lambda a: a) -> np.ndarray:
        return np.stack([turn(source.read(name.format(i)).astype(np.float32)) for i in range(layers)])

    out: dict[str, np.ndarray] = {
        "img/embedding/kernel": source.read("vision.embeddings.patch_embedding.weight").transpose(2, 3, 1, 0),
        "img/embedding/bias": source.read("vision.embeddings.patch_embedding.bias"),
        "img/pos_embedding": source.read("vision.embeddings.position_embedding.weight")[None],
        "img/Transformer/encoder_norm/scale": source.read("vision.post_layernorm.weight"),
        "img/Transformer/encoder_norm/bias": source.read("vision.post_layernorm.bias"),
        "img/head/kernel": source.read("projector.weight").T,
        "img/head/bias": source.read("projector.bias"),
        "llm/embedder/input_embedding": source.read("text.embed_tokens.weight"),
        "llm/final_norm/scale": source.read("text.norm.weight"),
    }
    n, width = vision.num_hidden_layers, vision.hidden_size
    by_head = (width, vision.num_attention_heads, width // vision.num_attention_heads)
    block, layer = "img/Transformer/encoderblock", "vision.encoder.layers.{}"
    for i in (0, 1):
        for ours, theirs in (("weight", "scale"), ("bias", "bias")):
            out[f"{block}/LayerNorm_{i}/{theirs}"] = stacked(n, f"{layer}.layer_norm{i + 1}.{ours}")
        out[f"{block}/MlpBlock_0/Dense_{i}/kernel"] = stacked(n, f"{layer}.mlp.fc{i + 1}.weight", np.transpose)
        out[f"{block}/MlpBlock_0/Dense_{i}/bias"] = stacked(n, f"{layer}.mlp.fc{i + 1}.bias")
    attention = f"{block}/MultiHeadDotProductAttention_0"
    for part in ("query", "key", "value"):
        ours = f"{layer}.self_attn.{part[0]}_proj"
        out[f"{attention}/{part}/kernel"] = stacked(n, f"{ours}.weight", lambda a: a.T.reshape(by_head))
        out[f"{attention}/{part}/bias"] = stacked(n, f"{ours}.bias", lambda a: a.reshape(by_head[1:]))
    out[f"{attention}/out/kernel"] = stacked(
        n, f"{layer}.self_attn.out_proj.weight", lambda a: a.T.reshape(*by_head[1:], width)
    )
    out[f"{attention}/out/bias"] = stacked(n, f"{layer}.self_attn.out_proj.bias")

    n, layer = text.num_hidden_layers, "text.layers.{}"

    def einsum(count: int):
        return lambda a: a.reshape(count, size, hidden).transpose(0, 2, 1)

    keys, values = (stacked(n, f"{layer}.self_attn.{part}_proj.weight", einsum(kv_heads)) for part in "kv")
    gate, up = (stacked(n, f"{layer}.mlp.{part}_proj.weight", np.transpose) for part in ("gate", "up"))
    out |= {
        "llm/layers/attn/q_einsum/w": stacked(n, f"{layer}.self_attn.q_proj.weight", einsum(heads)),
        "llm/layers/attn/kv_einsum/w": np.stack([keys, values], axis=1),
        "llm/layers/attn/attn_vec_einsum/w": stacked(
            n, f"{layer}.self_attn.o_proj.weight", lambda a: a.T.reshape(heads, size, hidden)
        ),
        "llm/layers/mlp/gating_einsum": np.stack([gate, up], axis=1),
        "llm/layers/mlp/linear": stacked(n, f"{layer}.mlp.down_proj.weight", np.transpose),
        "llm/layers/pre_attention_norm/scale": stacked(n, f"{layer}.input_layernorm.weight"),
    }
    if text.is_gemma2:
        out |= {
            "llm/layers/post_attention_norm/scale": stacked(n, f"{layer}.post_attention_layernorm.weight"),
            "llm/layers/pre_ffw_norm/scale": stacked(n, f"{layer}.pre_feedforward_layernorm.weight"),
            "llm/layers/post_ffw_norm/scale": stacked(n, f"{layer}.post_feedforward_layernorm.weight"),
        }
    else:
        out["llm/layers/pre_ffw_norm/scale"] = stacked(n, f"{layer}.post_attention_layernorm.weight")
    return {f"params/{name}": array for name, array in out.items()}


def write_npz(checkpoint: Path, folder: Path, *, compressed: bool = False, dtype=np.float32) -> Path:
    folder.mkdir()
    tensors = {name: array.astype(dtype) for name, array in to_big_vision(checkpoint).items()}
    (np.savez_compressed if compressed else np.savez)(folder / "model.npz", **tensors)
    shutil.copy(checkpoint / "tokenizer.json", folder)
    return folder / "model.npz"


# What the file does not hold, and big_vision has fixed, is given these checkpoints as well: see export/big_vision.py.
FAMILIES = {"gemma": shape("gemma-kv1-float32"), "gemma2": shape("gemma2-kv2-float32")}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_tensors_and_tokens_are_those_of_transformers_format(family: str, compressed: bool, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(FAMILIES[family], tmp_path / "checkpoint")
    npz = write_npz(checkpoint, tmp_path / "big_vision", compressed=compressed)
    ours, theirs = open_checkpoint(npz), open_checkpoint(checkpoint)
    for name in [*expected_tensors(theirs.config), LM_HEAD]:
        np.testing.assert_array_equal(ours.read(name), theirs.read(name), err_msg=name)
        np.testing.assert_array_equal(ours.read_rows(name, 1, 4), theirs.read(name)[1:4])
    export(npz, tmp_path / "bundle", ExportOptions("fp32"))
    oracle = Oracle(checkpoint)
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    pixels = palijet.runtime.preprocess(image, oracle.image_size)
    prompts = [random_prompt(seed, length) for seed, length in enumerate((4, 11))]
    for prompt, generation in zip(prompts, answers(pipeline(tmp_path / "bundle"), image, prompts, 32), strict=True):
        assert generation.tokens == oracle.answer(pixels, prompt, 32).tokens


def test_the_configuration_follows_from_the_shapes(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(FAMILIES["gemma2"], tmp_path / "checkpoint")
    found = open_checkpoint(write_npz(checkpoint, tmp_path / "big_vision")).config
    wanted = open_checkpoint(checkpoint).config
    assert found.vision_config == wanted.vision_config
    for field in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
                  "vocab_size", "attention_scale", "rope_base", "sliding_window", "final_logit_softcapping"):  # fmt: skip
        assert getattr(found.text_config, field) == getattr(wanted.text_config, field), field


def test_bfloat16_which_numpy_stores_without_a_type_is_read(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(FAMILIES["gemma"], tmp_path / "checkpoint")
    opened = open_checkpoint(write_npz(checkpoint, tmp_path / "big_vision", dtype=ml_dtypes.bfloat16))
    name = "text.layers.0.mlp.up_proj.weight"
    assert opened.dtype(name) == "bfloat16"
    np.testing.assert_array_equal(opened.read(name), open_checkpoint(checkpoint).read(name).astype(ml_dtypes.bfloat16))


def without(name: str):
    def damage(npz: Path) -> None:
        with np.load(npz) as file:
            kept = {key: file[key] for key in file.files if name not in key}
        np.savez(npz, **kept)

    return damage


def narrow(npz: Path) -> None:
    with np.load(npz) as file:
        tensors = dict(file)
    tensors["params/llm/layers/mlp/linear"] = tensors["params/llm/layers/mlp/linear"][:, :, :60]
    np.savez(npz, **tensors)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda npz: npz.write_bytes(npz.read_bytes()[:5000]), "is cut or is not an .npz"),
        (lambda npz: npz.unlink(), "model.npz does not exist"),
        (
            lambda npz: (npz.parent / "tokenizer.json").unlink(),
            "has no tokenizer.json beside model.npz, which holds none",
        ),
        (without("q_einsum"), "lacks llm/layers/attn/q_einsum/w; it is not a PaliGemma checkpoint of big_vision's"),
        (without("final_norm"), "lacks llm/final_norm/scale"),
        (
            narrow,
            r"llm/layers/mlp/linear makes text.layers.0.mlp.down_proj.weight of shape \[60, 96\] where \[64, 96\] is needed",
        ),
    ],
)
def test_what_is_no_checkpoint_is_refused(damage, sentence: str, tmp_path: Path) -> None:
    npz = write_npz(make_checkpoint(FAMILIES["gemma"], tmp_path / "checkpoint"), tmp_path / "big_vision")
    damage(npz)
    with pytest.raises(CheckpointError, match=sentence):
        export(npz, tmp_path / "bundle", ExportOptions("fp32"))
