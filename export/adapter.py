"""Adapters of PEFT's, merged into a checkpoint as its tensors are read: LoRA, rank-stabilised LoRA, DoRA, LoHa, LoKr, IA3.

An adapter is a folder of `save_pretrained`: adapter_config.json and adapter_model.safetensors. Merging is done in float32, a
tensor at a time, as PEFT's `merge_and_unload` does it in the model's type.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ..runtime.errors import CheckpointError
from .checkpoint import EMBEDDINGS, LM_HEAD, Checkpoint, expected_tensors
from .transformers_checkpoint import canonical_name

Float = NDArray[np.float32]
Parts = dict[str, Float]  # what the adapter has for one module, by PEFT's names: lora_A, lora_B, ...
Change = Callable[[Float, int, int], Float]
"""Rows [start, stop) of a tensor -> the same rows with the adapter."""

_PARTS = re.compile(
    r"^(?:base_model\.model\.)?(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_magnitude_vector|lora_embedding_A|lora_embedding_B"
    r"|hada_w1_a|hada_w1_b|hada_w2_a|hada_w2_b|lokr_w1|lokr_w1_a|lokr_w1_b|lokr_w2|lokr_w2_a|lokr_w2_b|ia3_l)"
    r"(?:\.default)?(?:\.weight)?$"
)
_KINDS = ("LORA", "LOHA", "LOKR", "IA3")


class AdapterConfig(msgspec.Struct, frozen=True):
    """What of adapter_config.json says how to merge."""

    peft_type: str
    r: int = 8
    lora_alpha: float = 8
    alpha: float = 8  # LoHa's and LoKr's name for it
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool = False
    lora_bias: bool = False
    use_qalora: bool = False
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}
    target_parameters: list[str] | None = None
    layer_replication: list[Any] | None = None
    trainable_token_indices: Any = None

    def scaling(self, module: str, rank: int | None = None) -> float:
        """What the adapter's product is multiplied by: alpha / r, or alpha / sqrt(r) (Kalajdzievski 2023, arXiv:2312.03732)."""
        rank = rank or int(_by_pattern(self.rank_pattern, module, self.r))
        alpha = _by_pattern(self.alpha_pattern, module, self.lora_alpha if self.peft_type == "LORA" else self.alpha)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank


