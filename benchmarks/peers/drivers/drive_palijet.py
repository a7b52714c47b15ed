"""PaliJet on the CPU. 256 of the rows are a picture's, as they always are; the vision encoder is timed apart."""

import time
from importlib.metadata import version

import numpy as np
from causal_decoder import CausalDecoder
from clock import Clock
from protocol import Answer, serve

import palijet
from palijet.runtime.backend import open_backend


class PaliJet:
    def load(self, model: str, threads: int, rows: int, drafts: bool = False, **_: object) -> Answer:
        """drafts: off for a rate per token; a repeated answer would be verified in one run."""
        self._threads = threads
        started = time.perf_counter()
        self._model = palijet.load(
            model, backend="cpu", threads=threads, max_rows=rows, max_batch=1, drafts=drafts, verify=False
        )
        load_s = time.perf_counter() - started
        bundle = self._model.bundle
        self._image_rows = bundle.manifest.vision.rows
        return {
            "load_s": load_s,
            "weights_bytes": bundle.total_bytes,
            "bytes_per_token": bundle.manifest.files["decoder.onnx.data"].bytes,  # one row of embeddings besides
            "versions": {"palijet": version("palijet"), "engine": self._model.engine_version},
        }

    def generate(self, prompt: "list[int]", count: int) -> Answer:
        frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        clock = Clock()
        (result,) = self._model.predict_batch(
            [(frame, self._text(prompt[self._image_rows + 1 :]))],  # <bos> is the row between
            max_tokens=count,
            ignore_stop=True,
            on_token=lambda *_: clock.tick(),
        )
        _, *later = clock.laps_ms()
        timings = result.timings
        return {
            "ttft_ms": timings.prefill,
            "token_ms": later,
            "tokens": None,  # of a picture, not of the prompt that the others are given: `score` has those
            "vision_ms": timings.preprocess + timings.vision,
        }

    def score(self, prompt: "list[int]", targets: "list[int]", count: int = 1) -> Answer:
        """The decoder graph itself over the prompt's own embeddings, causal, as the other engines see them."""
        bundle = self._model.bundle
        del self._model  # the graph is opened once more; two do not fit everywhere
        graph = open_backend(bundle, "cpu", threads=self._threads).decoder
        return CausalDecoder(bundle, graph).score(prompt, targets, count)

    def answer(self, frames: str, prompt: "list[int]", count: int) -> Answer:
        times, tokens = [], []
        for frame in np.load(frames):
            started = time.perf_counter()
            (result,) = self._model.predict_batch([(frame, self._text(prompt[1:]))], max_tokens=count, ignore_stop=True)
            times.append((time.perf_counter() - started) * 1e3)
            tokens.append(list(result.tokens))
        return {"answer_ms": times, "tokens": tokens}

    def _text(self, ids: "list[int]") -> str:
        """The prompt whose rows these are, behind <bos>, which PaliJet puts there itself."""
        words = self._model._tokenizer.decode(ids)
        if (encoded := self._model._tokenizer.encode(words)[1:]) != ids:
            raise ValueError(f"the prompt's ids {ids} are no text of this tokenizer, which reads {encoded}")
        return words


if __name__ == "__main__":
    model = PaliJet()
    serve({"load": model.load, "generate": model.generate, "score": model.score, "answer": model.answer})
