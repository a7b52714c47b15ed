"""CTranslate2's generator; a callback per token tells the times."""

import json
import time
from pathlib import Path

import ctranslate2
import numpy as np
from clock import Clock
from logprobs import logprobs
from protocol import Answer, serve


class CTranslate2:
    def load(self, model: str, threads: int, **_: object) -> Answer:
        started = time.perf_counter()
        self._generator = ctranslate2.Generator(model, device="cpu", intra_threads=threads, inter_threads=1)
        load_s = time.perf_counter() - started
        self._words = json.loads((Path(model) / "vocabulary.json").read_text())
        weights = (Path(model) / "model.bin").stat().st_size
        return {
            "load_s": load_s,
            "weights_bytes": weights,
            "bytes_per_token": weights,  # the embeddings are the LM head
            "versions": {"ctranslate2": ctranslate2.__version__, "computes": self._generator.compute_type},
        }

    def generate(self, prompt: list[int], count: int) -> Answer:
        clock, tokens = Clock(), []

        def arrived(step: ctranslate2.GenerationStepResult) -> bool:
            clock.tick()
            tokens.append(step.token_id)
            return False  # go on

        self._generator.generate_batch(
            [[self._words[token] for token in prompt]],
            max_length=count,
            min_length=count,
            sampling_topk=1,
            include_prompt_in_result=False,
            callback=arrived,
        )
        first, *later = clock.laps_ms()
        return {"ttft_ms": first, "token_ms": later, "tokens": tokens}

    def score(self, prompt: list[int], targets: list[int]) -> Answer:
        logits = self._generator.forward_batch([prompt])  # [1, rows, vocabulary]: of every row, there is no other way
        return {"logprobs": logprobs(np.array(logits)[0, -1], targets)}


if __name__ == "__main__":
    model = CTranslate2()
    serve({"load": model.load, "generate": model.generate, "score": model.score})
