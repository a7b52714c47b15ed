"""A loaded model: what is odd but valid is answered, what is wrong is refused, threads queue, and a call can be ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import palijet
from palijet import EngineError, InputError
from palijet.runtime._native import CancelToken


def test_results_say_what_was_asked_and_answered(model: palijet.Model, scene) -> None:
    result = model.predict(scene(1), "detect part ; label")
    assert result.prompt == "detect part ; label"
    assert result.stop_reason == "stop"
    assert len(result.tokens) == len(result.logprobs) == result.timings.tokens
    assert 0 < result.confidence <= 1
    assert result.image_size == (320, 240)
    assert result.timings.decoder_calls == len(result.tokens) + 1  # the end token costs a step as well
    stages = result.timings
    assert stages.total >= stages.preprocess + stages.vision + stages.prefill
    for thing in result.objects:
        assert 0 <= thing.box[0] <= thing.box[2] <= 320
        assert 0 <= thing.box[1] <= thing.box[3] <= 240
        assert 0 < thing.score <= 1


def test_several_prompts_are_answered_as_each_alone(model: palijet.Model, scene) -> None:
    prompts = [
        "caption en",
        "ocr",
        "detect part",
        "answer en how many parts",
        "answer en is there a gear",
        "",
    ]
    together = model.predict(scene(2), prompts)
    assert [result.prompt for result in together] == prompts
    for prompt, result in zip(prompts, together, strict=True):
        assert result.tokens == model.predict(scene(2), prompt).tokens


def test_several_pictures_are_answered_as_each_alone(model: palijet.Model, scene) -> None:
    pairs = [(scene(seed), "caption en") for seed in range(6)]
    for (frame, prompt), result in zip(pairs, model.predict_batch(pairs), strict=True):
        assert result.tokens == model.predict(frame, prompt).tokens


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((10, 20000, 3), np.uint8),
        np.zeros((40, 50), np.uint8),
        np.zeros((40, 50, 1), np.uint8),
        np.zeros((40, 50, 4), np.uint8),
        np.zeros((40, 50, 3), np.uint16),
        np.zeros((80, 100, 3), np.uint8)[::2, ::-2],
        Image.new("L", (30, 20)),
        Image.new("RGBA", (30, 20)),
        Image.new("P", (30, 20)),
    ],
    ids=lambda image: f"{type(image).__name__}-{getattr(image, 'shape', getattr(image, 'mode', ''))}",
)
def test_what_is_odd_but_valid_is_answered(model: palijet.Model, image: object) -> None:
    assert model.predict(image, "caption en").text


@pytest.mark.parametrize("prompt", ["<image>", "detect <loc0001>", "a <seg001>", "<eos>", "two <bos> words"])
def test_prompts_with_the_models_own_tokens_are_refused(model: palijet.Model, scene, prompt: str) -> None:
    with pytest.raises(InputError, match="which only the model may use"):
        model.predict(scene(1), prompt)


def test_a_prompt_beyond_the_cache_is_refused(model: palijet.Model, scene) -> None:
    with pytest.raises(InputError, match=r"the prompt has .* tokens and the cache has room for"):
        model.predict(scene(1), "bolt " * 2000)
    with pytest.raises(InputError, match="must be text"):
        model.predict(scene(1), 7)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "options",
    [{"threads": -1}, {"threads": "2"}, {"max_batch": 0}, {"max_rows": 0}, {"max_rows": 10}, {"max_rows": 10**6}],
)
def test_options_out_of_range_are_refused(demo_bundle: Path, options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        palijet.load(demo_bundle, **options)


def test_numbers_and_text_that_are_none_are_refused(model: palijet.Model, scene) -> None:
    with pytest.raises(InputError, match="give a whole number"):
        model.predict(scene(1), "ocr", max_tokens=2.5)  # type: ignore[call-overload]
    with pytest.raises(InputError, match="bytes that are no text"):
        model.predict(scene(1), "caf\udce9")
    with pytest.raises(InputError, match="every is 0"):
        next(model.stream("any.png", "ocr", every=0))


@pytest.mark.parametrize("max_tokens", [0, -1])
def test_max_tokens_below_one_is_refused(model: palijet.Model, scene, max_tokens: int) -> None:
    with pytest.raises(InputError, match="give 1 or more"):
        model.predict(scene(1), "ocr", max_tokens=max_tokens)


def test_max_tokens_beyond_the_cache_is_refused(model: palijet.Model, scene) -> None:
    with pytest.raises(InputError, match="ask for fewer or load the model with a larger max_rows"):
        model.predict(scene(1), "ocr", max_tokens=100_000)


def test_max_tokens_cuts_an_answer_and_says_so(model: palijet.Model, scene) -> None:
    whole = model.predict(scene(1), "caption en")
    cut = model.predict(scene(1), "caption en", max_tokens=2)
    assert cut.stop_reason == "max_tokens"
    assert cut.tokens == whole.tokens[:2]
    assert cut.stop_logprob is None


def test_tokens_are_told_as_they_come(model: palijet.Model, scene) -> None:
    told: list[tuple[int, int, float]] = []
    results = model.predict(scene(1), ["caption en", "ocr"], on_token=lambda *token: told.append(token))
    for sequence, result in enumerate(results):
        mine = [(token, logprob) for number, token, logprob in told if number == sequence]
        assert mine == list(zip(result.tokens, result.logprobs, strict=True))


def test_what_a_callback_raises_comes_through(model: palijet.Model, scene) -> None:
    def fail(sequence: int, token: int, logprob: float) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        model.predict(scene(1), "caption en", on_token=fail)
    assert model.predict(scene(1), "caption en").text


def test_another_thread_ends_a_call_within_one_token(model: palijet.Model, scene) -> None:
    cancel = CancelToken()
    told: list[int] = []

    def on_token(sequence: int, token: int, logprob: float) -> None:
        told.append(token)
        if len(told) == 3:
            threading.Thread(target=cancel.cancel).run()

    result = model.predict_batch([(scene(1), "caption en")], on_token=on_token, cancel=cancel, ignore_stop=True)[0]
    assert result.stop_reason == "cancelled"
    assert list(result.tokens) == told[:3]


def test_threads_queue_and_results_never_mix(model: palijet.Model, scene) -> None:
    frames = [scene(seed) for seed in range(8)]
    alone = [model.predict(frame, "caption en").tokens for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            together = list(pool.map(lambda frame: model.predict(frame, "caption en").tokens, frames))
            assert together == alone


LONG_CALL = """
import sys, time, numpy as np, palijet
model = palijet.load(sys.argv[1], threads=1)
seen = []
def on_token(sequence, token, logprob):
    seen.append(token)
    if len(seen) == 1:
        print("decoding", flush=True)
    time.sleep(0.05)
