"""The float model run stage by stage through onnxruntime: one layer in memory at a time, over all sequences.

Sequences go in; for each stage the inputs of its linear layers come out, and at the end the hidden states and next tokens that
a quantized model is compared with.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..runtime.errors import CalibrationError, EngineError
from .checkpoint import Checkpoint
from .gemma import Decoder, KeyValue
from .graph import Graph
from .input_sample import InputSample
from .linear_layers import LinearLayer, linear_layers
from .numerics import Numerics
from .sequence import Sequence, embedded
from .siglip import Encoder
from .weights import HashedFile, WeightFile

Rows = NDArray[np.float32]  # [rows, width]
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Stage:
    """A part of the model that has been run: its linear layers, and what went into them."""

    name: str
    inputs: list[tuple[LinearLayer, InputSample]]


class LayerwiseRun:
    """Runs a checkpoint over sequences; iterate over it to take the stages as they are done.

    `sampled` says of which sequences the inputs are looked at, `kept` of which the hidden states are; all are carried along.
    Graphs and weights of a stage lie in `scratch` while it runs.

    Raises:
        CalibrationError: an activation is not a number.
        EngineError: onnxruntime is not installed.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        images: list[Rows],
        sequences: list[Sequence],
        sampled: set[int],
        kept: list[int],
        scratch: Path,
        advance: Advance = lambda _: None,
    ) -> None:
        self.checkpoint = checkpoint
        self.images = images
        self.sequences = sequences
        self.sampled = sampled
        self.image_rows: list[Rows] = []
        self.kept = kept
        self.hidden: list[list[Rows]] = []  # [decoder layer][kept sequence] -> [rows, hidden]
        self.tokens: list[NDArray[np.int32]] = []  # [sequence] -> [answer + 1]
        self._scratch = scratch
        self._advance = advance
        self._layers = linear_layers(checkpoint.config)

    @staticmethod
    def steps(checkpoint: Checkpoint, images: int, sequences: int) -> int:
        """How often `advance` will be called: each stage once per image or sequence."""
        vision, text = checkpoint.config.vision_config, checkpoint.config.text_config
        return (vision.num_hidden_layers + 2) * images + (text.num_hidden_layers + 1) * sequences

    def __iter__(self) -> Iterator[Stage]:
        sampled_images = {self.sequences[i].image for i in self.sampled}
        rows = list(self.images)
        for name, build in self._vision_stages():
            yield self._run(name, build, rows, [{} for _ in rows], sampled_images)
        image_rows = self.image_rows = rows
        rows = [embedded(self.checkpoint, sequence, image_rows[sequence.image]) for sequence in self.sequences]
        text = self.checkpoint.config.text_config
        none = np.zeros((1, 1, text.num_key_value_heads, text.head_dim), np.float32)
        prefixes = [
            {"prefix_length": np.array([len(image_rows[s.image]) + len(s.prompt)], np.int32), "past": none}
            for s in self.sequences
        ]
        for name, build in self._text_stages():
            yield self._run(name, build, rows, prefixes, self.sampled)
            self.hidden.append([rows[i] for i in self.kept])
        wanted = [{"logits_index": s.wanted(len(image_rows[s.image]))} for s in self.sequences]
        yield self._run("head", self._head, rows, wanted, self.sampled, take=self._take_tokens)

    def _image_rows(self, sequence: int) -> int:
        return len(self.image_rows[self.sequences[sequence].image])

    def _title(self, index: int, count: int) -> str:
        """What a user calls a sequence, or in the vision stages an image."""
        is_image = count != len(self.sequences) or count == len(self.images)
        return next(s.name for i, s in enumerate(self.sequences) if (s.image if is_image else i) == index)

    def _take_tokens(self, outputs: dict[str, np.ndarray]) -> None:
        self.tokens.append(outputs["token"])

    # Each stage's graph: the rows of one sequence in, its rows out, and the linear layers' inputs beside them

    def _vision_stages(self) -> Iterator[tuple[str, Callable[[Graph], ir.Value]]]:
        config = self.checkpoint.config.vision_config
        size = config.image_size

        def encoder(graph: Graph) -> Encoder:
            return Encoder(graph, self.checkpoint, config)

        def embed(graph: Graph) -> ir.Value:
            return encoder(graph).embed(graph.input("rows", ir.DataType.FLOAT, [1, 3, size, size]))

        def layer(i: int) -> Callable[[Graph], ir.Value]:
            return lambda graph: encoder(graph).layer(
                self._rows_input(graph, config.hidden_size), f"vision.encoder.layers.{i}"
            )

        yield "vision.embeddings", embed
        for i in range(config.num_hidden_layers):
            yield f"vision.encoder.layers.{i}", layer(i)
        yield "projector", lambda graph: encoder(graph).project(self._rows_input(graph, config.hidden_size))

    def _text_stages(self) -> Iterator[tuple[str, Callable[[Graph], ir.Value]]]:
        config = self.checkpoint.config.text_config

        def layer(i: int) -> Callable[[Graph], ir.Value]:
            def build(graph: Graph) -> ir.Value:
                decoder = Decoder(graph, self.checkpoint, config)
                rows = self._rows_input(graph, config.hidden_size)
                none = graph.input("past", ir.DataType.FLOAT, [1, "P", config.num_key_value_heads, config.head_dim])
                prefix = graph.input("prefix_length", ir.DataType.INT32, [1])
                call = decoder.prepare(rows, none, graph.ints([0], np.int32), prefix)
                return decoder.layer(rows, i, KeyValue(none, none), call)[0]

            return build

        for i in range(config.num_hidden_layers):
            yield f"text.layers.{i}", layer(i)

    def _head(self, graph: Graph) -> ir.Value:
        config = self.checkpoint.config.text_config
        rows = self._rows_input(graph, config.hidden_size)
        decoder = Decoder(graph, self.checkpoint, config)
        index = graph.input("logits_index", ir.DataType.INT32, ["N"])
        token = graph.cast(graph.op.ArgMax(decoder.logits(rows, index), axis=-1, keepdims=0), ir.DataType.INT32)
        graph.output("token", token, ir.DataType.INT32, ["N"])
        return graph.op.Identity(graph.linear_inputs["lm_head"])

    @staticmethod
    def _rows_input(graph: Graph, width: int) -> ir.Value:
        return graph.input("rows", ir.DataType.FLOAT, [1, "T", width])

    # Running one

    def _run(
        self,
        name: str,
        build: Callable[[Graph], ir.Value],
        rows: list[Rows],
        feeds: list[dict[str, np.ndarray]],
        sampled: set[int],
        take: Callable[[dict[str, np.ndarray]], None] = lambda _: None,
    ) -> Stage:
        """Replace `rows`, sequence by sequence, by what the stage makes of them."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            session, layers = self._open(Path(folder) / "stage.onnx", build)
            names = [output.name for output in session.get_outputs()]
            samples = [InputSample(layer.into, len(sampled)) for layer in layers]
            for i, (values, feed) in enumerate(zip(rows, feeds, strict=True)):
                outputs = dict(zip(names, session.run(None, {"rows": values[None], **feed}), strict=True))
                rows[i] = outputs["rows_out"].reshape(-1, outputs["rows_out"].shape[-1])
                if not np.isfinite(rows[i]).all():
                    raise CalibrationError(
                        f"{name} computes values that are no numbers on {self._title(i, len(rows))}; the checkpoint is damaged, "
                        "see what transformers says to the same picture"
                    )
                if i in sampled:
                    for layer, sample in zip(layers, samples, strict=True):
                        inputs = outputs[f"input.{layer.name}"].reshape(-1, layer.into)
                        sample.add(inputs, self._image_rows(i) if layer.part == "decoder" else 0)
                take(outputs)
                self._advance(1)
        return Stage(name, list(zip(layers, samples, strict=True)))

    def _open(self, path: Path, build: Callable[[Graph], ir.Value]) -> tuple[Any, list[LinearLayer]]:
        ort = import_onnxruntime()
        with HashedFile(path.with_name(path.name + ".data"), lambda _: None) as data:
            graph = Graph(Numerics.of("fp32"), WeightFile(data), opset=17)
            rows = build(graph)
        graph.output("rows_out", rows, ir.DataType.FLOAT, None)
        for name, value in graph.linear_inputs.items():
            graph.output(f"input.{name}", graph.op.Identity(value), ir.DataType.FLOAT, None)
        ir.save(graph.model("stage", ""), path)
        return ort.InferenceSession(path, session_options()), [self._layers[name] for name in graph.linear_inputs]


def import_onnxruntime() -> Any:
    """The onnxruntime module.

    Raises:
        EngineError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise EngineError(
            "calibration runs the model through onnxruntime, which is not installed: pip install onnxruntime"
        ) from None
    return onnxruntime


def session_options() -> Any:
    """Options of a session that runs a graph as the native core does."""
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "4")
    return options
