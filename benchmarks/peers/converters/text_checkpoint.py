"""The text decoder of a PaliGemma checkpoint as a checkpoint of its own: GemmaForCausalLM, for converters that know nothing else.

python text_checkpoint.py CHECKPOINT OUT
"""

import json
import struct
import sys
from pathlib import Path

from shards import tensors

_PREFIX = "language_model."


def write_text_checkpoint(checkpoint: Path, out: Path) -> None:
    out.mkdir(parents=True)
    text = json.loads((checkpoint / "config.json").read_text())["text_config"]
    config = {
        **text,
        "architectures": ["GemmaForCausalLM"],
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",  # transformers 4's name for it
        "rope_theta": 10000.0,  # what transformers 5 takes anyway; 4 lets exporters down without
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    (out / "config.json").write_text(json.dumps(config, indent=2))
    (out / "tokenizer.json").write_bytes((checkpoint / "tokenizer.json").read_bytes())
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192, **names}
    (out / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=2))
    kept = [tensor for tensor in tensors(checkpoint) if tensor.name.startswith(_PREFIX)]
    header, offset = {}, 0
    for tensor in kept:
        end = offset + tensor.data.nbytes
        header[tensor.name[len(_PREFIX) :]] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [offset, end],
        }
        offset = end
    header["__metadata__"] = {"format": "pt"}
    packed = json.dumps(header).encode()
    packed += b" " * (-len(packed) % 8)
    with (out / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(packed)) + packed)
        for tensor in kept:
            tensor.data.tofile(file)


if __name__ == "__main__":
    write_text_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]))
