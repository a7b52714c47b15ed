"""A GGUF file in bfloat16 quantized by llama.cpp itself, as llama-quantize does.

python quantize_gguf.py MODEL.gguf OUT Q8_0|Q4_0
"""

import sys
from pathlib import Path

import llama_cpp


def quantize(model: str, out: str, kind: str) -> int:
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    settings.nthread = 2
    return int(llama_cpp.llama_model_quantize(model.encode(), out.encode(), settings))


if __name__ == "__main__":
    sys.exit(quantize(*sys.argv[1:4]))
