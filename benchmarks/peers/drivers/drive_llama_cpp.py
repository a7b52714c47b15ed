"""llama.cpp through llama-cpp-python's low-level functions: a GGUF file, memory-mapped as it is by default."""

import ctypes
import time
from importlib.metadata import version
from pathlib import Path

import llama_cpp
import numpy as np
from clock import Clock
from logprobs import logprobs
from protocol import Answer, serve


class Llama:
    def load(self, model: str, threads: int, rows: int, **_: object) -> Answer:
        started = time.perf_counter()
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(model.encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise OSError(f"{model} cannot be loaded")
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = rows
        settings.n_threads = settings.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, settings)
        if not self._context:
            raise OSError(f"no context of {rows} rows can be made")
        load_s = time.perf_counter() - started
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        return {
            "load_s": load_s,
            "weights_bytes": Path(model).stat().st_size,
            "bytes_per_token": llama_cpp.llama_model_size(self._model),  # all tensors: the embeddings are the LM head
            "versions": {"llama-cpp-python": version("llama-cpp-python")},
        }

    def generate(self, prompt: "list[int]", count: int) -> Answer:
        clock, tokens = Clock(), [self._decode(prompt).argmax()]
        clock.tick()
        while len(tokens) < count:
            tokens.append(self._decode([tokens[-1]]).argmax())
            clock.tick()
        first, *later = clock.laps_ms()
        self._forget()
        return {"ttft_ms": first, "token_ms": later, "tokens": [int(token) for token in tokens]}

    def score(self, prompt: "list[int]", targets: "list[int]") -> Answer:
        answer = {"logprobs": logprobs(self._decode(prompt), targets)}
        self._forget()
        return answer

    def _decode(self, tokens: "list[int]") -> np.ndarray:
        """Logits [vocabulary] of the last row, in llama.cpp's own memory."""
        ids = (llama_cpp.llama_token * len(tokens))(*map(int, tokens))
        code = llama_cpp.llama_decode(self._context, llama_cpp.llama_batch_get_one(ids, len(tokens)))
        if code:
            raise RuntimeError(f"llama_decode gave {code}")
        pointer = llama_cpp.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (self._vocabulary,))

    def _forget(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)


if __name__ == "__main__":
    llama = Llama()
    serve({"load": llama.load, "generate": llama.generate, "score": llama.score})
