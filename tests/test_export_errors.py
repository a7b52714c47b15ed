"""A checkpoint or an output that is no good ends in one sentence, with nothing half-written."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import ml_dtypes  # noqa: F401  (teaches numpy bfloat16)
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from palijet import BundleError, CheckpointError
from palijet.export import ExportOptions, export


def edit_config(checkpoint: Path, edit: Callable[[dict], object]) -> None:
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop_tensor(checkpoint: Path) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    del tensors["language_model.model.norm.weight"]
    save_file(tensors, checkpoint / "model.safetensors")


def widen_tensor(checkpoint: Path) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["language_model.model.norm.weight"] = np.zeros(7, np.float32)
    save_file(tensors, checkpoint / "model.safetensors")


def integer_tensor(checkpoint: Path) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["language_model.model.norm.weight"] = np.zeros(192, np.int8)
    save_file(tensors, checkpoint / "model.safetensors")


def lack_a_shard(checkpoint: Path) -> None:
    index = {"weight_map": {"any": "model.safetensors", "other": "model-00002-of-00002.safetensors"}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda c: (c / "model.safetensors").unlink(), "no safetensors file"),
    "a shard is missing": (lack_a_shard, "lacks the shard model-00002-of-00002.safetensors"),
    "an index that is none": (
        lambda c: (c / "model.safetensors.index.json").write_text("[]"),
        "not a valid index",
    ),
    "cut weights": (lambda c: cut(c / "model.safetensors"), "is cut or is not a safetensors file"),
    "weights of another kind": (
        lambda c: (c / "model.safetensors").write_text("not weights"),
        "is cut or is not a safetensors file",
    ),
    "a missing tensor": (drop_tensor, "lacks the tensor text.norm.weight"),
    "a tensor of another shape": (widen_tensor, "has shape [7] where config.json asks for [192]"),
    "a tensor of another type": (integer_tensor, "is stored as I8"),
    "no config": (lambda c: (c / "config.json").unlink(), "has no config.json"),
    "a config that is no JSON": (lambda c: cut(c / "config.json"), "cannot be read as JSON"),
    "another model": (
        lambda c: edit_config(c, lambda j: j.update(model_type="llava")),
        "describes a llava model",
    ),
    "a config without sizes": (
        lambda c: edit_config(c, lambda j: j["text_config"].update(hidden_size="wide")),
        "not a valid PaliGemma configuration",
    ),
    "an unknown activation": (
        lambda c: edit_config(c, lambda j: j["text_config"].update(hidden_act="relu")),
        "the activation relu",
    ),
    "heads that do not divide": (
        lambda c: edit_config(c, lambda j: j["text_config"].update(num_key_value_heads=3)),
        "4 heads cannot share 3 key-value heads",
    ),
    "no tokenizer": (lambda c: (c / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "an end token that is none": (
        lambda c: (c / "generation_config.json").write_text('{"eos_token_id": "x"}'),
        "generation_config.json cannot be read",
    ),
    "a generation config that is none": (
        lambda c: (c / "generation_config.json").write_text("[]"),
        "generation_config.json cannot be read",
    ),
    "an image token of another id": (
        lambda c: edit_config(c, lambda j: j.update(image_token_index=7)),
        "and config.json the id 7",
    ),
    "a broken tokenizer": (lambda c: cut(c / "tokenizer.json"), "cannot be read as a tokenizer"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_leaves_nothing(damage: str, checkpoint: Path, tmp_path: Path) -> None:
    spoil, sentence = DAMAGES[damage]
    spoil(checkpoint)
    with pytest.raises(CheckpointError) as caught:
        export(checkpoint, tmp_path / "out")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a folder"):
        export(tmp_path / "nowhere", tmp_path / "out")


def test_a_tokenizer_of_another_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    text = (checkpoint / "tokenizer.json").read_text().replace("<loc1023>", "<other>")
    (checkpoint / "tokenizer.json").write_text(text)
    with pytest.raises(CheckpointError, match="does not know <loc1023>"):
        export(checkpoint, tmp_path / "out")


def test_an_unknown_precision_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="choose one of fp32, fp16"):
        export(checkpoint, tmp_path / "out", ExportOptions(precision="int3"))


def test_an_output_that_exists_is_kept_unless_told(checkpoint: Path, bundle: Path) -> None:
    before = (bundle / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match="--overwrite"):
        export(checkpoint, bundle)
    assert (bundle / "manifest.json").read_bytes() == before
    export(checkpoint, bundle, ExportOptions(precision="fp16", overwrite=True))
    assert json.loads((bundle / "manifest.json").read_text())["precision"] == "fp16"


def test_a_folder_that_is_no_bundle_is_never_replaced(checkpoint: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    for target in (precious, checkpoint):
        with pytest.raises(BundleError, match="is not a bundle, so it is not replaced"):
            export(checkpoint, target, ExportOptions(overwrite=True))
    assert (precious / "thesis.txt").read_text() == "years of work"


def test_an_output_under_a_file_cannot_be_written(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written"):
        export(checkpoint, tmp_path / "file" / "out")


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 12 MB, of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_is_too_small_is_seen_before_the_first_byte(checkpoint: Path, small_disk: Path) -> None:
    with pytest.raises(BundleError, match=r"has 0\.01 GB free and the bundle needs 0\.02 GB"):
        export(checkpoint, small_disk / "out", ExportOptions(precision="fp32"))
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_midway_is_left_as_it_was(
    checkpoint: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Roomy:
        free = 10**12

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Roomy)  # somebody else fills the disk meanwhile
    with pytest.raises(BundleError, match="filled up midway"):
        export(checkpoint, small_disk / "out", ExportOptions(precision="fp32"))
    assert list(small_disk.iterdir()) == []


def test_an_export_that_is_killed_leaves_no_bundle(checkpoint: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from palijet.export import export; "
        "export(sys.argv[1], sys.argv[2], None, lambda part, done, total: os._exit(9) if part == 'decoder' else None)"
    )
    done = subprocess.run(["python", "-c", code, checkpoint, tmp_path / "out"], env=os.environ | _path())
    assert done.returncode == 9
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".out.*.partial")), "a killed process cannot clean up"
    export(checkpoint, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "out"}


def _path() -> dict[str, str]:
    import sys

    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