try:
    model.predict_batch([(np.zeros((9, 9, 3), np.uint8), "caption en")], max_tokens=400, on_token=on_token, ignore_stop=True)
except KeyboardInterrupt:
    print("interrupted after", len(seen), flush=True)
    print(model.predict(np.zeros((9, 9, 3), np.uint8), "caption en").stop_reason, flush=True)
"""


def test_ctrl_c_ends_a_call_within_a_token_and_the_model_answers_on(demo_bundle: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", LONG_CALL, str(demo_bundle)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "decoding\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    interrupted, after = out.splitlines()
    assert 2 <= int(interrupted.split()[-1]) < 100
    assert after == "stop"


def test_onnxruntime_that_is_missing_or_none_is_named(
    demo_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALIJET_ONNXRUNTIME", str(tmp_path / "none.so"))
    with pytest.raises(EngineError, match="is not a file"):
        palijet.load(demo_bundle)
    (tmp_path / "none.so").write_text("no library")
    with pytest.raises(EngineError, match="onnxruntime cannot be opened"):
        palijet.load(demo_bundle)
    from palijet.runtime import _native, onnxruntime_library

    monkeypatch.setenv("PALIJET_ONNXRUNTIME", _native.__file__)  # a library, and another one
    with pytest.raises(EngineError, match="is not onnxruntime"):
        palijet.load(demo_bundle)
    monkeypatch.delenv("PALIJET_ONNXRUNTIME")
    monkeypatch.setattr(onnxruntime_library, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install 'palijet\[cpu\]'"):
        palijet.load(demo_bundle)


OLD_LIBRARY = """
#include <cstdint>
struct Base { const void* (*get)(uint32_t); const char* (*version)(); };
static Base base{[](uint32_t) -> const void* { return nullptr; }, []() { return "1.2.0"; }};
extern "C" const Base* OrtGetApiBase() { return &base; }
"""


def test_onnxruntime_that_is_too_old_is_named(
    demo_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a stand-in for the library that, as releases before 1.5 do, knows no API of this version."""
    source = tmp_path / "old.cpp"
    source.write_text(OLD_LIBRARY)
    subprocess.run([os.environ.get("CXX", "c++"), "-shared", "-fPIC", source, "-o", tmp_path / "old.so"], check=True)
    monkeypatch.setenv("PALIJET_ONNXRUNTIME", str(tmp_path / "old.so"))
    with pytest.raises(EngineError, match=r"onnxruntime 1\.2\.0 .* is too old"):
        palijet.load(demo_bundle)


def test_options_that_are_not_known_are_named(demo_bundle: Path) -> None:
    with pytest.raises(InputError, match="load has no option thread"):
        palijet.load(demo_bundle, thread=2)


@pytest.mark.slow
def test_memory_does_not_grow_after_the_first_hundred_frames(demo_bundle: Path, scene) -> None:
    import psutil

    model = palijet.load(demo_bundle, threads=1)
    frames = [scene(seed) for seed in range(20)]
    process = psutil.Process()
    resident = []
    for number in range(2000):
        model.predict(frames[number % len(frames)], ["caption en", "detect part"])
        if number in (100, 1999):
            resident.append(process.memory_info().rss)
    assert resident[1] - resident[0] < 2 << 20
