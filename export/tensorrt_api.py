"""TensorRT's builder as this project uses it: every difference between 8.6, 10, 11 and TensorRT-RTX is in this file.

The module is JetPack's `tensorrt`, or `tensorrt_rtx_bindings`, whose builder works without a GPU.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..runtime.engines import ProfileSpec
from ..runtime.errors import EngineError

MODULES = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx_bindings"}

Step = Callable[[str, int, int], bool]
"""Told a phase, the steps done and the steps in all; False ends the build."""


def open_tensorrt(which: str = "auto") -> TensorRt:
    """The TensorRT that is installed: "tensorrt", "rtx", or the first of both there is.

    Raises:
        EngineError: it is not installed.
    """
    if which not in ("auto", *MODULES):
        raise EngineError(f"a TensorRT called {which} is not known; use auto, {' or '.join(MODULES)}")
    for name in MODULES if which == "auto" else (which,):
        try:
            return TensorRt(importlib.import_module(MODULES[name]))
        except ImportError:
            continue
    wanted = "TensorRT" if which == "auto" else MODULES[which]
    raise EngineError(
        f"{wanted} is not installed for this Python; on a Jetson: sudo apt install python3-libnvinfer, and make the virtual "
        "environment with --system-site-packages; without it, the bundle runs on onnxruntime (backend='cpu')"
    )


@dataclass
class Network:
    """A parsed graph, with the builder that holds it."""

    definition: Any  # INetworkDefinition
    builder: Any
    log: list[str] = field(default_factory=list)  # what TensorRT said: warnings and errors
    keep: tuple[Any, ...] = ()  # logger and parser, which must outlive the network

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes; -1 where a dimension is open."""
        tensors = (self.definition.get_input(i) for i in range(self.definition.num_inputs))
        return {tensor.name: tuple(tensor.shape) for tensor in tensors}


class TensorRt:
    """One installed TensorRT."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.is_rtx = "rtx" in module.__name__
        numbers = re.findall(r"\d+", module.__version__)
        self.version = tuple(int(number) for number in numbers[:3])

    @property
    def name(self) -> str:
        """What an engine's key calls it: "tensorrt 10.3.0", as libnvinfer itself counts; engines are bound to the patch."""
        if self.is_rtx:
            return f"tensorrt_rtx {self.module.__version__}"
        return f"tensorrt {'.'.join(map(str, self.version))}"

    @property
    def is_strongly_typed(self) -> bool:
        """Whether a network's types are the graph's: from 10 on. 8.6 chooses among the types that flags allow."""
        return self.is_rtx or self.version >= (10,)

    @property
    def has_int4(self) -> bool:
        return self.is_strongly_typed

    @property
    def can_report_progress(self) -> bool:
        return hasattr(self.module, "IProgressMonitor")

    @property
    def can_build_for_other_gpus(self) -> bool:
        return hasattr(self.module, "ComputeCapability")

    def logger(self, log: list[str]) -> Any:
        """A logger that gathers warnings and errors."""
        base, warning = self.module.ILogger, self.module.ILogger.WARNING

        class Logger(base):  # type: ignore[misc, valid-type]
            def __init__(self) -> None:
                base.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity <= warning:
                    log.append(message)

        return Logger()

    def parse(self, graph: Path) -> Network:
        """Read an ONNX graph and the weights beside it.

        Raises:
            EngineError: TensorRT refuses it, in its own words.
        """
        trt = self.module
        log: list[str] = []
        logger = self.logger(log)
        builder = trt.Builder(logger)
        flags = trt.NetworkDefinitionCreationFlag
        wanted = ["STRONGLY_TYPED"] if self.is_strongly_typed else ["EXPLICIT_BATCH"]
        bits = sum(1 << int(getattr(flags, name)) for name in wanted if hasattr(flags, name))
        definition = builder.create_network(bits)
        parser = trt.OnnxParser(definition, logger)
        if not parser.parse_from_file(os.fspath(graph)):
            said = [parser.get_error(i).desc() for i in range(parser.num_errors)]
            raise EngineError(f"{self.name} does not take {graph}: {_last([*log, *said])}")
        return Network(definition, builder, log, (logger, parser))

    def build(
        self,
        network: Network,
        profiles: tuple[ProfileSpec, ...],
        *,
        workspace_bytes: int,
        is_quantized: bool,
        is_fp16: bool,
        timing_cache: bytes,
        compute_capability: str | None,
        step: Step,
    ) -> tuple[memoryview, bytes]:
        """Build the network's engine: the serialized plan, and the timing cache as it is afterwards.

        Raises:
            EngineError: TensorRT fails, in its own words.
            KeyboardInterrupt: `step` ended the build.
        """
        trt = self.module
        config = network.builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
        if not self.is_strongly_typed:
            for flag in (["FP16"] if is_fp16 else []) + (["INT8"] if is_quantized else []):
                config.set_flag(getattr(trt.BuilderFlag, flag))
        if compute_capability is not None:
            config.num_compute_capabilities = 1
            config.set_compute_capability(self._compute_capability(compute_capability), 0)
        for profile in profiles:
            self._add_profile(network, config, profile)
        cache = None if self.is_rtx else config.create_timing_cache(timing_cache)  # TensorRT-RTX times nothing here
        cached = cache is not None and config.set_timing_cache(cache, False)
        monitor = self._monitor(step)
        if monitor is not None:
            config.progress_monitor = monitor
        plan = network.builder.build_serialized_network(network.definition, config)
        if plan is None:
            if monitor is not None and monitor.ended:
                raise KeyboardInterrupt
            raise EngineError(f"{self.name} built no engine: {_last(network.log)}")
        return memoryview(plan), bytes(config.get_timing_cache().serialize()) if cached else b""

    def layer_kinds(self, network: Network) -> dict[str, int]:
        """How many layers of each kind there are, and which integers the matrix products read: "int8 matmul", "int4 matmul"."""
        definition = network.definition
        layers = [definition.get_layer(i) for i in range(definition.num_layers)]
        makers = {layer.get_output(i).name: layer for layer in layers for i in range(layer.num_outputs)}
        kinds: dict[str, int] = {}
        for layer in layers:
            kind = str(layer.type).rpartition(".")[2].lower()
            kinds[kind] = kinds.get(kind, 0) + 1
            if kind == "matrix_multiply":
                weights = self._integers_behind(layer.get_input(1), makers)
                kinds[f"{weights or 'float'} matmul"] = kinds.get(f"{weights or 'float'} matmul", 0) + 1
        return kinds

    def _integers_behind(self, tensor: Any, makers: dict[str, Any]) -> str | None:
        """ "int8" or "int4" where a DequantizeLinear makes the tensor, layers that only move data aside."""
        passing = ("shuffle", "cast", "identity")
        while tensor is not None and (layer := makers.get(tensor.name)) is not None:
            kind = str(layer.type).rpartition(".")[2].lower()
            if kind == "dequantize":
                return str(layer.get_input(0).dtype).rpartition(".")[2].lower()
            if kind not in passing:
                return None
            tensor = layer.get_input(0)
        return None

    def _add_profile(self, network: Network, config: Any, profile: ProfileSpec) -> None:
        added = network.builder.create_optimization_profile()
        for name, (least, usual, most) in profile.shapes.items():
            added.set_shape(name, least, usual, most)
        if config.add_optimization_profile(added) < 0:
            raise EngineError(f"{self.name} refuses the {profile.name} profile: {_last(network.log)}")

    def _compute_capability(self, wanted: str) -> Any:
        if not self.can_build_for_other_gpus:
            raise EngineError(
                f"{self.name} builds for the GPU of this machine only; run `palijet build` on the device itself"
            )
        try:
            return getattr(self.module.ComputeCapability, f"SM{wanted.replace('.', '')}")
        except AttributeError:
            known = [name for name in dir(self.module.ComputeCapability) if name.startswith("SM")]
            raise EngineError(
                f"{self.name} cannot build for compute capability {wanted}; it knows {', '.join(known)}"
            ) from None

    def _monitor(self, step: Step) -> Any:
        """A monitor of the outermost phase; None where this TensorRT has none (8.6), so that Ctrl-C waits for the build's end."""
        if not self.can_report_progress:
            return None
        base = self.module.IProgressMonitor

        class Monitor(base):  # type: ignore[misc, valid-type]
            def __init__(self) -> None:
                base.__init__(self)
                self.ended = False
                self._phases: dict[str, int] = {}

            def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
                self._phases[phase] = steps

            def step_complete(self, phase: str, done: int) -> bool:
                self.ended = self.ended or not step(phase, done, self._phases.get(phase, 0))
                return not self.ended

            def phase_finish(self, phase: str) -> None:
                self._phases.pop(phase, None)

        return Monitor()


def _last(said: list[str]) -> str:
    """The last thing TensorRT said, which is the one that names the cause."""
    return said[-1].strip() if said else "it does not say why"
