"""The engines that are measured: what each is called, what drives it, and what it loads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

GROUPS = {16: "16 bits", 8: "8 bits", 4: "4 bits"}


@dataclass(frozen=True)
class Engine:
    """One peer at one precision: a row of a table."""

    peer: str
    precision: str
    bits: int  # of most weights: the group
    model: str  # the recipe of what it loads; see models.RECIPES
    driver: str  # file in drivers/
    file: str = ""  # in the model's folder; none: the folder itself
    options: dict[str, Any] = field(default_factory=dict)  # of the driver's load

    @property
    def name(self) -> str:
        return f"{self.peer} {self.precision}"


ENGINES = (
    Engine("transformers", "bf16", 16, "checkpoint", "drive_transformers.py"),
    Engine("llama.cpp", "bf16", 16, "llama.cpp-bf16", "drive_llama_cpp.py", "model.gguf"),
    Engine("palijet", "fp16", 16, "palijet-fp16", "drive_palijet.py"),
    Engine("llama.cpp", "Q8_0", 8, "llama.cpp-q8_0", "drive_llama_cpp.py", "model.gguf"),
    Engine("openvino", "int8", 8, "openvino-int8", "drive_openvino.py"),
    Engine("onnxruntime-genai", "int8", 8, "onnxruntime-genai-int8", "drive_onnxruntime_genai.py"),
    Engine("ctranslate2", "int8", 8, "ctranslate2-int8", "drive_ctranslate2.py"),
    Engine("palijet", "int8", 8, "palijet-int8", "drive_palijet.py"),
    Engine("palijet", "int8-weight", 8, "palijet-int8-weight", "drive_palijet.py"),
    Engine("llama.cpp", "Q4_0", 4, "llama.cpp-q4_0", "drive_llama_cpp.py", "model.gguf"),
    Engine("openvino", "int4 sym g128", 4, "openvino-int4", "drive_openvino.py"),
    Engine("onnxruntime-genai", "int4 b32", 4, "onnxruntime-genai-int4", "drive_onnxruntime_genai.py"),
    Engine("palijet", "int4", 4, "palijet-int4", "drive_palijet.py"),
)

PEERS = tuple(dict.fromkeys(engine.peer for engine in ENGINES))
