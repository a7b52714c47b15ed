"""The committed checkpoint and its tokenizer, as transformers and tokenizers see them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from palijet.demo import vocabulary
from palijet.demo.evaluate import questions_about

CHECKPOINT = Path(vocabulary.__file__).with_name("checkpoint")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))


def test_the_committed_tokenizer_is_the_one_the_code_builds(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab() == vocabulary.build_tokenizer().get_vocab()


@pytest.mark.parametrize(
    "text",
    [
        "detect bolt ; gear",
        "<loc0000><loc1023><loc0512><loc0007> bolt ; <loc0001><loc0002><loc0003><loc0004> gear",
        "a red bolt, a blue gear and a white washer",
        "K7P3",
        "Straße  漢字 🙂\ttab, it's 50 %\n",
        "",
    ],
)
def test_any_text_comes_back_as_it_went_in(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_answers_take_one_token_per_word_place_and_character(tokenizer: Tokenizer) -> None:
    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    assert count("K7P3") == 4
    assert count("<loc0000><loc0001><loc0002><loc0003> bracket") == 5
    assert count("a green bolt and a white washer") == 7
    for token in ("<loc0000>", "<loc1023>", "<seg000>", "<seg127>", "<image>", "<bos>", "<eos>", "<pad>"):
        assert tokenizer.encode(token, add_special_tokens=False).ids == [tokenizer.token_to_id(token)]


def test_the_checkpoint_stays_small_enough_for_git() -> None:
    assert sum(file.stat().st_size for file in CHECKPOINT.iterdir()) < 25e6


@pytest.mark.oracle
def test_transformers_loads_every_weight_and_its_processor() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model, report = transformers.PaliGemmaForConditionalGeneration.from_pretrained(
        CHECKPOINT, dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    processor = transformers.AutoProcessor.from_pretrained(CHECKPOINT)
    frame, questions = questions_about(0)
    inputs = processor(images=frame[:, :, ::-1].copy(), text=questions[0].prompt, return_tensors="pt")
    size = json.loads((CHECKPOINT / "config.json").read_text())["vision_config"]["image_size"]
    assert tuple(inputs["pixel_values"].shape) == (1, 3, size, size)
    assert torch.isfinite(model(**{k: v for k, v in inputs.items() if k != "labels"}).logits).all()


@pytest.mark.oracle
def test_the_training_pass_agrees_with_transformers() -> None:
    """The lean forward pass that training uses gives transformers' logits for prompts of unlike lengths."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from palijet.demo import dataset, network, targets

    model = network.new_model(seed=1).eval()
    scenes = dataset.draw_scenes(range(3))
    prompts = targets.draw_prompts(np.random.default_rng(0), scenes, np.arange(3), targets.KINDS["detect"])
    with torch.inference_mode():
        rows = network.image_rows(model, torch.from_numpy(scenes.images))
        states = network.text_states(model, rows, prompts.ids, prompts.prefix, prompts.image)
        for i in range(len(prompts.ids)):
            asked = int((prompts.target[i] >= 0).sum())
            length = int(prompts.prefix[i]) + asked - 1
            image = torch.full((network.ROWS,), model.config.image_token_index)
            ids = torch.cat([image, prompts.ids[i, :length]])[None]
            suffix = (torch.arange(ids.shape[1]) >= network.ROWS + prompts.prefix[i]).long()[None]
            pixels = (torch.from_numpy(scenes.images[prompts.image[i]]).float() - 127.5) / 127.5
            theirs = model(
                input_ids=ids,
                pixel_values=pixels.permute(2, 0, 1)[None],
                token_type_ids=suffix,
                attention_mask=torch.ones_like(ids),
            ).logits[0, -asked:]
            ours = model.lm_head(states[i, length - asked : length])
            assert torch.allclose(ours, theirs, atol=1e-4)
