"""Drafts change the number of the decoder's runs and nothing else; choices and overlap likewise say what plain answers say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palijet.demo.clip import Clip, write_clip
from palijet.demo.evaluate import questions_about
from palijet.runtime import InputError, Model, load
from palijet.runtime.drafting import DraftMemory, asked_labels

PROMPTS = ["detect box ; plate", "how many boxes?", "ocr", "caption en"]


@pytest.fixture(scope="module")
def model(demo_bundle: Path) -> Model:
    return load(demo_bundle)


@pytest.fixture(scope="module")
def plain(demo_bundle: Path) -> Model:
    return load(demo_bundle, drafts=False)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path, Clip(frames=40))
    return path


def test_a_picture_that_stays_is_answered_in_one_run_of_the_decoder(model: Model, plain: Model) -> None:
    frame, _ = questions_about(3)
    expected = plain.predict(frame, "caption en")
    first = model.predict(frame, "caption en", camera="still")
    again = model.predict(frame, "caption en", camera="still")
    assert first.tokens == again.tokens == expected.tokens
    assert expected.timings.decoder_calls == len(expected.tokens) + 1
    assert again.timings.decoder_calls == 1
    assert again.timings.drafted == again.timings.accepted == len(expected.tokens)


@pytest.fixture(scope="module")
def eager(demo_bundle: Path) -> Model:
    """Verifies every guess: which of them pay is a matter of the machine and its mood."""
    model = load(demo_bundle)
    model._drafts = DraftMemory(model._tokenizer, adaptive=False)
    return model


@pytest.mark.parametrize("pipeline", [False, True])
def test_a_stream_with_drafts_says_what_one_without_says(eager: Model, clip: Path, pipeline: bool) -> None:
    with_drafts = list(eager.stream(clip, PROMPTS, pipeline=pipeline))
    without = list(eager.stream(clip, PROMPTS, drafts=False))
    assert [[r.tokens for r in results] for results in with_drafts] == [
        [r.tokens for r in results] for results in without
    ]
    assert [results[0].frame_index for results in with_drafts] == list(range(40))
    calls = sum(result.timings.decoder_calls for results in with_drafts for result in results)
    plain_calls = sum(result.timings.decoder_calls for results in without for result in results)
    assert calls < plain_calls / 2


def test_cameras_do_not_share_their_answers(model: Model, plain: Model) -> None:
    frames = [questions_about(seed)[0] for seed in range(6)]
    expected = [plain.predict(frame, PROMPTS) for frame in frames]
    for _ in range(2):
        for number, frame in enumerate(frames):
            found = model.predict(frame, PROMPTS, camera=number)
            assert [r.tokens for r in found] == [r.tokens for r in expected[number]]
    assert all(r.timings.decoder_calls == 1 for r in model.predict(frames[2], PROMPTS, camera=2))


def test_one_prompt_asked_twice_in_a_call_is_answered_twice(model: Model) -> None:
    frame, _ = questions_about(3)
    for _ in range(2):
        first, second = model.predict(frame, ["caption en", "caption en"], camera="twice")
        assert first.tokens == second.tokens


@settings(deadline=None, max_examples=40)
@given(
    seeds=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    prompts=st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=6),
    max_tokens=st.integers(1, 40),
    cameras=st.integers(1, 2),
)
def test_any_order_of_frames_prompts_and_lengths_is_answered_greedily(
    model: Model, plain: Model, seeds: list[int], prompts: list[str], max_tokens: int, cameras: int
) -> None:
    for seed in seeds:
        frame, _ = questions_about(seed)
        found = model.predict(frame, prompts, max_tokens=max_tokens, camera=("any", seed % cameras))
        expected = plain.predict(frame, prompts, max_tokens=max_tokens)
        assert [(r.tokens, r.stop_reason) for r in found] == [(r.tokens, r.stop_reason) for r in expected]
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)


def test_prompts_name_the_labels_that_are_asked_for() -> None:
    assert asked_labels("detect cat ; small dog") == ["cat", "small dog"]
    assert asked_labels("segment cat") == ["cat"]
    assert asked_labels("detection") == asked_labels("caption en") == []


# Closed answers


def test_the_likeliest_choice_is_the_answer_and_probabilities_add_up(model: Model) -> None:
    frame, _ = questions_about(3)
    said = model.predict(frame, "how many boxes?")
    result = model.predict(frame, "how many boxes?", choices=["7", said.text, "3"])
    assert result.text == said.text
    assert result.stop_reason == "choice"
    assert sum(choice.probability for choice in result.choices) == pytest.approx(1)
    assert [choice.text for choice in result.choices] == ["7", said.text, "3"]
    assert result.choices[1].logprob == pytest.approx(sum(said.logprobs), abs=1e-4)
    assert result.timings.decoder_calls == 1
    assert result.to_dict()["choices"][1]["text"] == said.text


def test_choices_of_several_tokens_cost_a_run_each(model: Model) -> None:
    frame, _ = questions_about(3)
    said = model.predict(frame, "caption en")
    other = "a red box and a blue plate"
    result = model.predict(frame, "caption en", choices=[said.text, other])
    assert result.text == said.text
    assert result.choices[0].probability > 0.99
    assert result.timings.decoder_calls == 1 + sum(
        -(-(tokens - 1) // 16) for tokens in (len(said.tokens), len(model._tokenizer.encode_answer(other)))
    )
    assert result.choices[0].logprob == pytest.approx(sum(said.logprobs), abs=1e-4)


def test_a_choice_that_begins_another_means_that_and_no_more(model: Model) -> None:
    frame, _ = questions_about(3)
    caption = model.predict(frame, "caption en").text
    start = caption.rsplit(" ", 2)[0]
    result = model.predict(frame, "caption en", choices=[start, caption])
    assert result.text == caption


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ([], "give a list of texts"),
        ("yes", "give a list of texts"),
        (["yes", ""], "is no text"),
        (["yes", 3], "is no text"),
        (["yes", "yes"], "are the same tokens"),
        ([str(i) for i in range(200)], "200 choices are more than the 128"),
    ],
)
def test_choices_that_are_none_are_refused(model: Model, choices: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        model.predict(np.zeros((8, 8, 3), np.uint8), "ocr", choices=choices)  # type: ignore[arg-type]


def test_choices_of_a_stream(model: Model, clip: Path) -> None:
    for result in model.stream(clip, "how many boxes?", choices=["0", "1", "2"], every=10):
        assert result.text in ("0", "1", "2")