def adapted(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """The checkpoint with the adapter in `folder` merged into it.

    Raises:
        CheckpointError: a file is missing or cut, the adapter is of a kind that cannot be merged, or of another model.
    """
    config = _read_config(folder)
    return _AdaptedCheckpoint(checkpoint, _changes(checkpoint, folder, config))


class _AdaptedCheckpoint(Checkpoint):
    def __init__(self, checkpoint: Checkpoint, changes: dict[str, Change]) -> None:
        self.path, self.config = checkpoint.path, checkpoint.config
        self._checkpoint = checkpoint
        self._changes = changes

    def read_rows(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        rows = self._checkpoint.read_rows(name, start, stop)
        change = self._changes.get(name)
        return rows if change is None else change(rows.astype(np.float32), start, start + len(rows)).astype(np.float32)

    def dtype(self, name: str) -> str:
        return "float32" if name in self._changes else self._checkpoint.dtype(name)


def _read_config(folder: Path) -> AdapterConfig:
    path = folder / "adapter_config.json"
    try:
        config = msgspec.json.decode(path.read_bytes(), type=AdapterConfig)
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has no adapter_config.json; give the folder that PEFT's save_pretrained wrote"
        ) from None
    except (OSError, msgspec.DecodeError) as error:
        raise CheckpointError(f"{path} cannot be read as an adapter's configuration: {error}") from None
    features = {
        f"an adapter of kind {config.peft_type}": config.peft_type not in _KINDS,
        "biases of its own (lora_bias)": config.lora_bias,
        "transposed weights (fan_in_fan_out)": config.fan_in_fan_out,
        "QA-LoRA": config.use_qalora,
        "target_parameters": bool(config.target_parameters),
        "replicated layers": bool(config.layer_replication),
        "tokens trained one by one": bool(config.trainable_token_indices),
    }
    for what, is_asked in features.items():
        if is_asked:
            raise CheckpointError(
                f"{path} asks for {what}, which PaliJet does not merge ({', '.join(_KINDS)} it does); merge it with PEFT's "
                "merge_and_unload and export the saved model"
            )
    return config


def _changes(checkpoint: Checkpoint, folder: Path, config: AdapterConfig) -> dict[str, Change]:
    shapes = expected_tensors(checkpoint.config)
    modules: dict[str, Parts] = {}
    changes: dict[str, Change] = {}
    for stored, tensor in _read_tensors(folder).items():
        match = _PARTS.match(stored)
        if match:
            modules.setdefault(match["module"], {})[match["part"]] = tensor
            continue
        # modules_to_save, trained biases, and embeddings that are adapted: whole tensors in place of the checkpoint's.
        name = canonical_name(
            re.sub(r"\.(base_layer|modules_to_save(\.default)?)\.", ".", stored.removeprefix("base_model.model."))
        )
        if name == LM_HEAD and name not in shapes:
            shapes[name] = shapes[EMBEDDINGS]
        _check_known(folder, stored, name, shapes)
        if tensor.shape != shapes[name]:
            raise _other_model(
                folder, stored, f"has shape {list(tensor.shape)} where this model has {list(shapes[name])}"
            )
        changes[name] = _replacement(tensor)
    for module, parts in modules.items():
        name = canonical_name(f"{module}.weight")
        _check_known(folder, module, name, shapes)
        if len(shapes[name]) != 2:
            raise _other_model(folder, module, "is no linear layer of this model, so it cannot be merged")
        merge = _merge(folder, module, parts, config, shapes[name])
        changes[name] = _then(changes[name], merge) if name in changes else merge
        bias = name.replace(".weight", ".bias")
        if "ia3_l" in parts and parts["ia3_l"].shape[0] != 1 and bias in shapes:
            changes[bias] = _scale_bias(parts["ia3_l"])
    if checkpoint.config.tie_word_embeddings and EMBEDDINGS in changes:
        changes.setdefault(LM_HEAD, changes[EMBEDDINGS])  # one tensor in the model that PEFT merges into
    return changes


def _check_known(folder: Path, stored: str, name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    if name not in shapes:
        raise _other_model(folder, stored, "does not exist in this model")


def _other_model(folder: Path, what: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"{folder}: {what} {why}; the adapter was trained on another model, give it the checkpoint that it belongs to"
    )


def _read_tensors(folder: Path) -> dict[str, Float]:
    path = folder / "adapter_model.safetensors"
    if not path.exists():
        raise CheckpointError(
            f"{folder} has no adapter_model.safetensors; save the adapter with PEFT's save_pretrained(folder)"
        )
    try:
        with safe_open(path, framework="np") as file:
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118  (it is no dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is cut or is not a safetensors file ({error}); copy it once more") from None
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise CheckpointError(
                f"{path}: {name} holds values that are no numbers; the training of this adapter failed"
            )
    return tensors


def _merge(folder: Path, module: str, parts: Parts, config: AdapterConfig, shape: tuple[int, ...]) -> Change:
    """How the parts change the module's weight [out, in]; every shape is checked here."""
    out, into = shape

    def need(name: str, *wanted: int | None) -> Float:
        if name not in parts:
            raise CheckpointError(f"{folder}: {module} lacks {name}; the adapter is incomplete, save it once more")
        found = parts[name]
        if len(found.shape) != len(wanted) or any(w not in (None, f) for w, f in zip(wanted, found.shape, strict=True)):
            layout = [str(w) if w else "rank" for w in wanted]
            raise _other_model(
                folder, f"{name} of {module}", f"has shape {list(found.shape)} where [{', '.join(layout)}] is needed"
            )
        return found

    def product(left: str, right: str, wanted_out: int | None, wanted_in: int | None) -> tuple[Float, Float]:
        b, a = need(left, wanted_out, None), need(right, None, wanted_in)
        if b.shape[1] != a.shape[0]:
            raise CheckpointError(
                f"{folder}: {module} has a rank of {a.shape[0]} in {right} and of {b.shape[1]} in {left}; the adapter is damaged"
            )
        return b, a

    if "ia3_l" in parts:
        factor = need("ia3_l", None, None)
        if factor.shape not in ((out, 1), (1, into)):
            raise _other_model(
                folder,
                f"ia3_l of {module}",
                f"has shape {list(factor.shape)} where [{out}, 1] or [1, {into}] is needed",
            )
        return lambda rows, start, stop: rows * (factor[start:stop] if factor.shape[1] == 1 else factor)
    if "lora_embedding_A" in parts:
        b, a = product(
            "lora_embedding_B", "lora_embedding_A", into, out
        )  # the table is [out, in], the product [in, out]
        if config.use_dora:
            raise CheckpointError(
                f"{folder}: {module} is an embedding with DoRA, which PaliJet does not merge; merge it with PEFT"
            )
        scaling = np.float32(config.scaling(module, a.shape[0]))
        return lambda rows, start, stop: rows + (b @ a[:, start:stop]).T * scaling
    if config.peft_type == "LORA":
        b, a = product("lora_B", "lora_A", out, into)
        scaling = np.float32(config.scaling(module, a.shape[0]))
        if not config.use_dora:
            return lambda rows, start, stop: rows + b[start:stop] @ a * scaling
        magnitude = need("lora_magnitude_vector", out)
        return lambda rows, start, stop: _dora(rows + b[start:stop] @ a * scaling, magnitude[start:stop])
    scaling = np.float32(config.scaling(module))
    if config.peft_type == "LOHA":
        (b1, a1), (b2, a2) = product("hada_w1_a", "hada_w1_b", out, into), product("hada_w2_a", "hada_w2_b", out, into)
        return lambda rows, start, stop: rows + (b1[start:stop] @ a1) * (b2[start:stop] @ a2) * scaling
    factors = [
        need(name, None, None) if name in parts else np.matmul(*product(f"{name}_a", f"{name}_b", None, None))
        for name in ("lokr_w1", "lokr_w2")
    ]
    if tuple(np.multiply(factors[0].shape, factors[1].shape)) != shape:
        raise _other_model(
            folder,
            module,
            f"has factors {list(factors[0].shape)} and {list(factors[1].shape)}, which do not make {list(shape)}",
        )
    return lambda rows, start, stop: rows + np.kron(*factors)[start:stop] * scaling


def _dora(directed: Float, magnitude: Float) -> Float:
    """Each output channel's weights, scaled to its magnitude (Liu et al. 2024, arXiv:2402.09353, equation 5)."""
    return directed * (magnitude / np.linalg.norm(directed, axis=1))[:, None]


def _replacement(tensor: Float) -> Change:
    return lambda rows, start, stop: tensor[start:stop]


def _then(first: Change, second: Change) -> Change:
    return lambda rows, start, stop: second(first(rows, start, stop), start, stop)


def _scale_bias(factor: Float) -> Change:
    return lambda rows, start, stop: rows * factor.reshape(-1)[start:stop]


def _by_pattern(patterns: dict[str, Any], module: str, otherwise: float) -> float:
    """The value of the first pattern that the module's name ends in, as PEFT matches them."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return float(value)
    return float(otherwise)
