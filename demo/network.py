"""The demo's PaliGemma, and a lean forward pass over its weights for training on a CPU.

The weights live in transformers' `PaliGemmaForConditionalGeneration`, so that it loads what is saved. Its own
forward encodes an image anew for each prompt; here several prompts share one encoding, and the last layer
runs on text rows alone. `tests/test_demo_checkpoint.py` holds the two side by side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as fn
from transformers import GemmaConfig, PaliGemmaConfig, PaliGemmaForConditionalGeneration, SiglipVisionConfig

from .dataset import IMAGE_SIZE, PATCHES
from .vocabulary import BOS, EOS, IMAGE, PAD, build_tokenizer

PATCH = IMAGE_SIZE // PATCHES
ROWS = PATCHES * PATCHES  # image rows


def demo_config() -> PaliGemmaConfig:
    """A PaliGemma of some 5 million parameters."""
    tokenizer = build_tokenizer()
    vocab_size = -(-tokenizer.get_vocab_size() // 32) * 32
    vision = SiglipVisionConfig(
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    text = GemmaConfig(
        vocab_size=vocab_size,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=48,
        max_position_embeddings=512,
        pad_token_id=tokenizer.token_to_id(PAD),
        eos_token_id=tokenizer.token_to_id(EOS),
        bos_token_id=tokenizer.token_to_id(BOS),
    )
    return PaliGemmaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.token_to_id(IMAGE),
        projection_dim=text.hidden_size,
        hidden_size=text.hidden_size,
        vocab_size=vocab_size,
        pad_token_id=text.pad_token_id,
        eos_token_id=text.eos_token_id,
        bos_token_id=text.bos_token_id,
    )


def new_model(seed: int) -> PaliGemmaForConditionalGeneration:
    """The untrained model: float32, loc tokens laid out so that near places have near embeddings."""
    torch.manual_seed(seed)
    model = PaliGemmaForConditionalGeneration(demo_config())
    table = model.model.language_model.embed_tokens.weight
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear) and module is not model.lm_head:
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(table, std=table.shape[1] ** -0.5)
        first = build_tokenizer().get_vocab()["<loc0000>"]
        table[first : first + 1024] = _places(1024, table.shape[1])
        tower = model.model.vision_tower
        nn.init.normal_(tower.embeddings.position_embedding.weight, std=0.2)
    model.tie_weights()
    return model


def _places(count: int, width: int) -> Tensor:
    """Sines and cosines of a place between 0 and 1, each row of norm 1: [count, width]."""
    frequencies = 0.5 * (80 ** torch.linspace(0, 1, width // 2))
    angles = 2 * math.pi * torch.linspace(0, 1, count)[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1) / math.sqrt(width // 2)


def image_rows(model: PaliGemmaForConditionalGeneration, images: Tensor) -> Tensor:
    """images [n, S, S, 3] uint8 or float, 0 to 255, RGB -> rows [n, N, H] as the decoder takes them."""
    tower = model.model.vision_tower
    n = images.shape[0]
    pixels = (images.float() - 127.5) / 127.5
    # [n, N, 3 * PATCH * PATCH], as a convolution without overlap sees it.
    patches = pixels.view(n, PATCHES, PATCH, PATCHES, PATCH, 3).permute(0, 1, 3, 5, 2, 4).reshape(n, ROWS, -1)
    embedding = tower.embeddings.patch_embedding
    x = fn.linear(patches, embedding.weight.flatten(1), embedding.bias) + tower.embeddings.position_embedding.weight
    for layer in tower.encoder.layers:
        attention = layer.self_attn
        y = layer.layer_norm1(x)
        q, k, v = (
            project(y).view(n, ROWS, attention.num_heads, -1).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        y = fn.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, ROWS, -1)
        x = x + attention.out_proj(y)
        y = layer.mlp.fc1(layer.layer_norm2(x))
        x = x + layer.mlp.fc2(fn.gelu(y, approximate="tanh"))
    return model.model.multi_modal_projector.linear(tower.post_layernorm(x))


@dataclass(frozen=True)
class Prompts:
    """n prompts with their answers, padded on the right.

    ids: [n, L] int64, prompt then answer without its last token. prefix: [n] int64, tokens of the prompt.
    image: [n] int64, which image is asked about. target: [n, L] int64, the token that follows, else -1.
    """

    ids: Tensor
    prefix: Tensor
    image: Tensor
    target: Tensor


def text_states(
    model: PaliGemmaForConditionalGeneration, rows: Tensor, ids: Tensor, prefix: Tensor, image: Tensor
) -> Tensor:
    """The decoder's normed states of the text rows: rows [images, N, H], `Prompts` fields -> [n, L, H]."""
    decoder = model.model.language_model
    text = decoder.embed_tokens(ids)
    x = torch.cat([rows[image], text], dim=1)  # [n, T, H]
    n, length, _ = x.shape
    place = torch.arange(length)
    seen = torch.maximum(place, prefix[:, None] + ROWS - 1)  # [n, T], the last row that each row sees
    mask = (place <= seen[..., None])[:, None]
    cos, sin = decoder.rotary_emb(x, (place + 1)[None])
    cos, sin = cos[:, None], sin[:, None]
    for i, layer in enumerate(decoder.layers):
        attention = layer.self_attn
        y = layer.input_layernorm(x)
        k = _turn(attention.k_proj(y)[:, None], cos, sin)
        v = attention.v_proj(y)[:, None]
        if i == len(decoder.layers) - 1:
            x, y, mask, cos, sin = (
                x[:, ROWS:],
                y[:, ROWS:],
                mask[:, :, ROWS:],
                cos[:, :, ROWS:],
                sin[:, :, ROWS:],
            )
        q = _turn(attention.q_proj(y).view(n, y.shape[1], -1, attention.head_dim).transpose(1, 2), cos, sin)
        heads = q.shape[1]
        y = fn.scaled_dot_product_attention(q, k.expand(-1, heads, -1, -1), v.expand(-1, heads, -1, -1), attn_mask=mask)
        x = x + attention.o_proj(y.transpose(1, 2).reshape(n, y.shape[2], -1))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return decoder.norm(x)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: x [n, heads, T, D], cos and sin [1, 1, T, D]."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin
