"""Random tiny PaliGemma checkpoints, made and answered by transformers: what the tests compare with.

The weights are scaled so that greedy answers vary from token to token and from prompt to prompt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

VOCABULARY = 1536
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")
IMAGE_TOKEN = len(SPECIAL) + 1024 + 128  # follows the loc and seg tokens


@dataclass(frozen=True)
class Shape:
    """The shape of a tiny checkpoint; `text` and `vision` go to transformers' configs as they are."""

    name: str
    family: str = "gemma"  # or "gemma2"
    patches: int = 4  # a side, so patches ** 2 image rows
    store: str = "float32"
    shard_bytes: int | None = None
    seed: int = 0
    text: dict[str, Any] = field(default_factory=dict)
    vision: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def _shapes() -> list[Shape]:
    shapes = []
    for family in ("gemma", "gemma2"):
        for kv_heads in (1, 2, 4):
            for store in ("float32", "bfloat16"):
                shapes.append(
                    Shape(
                        f"{family}-kv{kv_heads}-{store}",
                        family,
                        patches=2 + kv_heads,
                        store=store,
                        shard_bytes=200_000 if store == "bfloat16" else None,
                        seed=kv_heads,
                        text={"num_key_value_heads": kv_heads},
                    )
                )
        shapes += [
            Shape(f"{family}-wide-heads", family, seed=5, text={"head_dim": 40, "num_key_value_heads": 2}),
            Shape(f"{family}-narrow-heads", family, seed=6, text={"head_dim": 8, "num_key_value_heads": 1}),
            Shape(f"{family}-4-patches", family, patches=2, seed=7),
            Shape(f"{family}-1024-patches", family, patches=32, seed=8, text={"num_hidden_layers": 2}),
            Shape(f"{family}-sharded", family, shard_bytes=100_000, seed=9),
        ]
    shapes += [
        Shape("gemma-float16", store="float16", shard_bytes=150_000, seed=16),
        Shape("gemma2-window-8", "gemma2", seed=10, text={"sliding_window": 8}),
        Shape("gemma2-window-20-bfloat16", "gemma2", store="bfloat16", seed=11, text={"sliding_window": 20}),
        Shape("gemma2-no-caps", "gemma2", seed=12, text=dict.fromkeys(
            ("attn_logit_softcapping", "final_logit_softcapping"))),
        Shape("gemma2-tight-caps", "gemma2", seed=13, text={
            "attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0}),
        Shape("gemma2-query-scalar", "gemma2", seed=14, text={"query_pre_attn_scalar": 7}),
        Shape("gemma-other-theta", seed=15, text={"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
    ]  # fmt: skip
    return shapes


SHAPES = _shapes()
"""At least 24 that differ in family, heads, sizes, store, sharding, windows and soft caps."""


def shape(name: str) -> Shape:
    return next(candidate for candidate in SHAPES if candidate.name == name)


def make_checkpoint(shape: Shape, folder: Path) -> Path:
    """Save a checkpoint of this shape by transformers, with a tokenizer, into `folder`."""
    import torch
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

    torch.manual_seed(shape.seed)
    config = PaliGemmaConfig(
        text_config=_text_config(shape),
        vision_config=_vision_config(shape),
        image_token_index=IMAGE_TOKEN,
        projection_dim=64,
        hidden_size=64,
        vocab_size=VOCABULARY,
    )
    model = PaliGemmaForConditionalGeneration(config)
    model.generation_config.eos_token_id = 1
    enliven(model)
    model = model.to(getattr(torch, shape.store))
    save = {} if shape.shard_bytes is None else {"max_shard_size": shape.shard_bytes}
    model.save_pretrained(folder, **save)
    save_tokenizer(folder)
    return folder


def _text_config(shape: Shape) -> dict[str, Any]:
    common = {
        "model_type": shape.family,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "vocab_size": VOCABULARY,
        "pad_token_id": 0,
        "max_position_embeddings": 2048,
    }
    if shape.family == "gemma2":
        common |= {"query_pre_attn_scalar": 16, "sliding_window": 4096}
    return common | shape.text


def _vision_config(shape: Shape) -> dict[str, Any]:
    common = {
        "model_type": "siglip_vision_model",
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 8 * shape.patches,
        "patch_size": 8,
        "vision_use_head": False,
    }
    return common | shape.vision


def enliven(model: Any) -> None:
    """Scale random weights up so that what is said depends on image, prompt and position, with clear margins."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "position_embedding" in name:
                parameter.normal_(0, 0.3)
            elif "norm" in name and "language_model" in name:
                parameter.normal_(0, 0.2)
            elif "norm" in name:
                parameter.normal_(1, 0.2)
            elif "embed_tokens" in name or "lm_head" in name:
                parameter.normal_(0, 0.05)  # small beside what the layers add, or every token repeats itself
            elif parameter.dim() >= 2:
                fan_in = parameter[0].numel()
                parameter.normal_(0, 2.5 / fan_in**0.5)


def save_tokenizer(folder: Path) -> None:
    """A tokenizer laid out as PaliGemma's: special, loc and seg tokens, `<image>`, then a character-level vocabulary."""
    pieces = ["▁", "\n", *(chr(code) for code in range(33, 127)), *"äéß道中文"]
    vocabulary: dict[str, int] = {}
    added = [
        *SPECIAL,
        *(f"<loc{i:04}>" for i in range(1024)),
        *(f"<seg{i:03}>" for i in range(128)),
        "<image>",
    ]
    for token in [*added, *pieces]:
        vocabulary.setdefault(token, len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("\n"), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    tokenizer.add_tokens([AddedToken(f"<loc{i:04}>", normalized=False) for i in range(1024)])
    tokenizer.add_tokens([AddedToken(f"<seg{i:03}>", normalized=False) for i in range(128)])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in (*SPECIAL, "<image>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "additional_special_tokens": ["<image>"],
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@dataclass(frozen=True)
class Answer:
    """What transformers says: token ids up to and without the end token, and each one's log-probability."""

    tokens: list[int]
    logprobs: list[float]
    margin: float  # the least lead of a chosen token over the next best, in logits


class Oracle:
    """A checkpoint opened by transformers, in float32."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import PaliGemmaForConditionalGeneration

        self._torch = torch
        self.model = PaliGemmaForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        config = self.model.config
        self.image_size = config.vision_config.image_size
        self.rows = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
        self.image_token = config.image_token_id

    def answer(self, pixels: np.ndarray, prompt_ids: list[int], max_tokens: int = 64) -> Answer:
        """Greedy decoding of one image, pixels [3, S, S] float32, and one prompt's ids (with <bos> and newline)."""
        out, tokens, logprobs = self._generate(pixels, prompt_ids, max_tokens)
        best = [logits[0].topk(2).values for logits in out.logits]
        margin = min(float(first - second) for first, second in best)
        if tokens and tokens[-1] == 1:
            tokens, logprobs = tokens[:-1], logprobs[:-1]
        return Answer(tokens, logprobs, margin)

    def score(self, pixels: np.ndarray, prompt_ids: list[int], answer: list[int]) -> list[float]:
        """The log-probability of each token of `answer`, were it what the model says."""
        start = self.rows + len(prompt_ids)
        _, tokens, logprobs = self._generate(
            pixels, prompt_ids, len(answer), prefix_allowed_tokens_fn=lambda _, said: [answer[len(said) - start]]
        )
        assert tokens == answer
        return logprobs

    def _generate(
        self, pixels: np.ndarray, prompt_ids: list[int], max_tokens: int, **options: Any
    ) -> tuple[Any, list[int], list[float]]:
        """What transformers returns, the tokens, and the log-probability of each."""
        torch = self._torch
        ids = torch.tensor([[self.image_token] * self.rows + prompt_ids])
        with torch.no_grad():
            out = self.model.generate(
                input_ids=ids,
                pixel_values=torch.from_numpy(pixels)[None],
                attention_mask=torch.ones_like(ids),
                token_type_ids=torch.zeros_like(ids),  # without them the prefix is run causally
                max_new_tokens=max_tokens,
                do_sample=False,
                return_dict_in_generate=True,
                output_logits=True,
                **options,
            )
        tokens = out.sequences[0, ids.shape[1] :].tolist()
        logprobs = [
            float(torch.log_softmax(logits[0], -1)[token]) for logits, token in zip(out.logits, tokens, strict=True)
        ]
        return out, tokens, logprobs


def random_pixels(seed: int, image_size: int) -> np.ndarray:
    """[3, S, S] float32 within [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (3, image_size, image_size)).astype(np.float32)


def random_prompt(seed: int, length: int) -> list[int]:
    """Ids of a prompt: <bos>, characters, newline."""
    rng = np.random.default_rng([7, seed])
    first = IMAGE_TOKEN + 1
    return [2, *rng.integers(first + 2, first + 90, length).tolist(), first + 1]
