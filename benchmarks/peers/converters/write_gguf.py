"""The text decoder of a PaliGemma checkpoint as a GGUF file in bfloat16, tensor by tensor.

python write_gguf.py CHECKPOINT OUT

Names and keys are those of llama.cpp's `gemma` architecture (convert_hf_to_gguf.py, GemmaModel): norms are float32 with 1
added, the LM head is the embeddings. The vocabulary is one of dummies: the benchmark gives ids, not text.
"""

import json
import re
import sys
from pathlib import Path

import gguf
import numpy as np
from shards import tensors, widened

_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")


def write_gguf(checkpoint: Path, out: Path) -> None:
    text = json.loads((checkpoint / "config.json").read_text())["text_config"]
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(out, "gemma")
    writer.add_name(checkpoint.name)
    writer.add_context_length(8192)
    writer.add_embedding_length(text["hidden_size"])
    writer.add_block_count(text["num_hidden_layers"])
    writer.add_feed_forward_length(text["intermediate_size"])
    writer.add_head_count(text["num_attention_heads"])
    writer.add_head_count_kv(text["num_key_value_heads"])
    writer.add_key_length(text["head_dim"])
    writer.add_value_length(text["head_dim"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    _add_vocabulary(writer, text["vocab_size"])
    for tensor in tensors(checkpoint):
        name = _name(tensor.name)
        if name is None:
            continue
        if "norm" in name:
            writer.add_tensor(name, widened(tensor) + 1)
        else:
            rows = tensor.data.reshape(tensor.shape[0], -1)  # bytes: numpy has no bfloat16
            writer.add_tensor(name, rows, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _name(stored: str) -> "str | None":
    """What llama.cpp calls a tensor; None: it is not the text decoder's."""
    if stored == "language_model.model.embed_tokens.weight":
        return "token_embd.weight"
    if stored == "language_model.model.norm.weight":
        return "output_norm.weight"
    layer = re.fullmatch(r"language_model\.model\.layers\.(\d+)\.(.+)\.weight", stored)
    return f"blk.{layer[1]}.{_LAYER[layer[2]]}.weight" if layer else None


def _add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    tokens = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [gguf.TokenType.CONTROL] * len(_SPECIAL) + [gguf.TokenType.BYTE] * 256
    tokens += [f"word{i}" for i in range(len(tokens), size)]
    kinds += [gguf.TokenType.NORMAL] * (size - len(kinds))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(np.zeros(size, np.float32).tolist())
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_unk_token_id(3)


if __name__ == "__main__":
    write_gguf(Path(sys.argv[1]), Path(sys.argv[2]))
