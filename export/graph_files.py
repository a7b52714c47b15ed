"""The graph files of a bundle: vision and decoder, in the types of each runtime, over one file of weights each.

A graph in floating point is one file. A quantized one is two over the same weights: in FP32 types for onnxruntime and TensorRT
8.6, and in FP16 types for TensorRT 10 and later, whose networks are strongly typed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import onnx
import onnx_ir as ir

from ..runtime.bundle import DECODER_GRAPH, TENSORRT_GRAPHS, VISION_GRAPH, DecoderWeights, FileSpec, file_spec
from .checkpoint import Checkpoint
from .decoder_weights import describe_decoder
from .gemma import build_decoder
from .graph import Graph
from .numerics import Numerics
from .precision import PartPrecisions
from .recipe import Recipe
from .siglip import build_vision
from .smoothing import SmoothedCheckpoint
from .weights import HashedFile, WeightFile

Build = Callable[[Graph, Checkpoint], None]
PartMeter = Callable[[str], Callable[[int], None]]

_FP16_OPSET = 19  # the first whose QuantizeLinear takes FP16
_JUDGED = "decoder.judged.onnx"


class GraphFiles:
    """Writes the graphs of a checkpoint, seen through a recipe, into a folder."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        parts: PartPrecisions,
        recipe: Recipe,
        folder: Path,
        numerics: Numerics,
        opset: int,
    ) -> None:
        self._opset = opset
        self.opset = opset  # the highest of the written graphs that onnxruntime is given
        self._checkpoint = SmoothedCheckpoint(checkpoint, recipe.smoothing) if recipe.smoothing else checkpoint
        self._parts = parts
        self._recipe = recipe
        self._folder = folder
        self._numerics = numerics
        self.decoder_weights: DecoderWeights | None = None  # once they are written

    @property
    def residual_scale(self) -> float:
        """What image rows and embeddings are multiplied by."""
        return self._numerics.residual_scale

    @property
    def vision(self) -> Path:
        return self._folder / VISION_GRAPH

    def write(self, meter: PartMeter, *, judged: bool = False) -> dict[str, FileSpec]:
        """Write all; `judged` adds the decoder that `judged_decoder` hands out, which is no part of the bundle."""
        files = self._write("vision", VISION_GRAPH, build_vision, meter)
        files |= self._write("decoder", DECODER_GRAPH, build_decoder, meter, self._build_judged if judged else None)
        return files

    @contextmanager
    def judged_decoder(self) -> Iterator[Path]:
        """The decoder with its hidden states as outputs, as long as it is needed."""
        path = self._folder / _JUDGED
        yield path
        path.unlink()

    def _build_judged(self, graph: Graph, checkpoint: Checkpoint) -> None:
        build_decoder(graph, checkpoint, show_hidden=True)

    def _write(
        self, part: str, name: str, build: Build, meter: PartMeter, judged: Build | None = None
    ) -> dict[str, FileSpec]:
        with HashedFile(self._folder / f"{name}.data", meter(part)) as data:
            store = WeightFile(data)
            models = {name: self._model(part, build, store, self._numerics)}
            if self._has_tensorrt_graph(part):
                models[TENSORRT_GRAPHS[name]] = self._model(part, build, store, Numerics.of_quantized("fp16"))
            if judged:
                models[_JUDGED] = self._model(part, judged, store, self._numerics)
            if part == "decoder":
                schemes = self._recipe.schemes if self._parts.is_quantized else {}
                text = self._checkpoint.config.text_config
                self.decoder_weights = describe_decoder(text, self._numerics, store, schemes)
        files = {data.path.name: data.spec}
        for file, model in models.items():
            path = self._folder / file
            ir.save(model, path)
            onnx.checker.check_model(path)
            if file != _JUDGED:
                files[file] = file_spec(path)
        return files

    def _has_tensorrt_graph(self, part: str) -> bool:
        """TensorRT has no kernels for weights alone in INT8."""
        parts = ("vision", "projector") if part == "vision" else ("decoder", "head")
        return self._parts.is_quantized and all(self._parts.of(each) != "int8-weight" for each in parts)

    def _model(self, part: str, build: Build, store: WeightFile, numerics: Numerics) -> ir.Model:
        prefixes = ("vision.", "projector") if part == "vision" else ("text.", "lm_head")
        schemes = {name: scheme for name, scheme in self._recipe.schemes.items() if name.startswith(prefixes)}
        opset = max([self._opset, *(scheme.least_opset for scheme in schemes.values())])
        self.opset = max(self.opset, opset)
        if self._parts.is_quantized and numerics.is_fp16:
            opset = max(opset, _FP16_OPSET)
        graph = Graph(numerics, store, opset, schemes if self._parts.is_quantized else None)
        build(graph, self._checkpoint)
        return graph.model(part, version("palijet"))
