"""What the engines load: recipes that make it from one checkpoint, each run once by the environment that has the converter."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..shaped_checkpoint import VOCABULARY, write_checkpoint
from .child import run_logged
from .environments import PARENT, Environments

_SCRIPTS = Path(__file__).parent / "converters"
_ROOT = Path(__file__).parents[2]
_BRANCH_GAIN = 16.0  # so that tokens tell engines apart: see write_checkpoint
CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class Recipe:
    """How a model is made. In `command`, which follows the Python, "{out}" is where, and "{NAME}" another recipe's result."""

    environment: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    peak_bytes_per_weight: float  # of memory while it is made, per weight of the checkpoint; as it was seen at 3B


def _script(name: str) -> str:
    return str(_SCRIPTS / name)


def _quantized_gguf(kind: str) -> Recipe:
    command = (_script("quantize_gguf.py"), "{llama.cpp-bf16}/model.gguf", "{out}/model.gguf", kind)
    return Recipe("llama.cpp", command, ("llama.cpp-bf16",), 1.0)


def _openvino(*compression: str) -> Recipe:
    export = ("-m", "optimum.commands.optimum_cli", "export", "openvino", "--model", "{text}", "--task")
    kind = ("text-generation-with-past", *compression, "--disable-convert-tokenizer", "{out}")
    return Recipe("openvino-convert", export + kind, ("text",), 3.4)


def _onnxruntime_genai(precision: str, *options: str, peak: float) -> Recipe:
    command = (_script("build_onnxruntime_genai.py"), "{text}", "{out}", precision, *options)
    return Recipe("onnxruntime-genai-convert", command, ("text",), peak)


def _palijet(precision: str) -> Recipe:
    return Recipe(PARENT, (_script("export_palijet.py"), "{checkpoint}", "{out}", precision), (CHECKPOINT,), 3.0)


RECIPES = {
    "text": Recipe(PARENT, (_script("text_checkpoint.py"), "{checkpoint}", "{out}"), (CHECKPOINT,), 0.5),
    "llama.cpp-bf16": Recipe(
        "llama.cpp", (_script("write_gguf.py"), "{checkpoint}", "{out}/model.gguf"), (CHECKPOINT,), 0.5
    ),
    "llama.cpp-q8_0": _quantized_gguf("Q8_0"),
    "llama.cpp-q4_0": _quantized_gguf("Q4_0"),
    "openvino-int8": _openvino("--weight-format", "int8"),
    "openvino-int4": _openvino("--weight-format", "int4", "--sym", "--group-size", "128", "--ratio", "1.0"),
    "onnxruntime-genai-int8": _onnxruntime_genai("int8", "prune_lm_head=true", peak=8.3),
    "onnxruntime-genai-int4": _onnxruntime_genai("int4", "prune_lm_head=true", peak=7.0),
    "ctranslate2-int8": Recipe(
        "ctranslate2-convert",
        (
            *("-m", "ctranslate2.converters.transformers", "--model", "{text}", "--output_dir", "{out}"),
            *("--quantization", "int8", "--low_cpu_mem_usage"),
        ),
        ("text",),
        3.4,
    ),
    **{f"palijet-{precision}": _palijet(precision) for precision in ("fp16", "int8", "int8-weight", "int4")},
}  # fmt: skip
_ONLY_FOR_OTHERS = {"text", "llama.cpp-bf16"}  # removed once what needs them is made, unless an engine loads them


@dataclass(frozen=True)
class Shape:
    """Of the checkpoint: PaliGemma 3B at 224 pixels, or less of it."""

    layers: int | None = None  # of each tower; None: all
    vocabulary: int = VOCABULARY

    @property
    def folder(self) -> str:
        less = [f"{self.layers}-layers"] * (self.layers is not None)
        less += [f"{self.vocabulary}-words"] * (self.vocabulary != VOCABULARY)
        return "-".join(["paligemma-3b-224", *less])


class NoRoomError(Exception):
    """A model would take more memory to make than there is."""


