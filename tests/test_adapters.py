"""Adapters merged at export: the tokens and weights are those of PEFT's own merge; an adapter that does not fit is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import palijet
from palijet import CheckpointError
from palijet.export import ExportOptions, export
from palijet.export.checkpoint import EMBEDDINGS, LM_HEAD, expected_tensors
from palijet.export.open_checkpoint import open_checkpoint
from palijet.export.transformers_checkpoint import canonical_name

pytestmark = pytest.mark.oracle
pytest.importorskip("peft", reason="the oracle extra is not installed: pip install -e '.[oracle]'")

from checkpoints import Oracle, make_checkpoint, random_prompt, shape  # noqa: E402
from test_tokens import answers, pipeline  # noqa: E402

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
LINEAR = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]


def kinds() -> dict[str, Callable[[], Any]]:
    from peft import IA3Config, LoHaConfig, LoKrConfig, LoraConfig

    def lora(**options: Any) -> Any:
        return LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": LINEAR, "init_lora_weights": False, **options})

    return {
        "lora": lora,
        "rank-stabilised": lambda: lora(use_rslora=True),
        "dora": lambda: lora(use_dora=True),
        "patterns": lambda: lora(
            rank_pattern={r"layers\.1\.self_attn\.q_proj": 2, "down_proj": 7}, alpha_pattern={"down_proj": 3, "v_proj": 20}
        ),
        "vision and projector": lambda: lora(target_modules=["q_proj", "fc1", "fc2", "out_proj", "multi_modal_projector.linear"]),
        "embeddings": lambda: lora(target_modules=["embed_tokens", "q_proj"]),
        "whole modules": lambda: lora(modules_to_save=["multi_modal_projector"]),
        "biases": lambda: lora(target_modules=["out_proj", "fc1"], bias="lora_only"),
        "loha": lambda: LoHaConfig(r=4, alpha=8, target_modules=LINEAR, init_weights=False),
        "lokr": lambda: LoKrConfig(r=3, alpha=8, target_modules=LINEAR, init_weights=False),
        "ia3": lambda: IA3Config(target_modules=["k_proj", "v_proj", "fc2", "down_proj"], feedforward_modules=["fc2", "down_proj"]),
    }  # fmt: skip


def make_adapter(checkpoint: Path, config: Any, folder: Path) -> Path:
    """An adapter of random weights, saved by PEFT, and the model that PEFT merges it into, at folder / "merged"."""
    import torch
    from peft import get_peft_model
    from transformers import PaliGemmaForConditionalGeneration

    torch.manual_seed(3)
    model = PaliGemmaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    wrapped = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if parameter.requires_grad:
                if "ia3" in name:
                    parameter.uniform_(0.5, 1.5)
                elif "magnitude" in name:
                    parameter.mul_(torch.rand_like(parameter) + 0.5)
                elif "modules_to_save" in name or name.endswith("bias"):
                    parameter.add_(torch.randn_like(parameter) * 0.05)
                else:
                    parameter.normal_(0, 0.15)
    wrapped.save_pretrained(folder / "adapter")
    merged = wrapped.merge_and_unload()
    merged.save_pretrained(folder / "merged")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint / name, folder / "merged")
    return folder / "adapter"


@pytest.mark.parametrize("family", ["gemma", "gemma2"])
@pytest.mark.parametrize("kind", list(kinds()))
def test_tokens_and_weights_are_those_of_pefts_merge(kind: str, family: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(shape(f"{family}-kv1-float32"), tmp_path / "checkpoint")
    adapter = make_adapter(checkpoint, kinds()[kind](), tmp_path)
    ours, theirs = open_checkpoint(checkpoint, [adapter]), open_checkpoint(tmp_path / "merged")
    changed = 0
    for name in [*expected_tensors(ours.config), LM_HEAD]:
        found, wanted = ours.read(name).astype(np.float32), theirs.read(name).astype(np.float32)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5, err_msg=name)
        np.testing.assert_array_equal(ours.read_rows(name, 1, 5), ours.read(name)[1:5])
        changed += not np.array_equal(found, open_checkpoint(checkpoint).read(name).astype(np.float32))
    assert changed > 1
    export(checkpoint, tmp_path / "bundle", ExportOptions("fp32", adapters=(adapter,)))
    assert palijet.runtime.open_bundle(tmp_path / "bundle").manifest.made_by.adapters == ("adapter",)
    oracle = Oracle(tmp_path / "merged")
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    pixels = palijet.runtime.preprocess(image, oracle.image_size)
    prompts = [random_prompt(seed, length) for seed, length in enumerate((4, 11))]
    for prompt, generation in zip(prompts, answers(pipeline(tmp_path / "bundle"), image, prompts, 24), strict=True):
        assert generation.tokens == oracle.answer(pixels, prompt, 24).tokens


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint and a LoRA adapter of it."""
    folder = tmp_path_factory.mktemp("plain")
    checkpoint = make_checkpoint(shape("gemma-kv1-float32"), folder / "checkpoint")
    return checkpoint, make_adapter(checkpoint, kinds()["lora"](), folder)


