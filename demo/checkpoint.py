"""Writes the trained model as transformers stores a PaliGemma: `save_checkpoint(model, folder)`."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch
from transformers import PaliGemmaForConditionalGeneration

from .dataset import IMAGE_SIZE
from .network import ROWS
from .vocabulary import write_tokenizer


def save_checkpoint(model: PaliGemmaForConditionalGeneration, folder: Path) -> None:
    """Write config, weights (bfloat16) and tokenizer into `folder`; each file appears whole."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        copy.deepcopy(model).to(torch.bfloat16).save_pretrained(scratch)
        write_tokenizer(Path(scratch), IMAGE_SIZE, ROWS)
        for file in Path(scratch).iterdir():
            file.chmod(0o644)  # safetensors writes for its owner alone
            file.replace(folder / file.name)
