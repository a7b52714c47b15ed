"""OpenVINO's runtime on the stateful graph that optimum-intel wrote; logits of the last row alone, as openvino_genai has them."""

import time
from pathlib import Path

import numpy as np
import openvino as ov
from clock import Clock
from logprobs import logprobs
from openvino import opset13 as op
from protocol import Answer, serve


class OpenVino:
    def load(self, model: str, threads: int, **_: object) -> Answer:
        folder = Path(model)
        started = time.perf_counter()
        core = ov.Core()
        graph = core.read_model(folder / "openvino_model.xml")
        _keep_last_row(graph)
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        self._request = core.compile_model(graph, "CPU", settings).create_infer_request()
        load_s = time.perf_counter() - started
        weights = (folder / "openvino_model.bin").stat().st_size
        return {
            "load_s": load_s,
            "weights_bytes": weights,
            "bytes_per_token": weights,  # the embeddings are the LM head
            "versions": {"openvino": ov.__version__},
        }

    def generate(self, prompt: list[int], count: int) -> Answer:
        self._request.reset_state()
        clock, tokens = Clock(), [self._step(prompt, 0)]
        clock.tick()
        while len(tokens) < count:
            tokens.append(self._step(tokens[-1:], len(prompt) + len(tokens) - 1))
            clock.tick()
        first, *later = clock.laps_ms()
        return {"ttft_ms": first, "token_ms": later, "tokens": tokens}

    def score(self, prompt: list[int], targets: list[int]) -> Answer:
        self._request.reset_state()
        self._step(prompt, 0)
        return {"logprobs": logprobs(self._logits(), targets)}

    def _step(self, tokens: list[int], past: int) -> int:
        rows = len(tokens)
        feeds = {
            "input_ids": np.array([tokens], np.int64),
            "attention_mask": np.ones((1, past + rows), np.int64),
            "position_ids": np.arange(past, past + rows, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        self._request.infer(feeds, share_inputs=True)
        return int(self._logits().argmax())

    def _logits(self) -> np.ndarray:
        """[vocabulary]"""
        return self._request.get_tensor("logits").data[0, -1]


def _keep_last_row(graph: ov.Model) -> None:
    """Cut all rows but the last before the LM head, as openvino_genai's apply_slice_before_matmul_transformation does."""
    node = graph.output("logits").get_node().input_value(0).get_node()
    while node.get_type_name() != "MatMul":  # a Convert may follow it
        node = node.input_value(0).get_node()
    one, minus_one, minus_two = (op.constant(np.array([value], np.int64)) for value in (1, -1, -2))
    rows = op.slice(
        node.input_value(0), minus_one, minus_two, minus_one, one
    )  # from the last row on, backwards, along axis 1
    node.input(0).replace_source_output(rows.output(0))
    graph.validate_nodes_and_infer_types()


if __name__ == "__main__":
    model = OpenVino()
    serve({"load": model.load, "generate": model.generate, "score": model.score})
