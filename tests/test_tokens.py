"""The tokens are transformers' own: random tiny checkpoints of both families, and the demo checkpoint, greedy in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import palijet
from palijet.export import ExportOptions, export
from palijet.runtime import _native
from palijet.runtime.onnxruntime_library import find_onnxruntime

pytestmark = pytest.mark.oracle
pytest.importorskip("transformers", reason="the oracle extra is not installed: pip install -e '.[oracle]'")

from checkpoints import SHAPES, Oracle, Shape, make_checkpoint, random_prompt, shape  # noqa: E402

TOKENS = 64


def pipeline(folder: Path, max_batch: int = 4) -> _native.Pipeline:
    bundle = palijet.runtime.open_bundle(folder)
    library, table = str(find_onnxruntime()), bundle.manifest.embeddings
    return _native.Pipeline(
        _native.OnnxEngine(str(bundle.vision_graph), library=library, threads=1),
        _native.OnnxEngine(str(bundle.decoder_graph), library=library, threads=1),
        _native.EmbeddingTable(
            str(bundle.embeddings), rows=table.rows, width=table.width, dtype=table.dtype, scale=table.scale
        ),
        image_size=bundle.manifest.vision.image_size,
        max_rows=bundle.manifest.vision.rows + 200,
        max_batch=max_batch,
    )


def answers(
    pipe: _native.Pipeline, image: np.ndarray, prompts: list[list[int]], tokens: int = TOKENS
) -> list[_native.Generation]:
    generations, _ = pipe.generate(
        [_native.Frame(image)], prompts, [0] * len(prompts), max_tokens=tokens, stop_tokens=[1]
    )
    return generations


@pytest.mark.parametrize("tiny", SHAPES, ids=str)
def test_tokens_and_logprobs_are_transformers_own(tiny: Shape, tmp_path: Path) -> None:
    oracle = Oracle(make_checkpoint(tiny, tmp_path / "checkpoint"))
    export(tmp_path / "checkpoint", tmp_path / "bundle", ExportOptions(precision="fp32"))
    image = np.random.default_rng(tiny.seed).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    pixels = palijet.runtime.preprocess(image, oracle.image_size)
    prompts = [random_prompt(seed, length) for seed, length in enumerate((3, 9, 30, 1, 5))]
    distinct = set()
    # Five prompts of unlike lengths in batches of four and one.
    for prompt, generation in zip(prompts, answers(pipeline(tmp_path / "bundle"), image, prompts), strict=True):
        expected = oracle.answer(pixels, prompt, TOKENS)
        assert generation.tokens == expected.tokens
        np.testing.assert_allclose(generation.logprobs, expected.logprobs, atol=1e-4)
        distinct |= set(generation.tokens)
    assert len(distinct) > 4, "answers that do not vary show nothing"


@pytest.mark.parametrize("family", ["gemma", "gemma2"])
def test_fp16_needs_and_has_its_rescaling(family: str, tmp_path: Path) -> None:
    """A residual stream past 1e5: with the rescaling FP16 says what FP32 says, without it it breaks."""
    folder = make_checkpoint(shape(f"{family}-kv1-float32"), tmp_path / "checkpoint")
    raise_the_stream(folder)
    oracle = Oracle(folder)
    image = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    pixels = palijet.runtime.preprocess(image, oracle.image_size)
    # Rounding to FP16 may turn what is nearly a tie: prompts whose every token leads clearly.
    prompts = [random_prompt(seed, 6) for seed in range(60)]
    clear = [(ids, said.tokens) for ids in prompts if (said := oracle.answer(pixels, ids, 6)).margin > 0.03]
    assert len(clear) >= 3
    assert 1e5 < stream_peak(oracle, pixels, clear[0][0]) < 16 * 65504
    said = {}
    for name, options in {
        "fp32": ExportOptions("fp32"),
        "fp16": ExportOptions("fp16"),
        "plain fp16": ExportOptions("fp16", rescale=False),
    }.items():
        export(folder, tmp_path / name, options)
        said[name] = answers(pipeline(tmp_path / name), image, [ids for ids, _ in clear], 6)
    expected = [tokens for _, tokens in clear]
    assert [generation.tokens for generation in said["fp32"]] == expected
    assert [generation.tokens for generation in said["fp16"]] == expected
    assert all(np.isfinite(generation.logprobs).all() for generation in said["fp16"])
    assert [generation.tokens for generation in said["plain fp16"]] != expected


def raise_the_stream(folder: Path) -> None:
    """Scale up everything that is added to the residual stream."""
    import torch
    from transformers import PaliGemmaForConditionalGeneration

    model = PaliGemmaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            if hasattr(layer, "post_feedforward_layernorm"):
                layer.post_attention_layernorm.weight.add_(4e4)
                layer.post_feedforward_layernorm.weight.add_(4e4)
            else:
                layer.self_attn.o_proj.weight.mul_(3e3)
                layer.mlp.down_proj.weight.mul_(3e3)
    model.save_pretrained(folder)


def stream_peak(oracle: Oracle, pixels: np.ndarray, prompt: list[int]) -> float:
    """The largest magnitude in the residual stream, as transformers computes it."""
    import torch

    ids = torch.tensor([[oracle.image_token] * oracle.rows + prompt])
    with torch.no_grad():
        out = oracle.model(
            input_ids=ids,
            pixel_values=torch.from_numpy(pixels)[None],
            token_type_ids=torch.zeros_like(ids),
            output_hidden_states=True,
        )
    return max(float(state.abs().max()) for state in out.hidden_states[:-1])


def test_the_demo_checkpoint_says_what_transformers_says(demo_bundle: Path, scene) -> None:
    from conftest import DEMO_CHECKPOINT
    from transformers import AutoTokenizer

    model = palijet.load(demo_bundle, threads=1)
    oracle = Oracle(DEMO_CHECKPOINT)
    tokenizer = AutoTokenizer.from_pretrained(DEMO_CHECKPOINT)
    prompts = ["caption en", "detect part ; label", "ocr", "answer en how many parts", ""]
    for seed in range(5_000_000, 5_000_006):
        frame = scene(seed)
        pixels = palijet.runtime.preprocess(frame, oracle.image_size)
        for prompt, result in zip(prompts, model.predict(frame, prompts, max_tokens=TOKENS), strict=True):
            ids = tokenizer(f"<bos>{prompt}\n", add_special_tokens=False)["input_ids"]
            expected = oracle.answer(pixels, ids, TOKENS)
            assert list(result.tokens) == expected.tokens
            assert result.text == tokenizer.decode(expected.tokens, skip_special_tokens=True)
            np.testing.assert_allclose(result.logprobs, expected.logprobs, atol=1e-4)


@pytest.mark.parametrize("cpu_decoder", ["auto", "onnxruntime"])
def test_choices_are_as_likely_as_transformers_says(demo_bundle: Path, scene, cpu_decoder: str) -> None:
    from conftest import DEMO_CHECKPOINT
    from transformers import AutoTokenizer

    model = palijet.load(demo_bundle, "cpu", threads=1, cpu_decoder=cpu_decoder)
    oracle = Oracle(DEMO_CHECKPOINT)
    tokenizer = AutoTokenizer.from_pretrained(DEMO_CHECKPOINT)
    asked = {
        "how many boxes?": ["0", "1", "2", "3"],  # a token each
        "caption en": ["an empty belt", "two boxes", "a red gear and a blue cup on the belt", "a"],  # a verify each
    }
    for seed in range(5_000_000, 5_000_004):
        frame = scene(seed)
        pixels = palijet.runtime.preprocess(frame, oracle.image_size)
        for prompt, choices in asked.items():
            result = model.predict(frame, prompt, choices=choices)
            ids = tokenizer(f"<bos>{prompt}\n", add_special_tokens=False)["input_ids"]
            said = [tokenizer(choice, add_special_tokens=False)["input_ids"] for choice in choices]
            for tokens in said:  # one that another begins with must end there
                if any(other[: len(tokens)] == tokens for other in said if other is not tokens):
                    tokens.append(tokenizer.eos_token_id)
            expected = np.array([sum(oracle.score(pixels, ids, tokens)) for tokens in said])
            np.testing.assert_allclose([choice.logprob for choice in result.choices], expected, rtol=1e-5, atol=1e-4)
            likely = np.exp(expected - expected.max())
            probabilities = [choice.probability for choice in result.choices]
            np.testing.assert_allclose(probabilities, likely / likely.sum(), atol=1e-4)
            assert result.text == choices[int(expected.argmax())]


def test_preprocessing_is_transformers_own(scene) -> None:
    from PIL import Image
    from transformers import SiglipImageProcessor

    frame = scene(3)
    processor = SiglipImageProcessor(size={"height": 224, "width": 224}, resample=Image.Resampling.BICUBIC)
    rgb = Image.fromarray(frame[:, :, ::-1].copy())
    expected = processor(images=rgb, return_tensors="np")["pixel_values"][0]
    # It rescales by 1 / 255 and then normalises: the same number by another rounding.
    np.testing.assert_allclose(palijet.runtime.preprocess(frame, 224), expected, atol=1e-6)