def test_two_adapters_are_merged_one_after_the_other(plain: tuple[Path, Path]) -> None:
    checkpoint, adapter = plain
    name = "text.layers.0.mlp.up_proj.weight"
    base, once, twice = (open_checkpoint(checkpoint, [adapter] * count).read(name) for count in range(3))
    np.testing.assert_allclose(twice - once, once - base, atol=1e-5)
    assert np.abs(once - base).max() > 0.1


def edit_config(**changes: Any) -> Callable[[Path], None]:
    def edit(adapter: Path) -> None:
        path = adapter / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def edit_tensors(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def edit(adapter: Path) -> None:
        tensors = load_file(adapter / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, adapter / "adapter_model.safetensors")

    return edit


UP = "base_model.model.model.language_model.layers.0.mlp.up_proj"


def rename(tensors: dict[str, np.ndarray]) -> None:
    for part in ("lora_A", "lora_B"):
        tensors[f"{UP}.{part}.weight".replace("layers.0", "layers.44")] = tensors.pop(f"{UP}.{part}.weight")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            lambda a: (a / "adapter_config.json").unlink(),
            "has no adapter_config.json; give the folder that PEFT's save_pretrained",
        ),
        (lambda a: (a / "adapter_config.json").write_text("{"), "cannot be read as an adapter's configuration"),
        (lambda a: (a / "adapter_model.safetensors").unlink(), "has no adapter_model.safetensors"),
        (lambda a: (a / "adapter_model.safetensors").write_bytes(b"12345678"), "is cut or is not a safetensors file"),
        (edit_config(peft_type="PREFIX_TUNING"), "an adapter of kind PREFIX_TUNING, which PaliJet does not merge"),
        (edit_config(lora_bias=True), "biases of its own"),
        (
            edit_tensors(rename),
            "layers.44.mlp.up_proj does not exist in this model; the adapter was trained on another model",
        ),
        (
            edit_tensors(lambda t: t.update({f"{UP}.lora_A.weight": np.zeros((4, 63), np.float32)})),
            r"lora_A of .*up_proj has shape \[4, 63\] where \[rank, 64\] is needed",
        ),
        (
            edit_tensors(lambda t: t.update({f"{UP}.lora_A.weight": np.zeros((3, 64), np.float32)})),
            "has a rank of 3 in lora_A and of 4 in lora_B; the adapter is damaged",
        ),
        (edit_tensors(lambda t: t.pop(f"{UP}.lora_B.weight")), "up_proj lacks lora_B; the adapter is incomplete"),
        (
            edit_tensors(lambda t: t[f"{UP}.lora_B.weight"].__setitem__((0, 0), np.nan)),
            "holds values that are no numbers; the training of this adapter failed",
        ),
        (
            edit_tensors(lambda t: t.update({"base_model.model.lm_head.weight": np.zeros((3, 64), np.float32)})),
            r"lm_head.weight has shape \[3, 64\] where this model has \[1536, 64\]",
        ),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(plain, damage, sentence: str, tmp_path: Path) -> None:
    checkpoint, adapter = plain
    damaged = shutil.copytree(adapter, tmp_path / "adapter")
    damage(damaged)
    with pytest.raises(CheckpointError, match=sentence):
        export(checkpoint, tmp_path / "bundle", ExportOptions("fp32", adapters=(damaged,)))
    assert not (tmp_path / "bundle").exists()


def test_names_of_every_version_of_transformers_are_one() -> None:
    for stored in (
        "model.language_model.layers.0.mlp.up_proj",
        "language_model.model.layers.0.mlp.up_proj",
        "language_model.layers.0.mlp.up_proj",
    ):
        assert canonical_name(f"{stored}.weight") == "text.layers.0.mlp.up_proj.weight"
    assert canonical_name("model.language_model.embed_tokens.weight") == EMBEDDINGS
