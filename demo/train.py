"""Trains the demo's PaliGemma on drawn scenes: `python -m palijet.demo.train dense` and then `... joint`.

dense: the vision tower alone learns to answer, at each patch, what is there (shape, colour, corners, order,
counts, serial number), by heads that score the decoder's own token embeddings and are thrown away afterwards.
joint: tower and decoder learn to answer prompts, several to an image; the dense heads go on, weighing less.

State lies in `.training/` (not in git); every run goes on from it; `--save` writes the checkpoint. One JSON
line per report goes to `training.log.jsonl`. Where the CPU is shared, set OMP_WAIT_POLICY=PASSIVE.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as fn
from transformers import PaliGemmaForConditionalGeneration

from .checkpoint import save_checkpoint
from .dataset import FIRST_TRAINING_SEED, Scenes, chunk_paths, draw_scenes, join, read_chunk
from .network import Prompts, image_rows, new_model, text_states
from .targets import GRID, GRID_OF_TOKEN, HEADS, KINDS, LOC_IDS, Kind, dense_answers, draw_prompts

SEED = 3
HELD_OUT = range(FIRST_TRAINING_SEED - 200, FIRST_TRAINING_SEED)
STATE = "state.pt"
LOG = Path(__file__).with_name("training.log.jsonl")

_BLUR = 0.8
"""Standard deviation, in steps of the grid, of the soft target about the right loc token."""


class DenseHeads(nn.Module):  # type: ignore[misc]
    """One matrix per head over the image rows; what comes out is scored by the embeddings of its tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, width * len(HEADS), bias=False)

    def forward(self, rows: Tensor, answers: Tensor, table: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """rows [n, N, H], answers [n, N, heads] (-1: unasked), table [V, H] -> loss, share right per head."""
        width = rows.shape[-1]
        rows, answers = rows.reshape(-1, width), answers.reshape(-1, len(HEADS)).long()
        rows = rows * torch.rsqrt(rows.square().mean(-1, keepdim=True) + 1e-6)
        total, right = rows.new_zeros(()), {}
        weights = self.project.weight.view(len(HEADS), width, width)
        for i, (name, ids) in enumerate(HEADS.items()):
            asked = answers[:, i] >= 0
            logits = rows[asked] @ (table[ids] @ weights[i]).T
            answer = answers[asked, i]
            if not len(answer):
                continue
            if ids is LOC_IDS:
                loss = -(fn.log_softmax(logits, -1) * SOFT_PLACES[answer]).sum(-1).mean()
                right[name] = ((logits.detach().argmax(-1) - answer).abs() <= 2).float().mean()
            else:
                loss = fn.cross_entropy(logits, answer)
                right[name] = (logits.detach().argmax(-1) == answer).float().mean()
            total = total + loss
        return total / len(HEADS), right


def _soft_places() -> Tensor:
    place = torch.arange(GRID).float()
    return torch.softmax(-(place[:, None] - place[None]).square() / (2 * _BLUR**2), dim=-1)


SOFT_PLACES = _soft_places()


def answer_loss(table: Tensor, states: Tensor, prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Cross entropy of the answers, mean over tokens, and which were right: [m] bool (loc tokens: within 2).

    table: [V, H], states: [n, L, H].
    """
    asked = prompts.target >= 0
    target = prompts.target[asked]
    scores = fn.log_softmax(states[asked] @ table.T, dim=-1)
    place = GRID_OF_TOKEN[target]
    loss = -scores.gather(1, target[:, None])[:, 0]
    at_place = place >= 0
    if at_place.any():
        soft = -(scores[at_place][:, LOC_IDS] * SOFT_PLACES[place[at_place]]).sum(-1)
        loss = loss.masked_scatter(at_place, soft)
    best = GRID_OF_TOKEN[scores.detach().argmax(-1)]
    near = (best >= 0) & ((best - place).abs() <= 2)
    return loss.mean(), torch.where(at_place, near, scores.detach().argmax(-1) == target)


def make_optimizers(modules: nn.ModuleDict) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers (the tower's apart), AdamW for embeddings, norms and biases."""
    tower: list[Tensor] = []
    decoder: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in modules.named_parameters():
        if parameter.ndim != 2 or "embed" in name or "heads" in name:
            others.append(parameter)
        else:
            (tower if "vision_tower" in name else decoder).append(parameter)
    muon = {"weight_decay": 0.02, "adjust_lr_fn": "match_rms_adamw"}
    return [
        torch.optim.Muon(tower, lr=0.0, **muon),
        torch.optim.Muon(decoder, lr=0.0, **muon),
        torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0),
    ]


class Training:
    """Model, heads, optimizers and how far they are; kept in `folder` between runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = new_model(SEED)
        self.table = self.model.model.language_model.embed_tokens.weight
        self.heads = DenseHeads(self.table.shape[1])
        self.modules = nn.ModuleDict({"model": self.model, "heads": self.heads})
        self.optimizers = make_optimizers(self.modules)
        self.progress: dict[str, Any] = {"dense": 0, "joint": 0, "images": 0, "seconds": 0.0, "best": 0.0}
        if (folder / STATE).exists():
            state = torch.load(folder / STATE, weights_only=True)
            self.modules.load_state_dict(state["modules"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.progress |= state["progress"]

    def save(self) -> None:
        """Keep the state, whole or not at all."""
        state = {
            "modules": self.modules.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": self.progress,
        }
        partial = self.folder / (STATE + ".partial")
        torch.save(state, partial)
        partial.rename(self.folder / STATE)

    def step(self, loss: Tensor, rates: tuple[float, float, float]) -> None:
        """One update of the weights; rates: learning rates of tower, decoder and the rest."""
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
        for optimizer, rate in zip(self.optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def light_up(images: Tensor, generator: torch.Generator) -> Tensor:
    """Vary brightness and balance of [n, S, S, 3] uint8 images, so that a scene is new each time round."""
    n = images.shape[0]
    gain = 1 + 0.24 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5)
    balance = 1 + 0.06 * (torch.rand(n, 1, 1, 3, generator=generator) - 0.5)
    return (images * (gain * balance)).clamp(0, 255)


def run(phase: str, options: argparse.Namespace) -> None:
    """Train one phase for `options.minutes`."""
    training = Training(options.folder)
    scenes = join([read_chunk(path) for path in chunk_paths(options.folder / "scenes")])
    answers = dense_answers(scenes)
    held_out = draw_scenes(HELD_OUT)
    progress = training.progress
    rng = np.random.default_rng([SEED, progress["images"]])
    generator = torch.Generator().manual_seed(SEED + progress["images"])
    encode = torch.compile(image_rows, dynamic=False) if options.compile else image_rows
    decode = torch.compile(text_states, dynamic=False) if options.compile else text_states
    order = np.empty(0, np.int64)
    sums: dict[str, list[float]] = {}
    first = progress[phase]
    started = reported = time.monotonic()
    while (elapsed := time.monotonic() - started) < 60 * options.minutes:
        if len(order) < options.images:
            order = rng.permutation(len(scenes))
        indices, order = order[: options.images], order[options.images :]
        rows = encode(training.model, light_up(torch.from_numpy(scenes.images[indices]), generator))
        loss, right = training.heads(rows, torch.from_numpy(answers[indices]), training.table)
        sums.setdefault("dense_loss", []).append(float(loss.detach()))
        for name, share in right.items():
            sums.setdefault(name, []).append(float(share))
        if phase == "joint":
            loss = options.dense_weight * loss
            for name, kind in KINDS.items():
                prompts = draw_prompts(rng, scenes, indices[: options.asked], kind)
                states = decode(training.model, rows, prompts.ids, prompts.prefix, prompts.image)
                part, good = answer_loss(training.table, states, prompts)
                loss = loss + part
                sums.setdefault(f"{name}_loss", []).append(float(part.detach()))
                sums.setdefault(f"{name}_tokens", []).append(float(good.float().mean()))
        rate = options.rate * _schedule(progress[phase] - first, elapsed / 60, options)
        training.step(loss, (rate * options.tower_rate, rate, rate))
        progress[phase] += 1
        progress["images"] += len(indices)
        now = time.monotonic()
        if now - reported > 60 * options.report or now - started > 60 * options.minutes:
            progress["seconds"] += round(now - reported, 1)
            line = {"phase": phase, "step": progress[phase], **progress}
            line |= {name: round(float(np.mean(values)), 4) for name, values in sums.items()}
            shares = held_out_shares(training.model, held_out) if phase == "joint" else {}
            line |= shares
            with options.log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            mean = float(np.mean(list(shares.values()))) if shares else 0.0
            if options.save and mean >= progress["best"]:
                progress["best"] = mean
                save_checkpoint(training.model, options.save)
            training.save()
            sums.clear()
            reported = time.monotonic()


def _schedule(step: int, minute: float, options: argparse.Namespace) -> float:
    """Share of the full rate: a short rise, level, down to almost 0 over the last `cooldown` minutes."""
    rise = min(1.0, (step + 1) / options.rise)
    left = (options.minutes - minute) / max(options.cooldown, 1e-9)
    return rise * min(1.0, max(left, 0.01))


@torch.no_grad()  # type: ignore[untyped-decorator]
def held_out_shares(model: PaliGemmaForConditionalGeneration, scenes: Scenes) -> dict[str, float]:
    """Per task, the share of answers of which every token is right when the tokens before it are given."""
    rng = np.random.default_rng(5)
    rows = image_rows(model, torch.from_numpy(scenes.images))
    result = {}
    for kind in KINDS.values():
        for task in kind.tasks:
            prompts = draw_prompts(rng, scenes, np.arange(len(scenes)), Kind((task,), (1.0,), 1, kind.length))
            states = text_states(model, rows, prompts.ids, prompts.prefix, prompts.image)
            _, good = answer_loss(model.model.language_model.embed_tokens.weight, states, prompts)
            wrong = torch.zeros_like(prompts.target, dtype=torch.bool)
            wrong[prompts.target >= 0] = ~good
            result[f"held_out_{task}"] = round(float((~wrong.any(dim=1)).float().mean()), 4)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phase", choices=("dense", "joint"))
    parser.add_argument("--folder", type=Path, default=Path(".training"))
    parser.add_argument("--save", type=Path, help="write the checkpoint here at each report that is the best")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--cooldown", type=float, default=0, help="minutes at the end in which the rate falls")
    parser.add_argument("--rise", type=int, default=100)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--tower-rate", type=float, default=1, help="the tower's rate as a share of the rate")
    parser.add_argument("--images", type=int, default=96, help="scenes per step")
    parser.add_argument("--asked", type=int, default=28, help="of these, how many are asked about (joint)")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the passes: a fifth faster, minutes to start",
    )
    parser.add_argument("--dense-weight", type=float, default=0.5)
    parser.add_argument("--log", type=Path, default=LOG)
    parser.add_argument("--report", type=float, default=3, help="minutes between reports and saves")
    options = parser.parse_args()
    torch.set_num_threads(2)
    run(options.phase, options)


if __name__ == "__main__":
    main()
