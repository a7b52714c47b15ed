"""Types of the native core; what it does is told in cpp_ext/."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

TENSORRT_MAJOR: int | None
"""Of the headers that the core was built with; None: it has no TensorRtEngine and no tensorrt_version."""

class CudaDevice:
    def __init__(self, *, runtime: str = "", driver: str = "") -> None: ...
    @property
    def compute_capability(self) -> str: ...
    @property
    def runtime_version(self) -> str: ...
    @property
    def kernel_note(self) -> str: ...

class Frame:
    def __init__(self, image: Any, format: str = "bgr", device: CudaDevice | None = None) -> None: ...
    @property
    def size(self) -> tuple[int, int]: ...

class Engine:
    @property
    def inputs(self) -> list[tuple[str, str, tuple[int, ...]]]: ...
    @property
    def outputs(self) -> list[tuple[str, str, tuple[int, ...]]]: ...
    def run(
        self, feeds: dict[str, NDArray[Any]], output_shapes: dict[str, Sequence[int]]
    ) -> dict[str, NDArray[Any]]: ...

class OnnxEngine(Engine):
    def __init__(
        self, graph: str, *, library: str, threads: int = 0, spin: bool = False, device: CudaDevice | None = None
    ) -> None: ...
    @property
    def version(self) -> str: ...

class TensorRtEngine(Engine):
    def __init__(self, plan: str, device: CudaDevice, *, library: str = "", cuda_graphs: bool = True) -> None: ...
    @property
    def version(self) -> str: ...
    @property
    def graph_note(self) -> str: ...
    @property
    def replays(self) -> int: ...

def tensorrt_version(library: str = "") -> str: ...

HAS_FAST_KERNELS: bool

class DecoderArithmetic:
    def __init__(
        self,
        *,
        hidden: int,
        intermediate: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        vocab: int,
        is_fp16: bool,
        epsilon: float,
        post_epsilon: float | None,
        rope_base: float,
        attention_scale: float,
        attention_cap: float | None,
        logit_cap: float | None,
        exact_gelu: bool,
        windows: Sequence[int | None],
    ) -> None: ...

class StoredTensor:
    def __init__(self, dtype: str = "", shape: Sequence[int] = (), offset: int = 0) -> None: ...

class StoredLinear:
    def __init__(
        self, weight: StoredTensor, *, scale: StoredTensor = ..., block: int = 0, input_scale: float = 0.0
    ) -> None: ...

class CpuEngine(Engine):
    def __init__(
        self,
        path: str,
        arithmetic: DecoderArithmetic,
        *,
        linears: Mapping[str, StoredLinear],
        norms: Mapping[str, StoredTensor],
        threads: int = 0,
        kernels: str = "fast",
    ) -> None: ...
    @property
    def kernels(self) -> str: ...

class EmbeddingTable:
    def __init__(self, path: str, *, rows: int, width: int, dtype: str, scale: float) -> None: ...
    def gather(self, token: int) -> NDArray[np.float32]: ...

class CancelToken:
    def __init__(self) -> None: ...
    def cancel(self) -> None: ...
    @property
    def cancelled(self) -> bool: ...

class Generation:
    @property
    def tokens(self) -> list[int]: ...
    @property
    def logprobs(self) -> list[float]: ...
    @property
    def stop_reason(self) -> str: ...
    @property
    def stop_logprob(self) -> float | None: ...
    @property
    def calls(self) -> int: ...
    @property
    def drafted(self) -> int: ...
    @property
    def accepted(self) -> int: ...

class Drafter:
    def __init__(
        self,
        *,
        first_location: int = -1,
        locations: int = 0,
        first_segment: int = -1,
        segments: int = 0,
        labels: Sequence[Sequence[int]] = (),
        adaptive: bool = True,
    ) -> None: ...

class EncodedImages: ...

class Timings:
    @property
    def preprocess_ms(self) -> float: ...
    @property
    def vision_ms(self) -> float: ...
    @property
    def prefill_ms(self) -> float: ...
    @property
    def decode_ms(self) -> float: ...
    @property
    def total_ms(self) -> float: ...
    @property
    def decoder_calls(self) -> int: ...

class Pipeline:
    def __init__(
        self,
        vision: Engine,
        decoder: Engine,
        embeddings: EmbeddingTable,
        *,
        image_size: int,
        max_rows: int,
        max_batch: int,
    ) -> None: ...
    @property
    def image_rows(self) -> int: ...
    @property
    def max_rows(self) -> int: ...
    def encode(
        self, images: Sequence[Frame], *, cancel: CancelToken | None = None
    ) -> tuple[EncodedImages | None, Timings]: ...
    def generate(
        self,
        images: Sequence[Frame] | EncodedImages | None,
        prompts: Sequence[Sequence[int]],
        image_of_prompt: Sequence[int],
        *,
        max_tokens: int,
        stop_tokens: Sequence[int],
        drafters: Sequence[Drafter | None] = (),
        on_token: Callable[[int, int, float], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> tuple[list[Generation], Timings]: ...
    def score(
        self,
        images: EncodedImages | None,
        image: int,
        prompt: Sequence[int],
        choices: Sequence[Sequence[int]],
        *,
        cancel: CancelToken | None = None,
    ) -> tuple[list[list[float]], Timings]: ...

class Preprocessor:
    def __init__(self, size: int) -> None: ...
    def run(self, frame: Frame, out: NDArray[np.float32]) -> None: ...

def preprocess(frame: Frame, size: int) -> NDArray[np.float32]: ...
def resize(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]: ...
