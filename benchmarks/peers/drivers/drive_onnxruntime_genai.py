"""onnxruntime-genai's generator on the folder that its model builder wrote."""

import json
import time
from pathlib import Path

import numpy as np
import onnxruntime_genai as og
from clock import Clock
from logprobs import logprobs
from protocol import Answer, serve


class OnnxRuntimeGenai:
    def load(self, model: str, threads: int, rows: int, **_: object) -> Answer:
        folder = Path(model)
        self._rows = rows
        started = time.perf_counter()
        config = og.Config(model)
        config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
        self._model = og.Model(config)
        load_s = time.perf_counter() - started
        sizes = json.loads((folder / "weights.json").read_text())
        return {"load_s": load_s, **sizes, "versions": {"onnxruntime-genai": og.__version__}}

    def generate(self, prompt: list[int], count: int) -> Answer:
        generator = self._generator(len(prompt) + count)
        clock = Clock()
        generator.append_tokens(prompt)
        for _ in range(count):
            generator.generate_next_token()
            clock.tick()
        first, *later = clock.laps_ms()
        tokens = [int(token) for token in generator.get_sequence(0)[len(prompt) :]]
        return {"ttft_ms": first, "token_ms": later, "tokens": tokens}

    def score(self, prompt: list[int], targets: list[int]) -> Answer:
        generator = self._generator(len(prompt) + 1)
        generator.append_tokens(prompt)
        return {"logprobs": logprobs(np.asarray(generator.get_logits())[0, -1], targets)}

    def _generator(self, rows: int) -> og.Generator:
        """Greedy, past end tokens, with a cache of so many rows."""
        settings = og.GeneratorParams(self._model)
        settings.set_search_options(max_length=rows, min_length=rows, do_sample=False)
        return og.Generator(self._model, settings)


if __name__ == "__main__":
    model = OnnxRuntimeGenai()
    serve({"load": model.load, "generate": model.generate, "score": model.score})