class Models:
    """Models of one shape by the names of their recipes, in the cache."""

    def __init__(
        self,
        cache: Path,
        shape: Shape,
        environments: Environments,
        memory_bytes: int | None,
        talk: Callable[[str], None],
    ) -> None:
        """memory_bytes: what making a model may take; None: what is free then."""
        self.folder = cache / "models" / shape.folder
        self._logs = cache / "logs"
        self.shape = shape
        self._environments = environments
        self._memory_bytes = memory_bytes
        self._talk = talk

    def get(self, name: str) -> Path:
        """The model's folder, made if it is not there, with what it needs.

        Raises:
            ChildError: the converter failed, or its environment cannot be made.
            NoRoomError: memory is too small to make it.
        """
        place = self.folder / name
        if place.exists():
            return place
        draft = self.folder / f"{name}.partial"
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(parents=True, exist_ok=True)
        if name == CHECKPOINT:
            self._talk("writing the checkpoint")
            write_checkpoint(
                "paligemma-3b",
                224,
                draft,
                layers=self.shape.layers,
                vocabulary=self.shape.vocabulary,
                branch_gain=_BRANCH_GAIN,
            )
        else:
            self._make(name, RECIPES[name], draft)
        draft.rename(place)
        if name.startswith("palijet-"):
            self._share_embeddings(place)
        return place

    def command(self, name: str) -> list[str]:
        """What makes a model, for the record."""
        if name == CHECKPOINT:
            return ["benchmarks.shaped_checkpoint.write_checkpoint", f"branch_gain={_BRANCH_GAIN:g}"]
        return [RECIPES[name].environment, *RECIPES[name].command]

    def drop_intermediate(self, loaded: set[str]) -> None:
        """Remove what was made only for other recipes; loaded: names that engines load."""
        for name in _ONLY_FOR_OTHERS - loaded:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def drop(self, name: str) -> None:
        """Remove a model; the checkpoint stays, for the next ones."""
        if name != CHECKPOINT:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _make(self, name: str, recipe: Recipe, out: Path) -> None:
        checkpoint = self.get(CHECKPOINT)
        self._check_memory(name, recipe, checkpoint)
        python = self._environments.python(recipe.environment)
        places = {needed: self.get(needed) for needed in recipe.needs}
        self._talk(f"converting {name}")
        command = [_filled(argument, {"out": out, **places}) for argument in recipe.command]
        variables = {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        if recipe.environment == PARENT:
            variables["PYTHONPATH"] = str(_ROOT)
        try:
            run_logged([str(python), *command], self._logs / f"{self.shape.folder}-{name}.log", variables)
        except BaseException:  # Ctrl-C as well
            shutil.rmtree(out, ignore_errors=True)
            raise

    def _check_memory(self, name: str, recipe: Recipe, checkpoint: Path) -> None:
        weights = sum(shard.stat().st_size for shard in checkpoint.glob("*.safetensors")) / 2
        needed = recipe.peak_bytes_per_weight * weights
        there = _available_bytes() if self._memory_bytes is None else min(self._memory_bytes, _available_bytes())
        if needed > there:
            raise NoRoomError(
                f"making {name} takes about {needed / 1e9:.0f} GB of memory; {there / 1e9:.0f} GB may be used"
            )

    def _share_embeddings(self, bundle: Path) -> None:
        """One copy on the disk of the embeddings that all bundles of a checkpoint have, 1 GB at 3B."""
        for other in self.folder.glob("palijet-*/manifest.json"):
            if other.parent != bundle and _hash_of_embeddings(other.parent) == _hash_of_embeddings(bundle):
                (bundle / "embeddings.bin").unlink()
                os.link(other.parent / "embeddings.bin", bundle / "embeddings.bin")
                return


def _filled(argument: str, places: dict[str, Path]) -> str:
    for name, place in places.items():
        argument = argument.replace("{" + name + "}", str(place))
    return argument


def _hash_of_embeddings(bundle: Path) -> str:
    manifest = json.loads((bundle / "manifest.json").read_text())
    return str(manifest["files"]["embeddings.bin"]["sha256"])


def _available_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024
