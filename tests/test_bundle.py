"""A bundle that is incomplete, altered or of another contract is refused, with the file and the mend."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from palijet import BundleError
from palijet.runtime.bundle import CONTRACT_VERSION, open_bundle


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def edit_manifest(bundle: Path, edit: Callable[[dict], object]) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda b: (b / "manifest.json").unlink(), "has no manifest.json"),
    "a manifest that is cut": (
        lambda b: (b / "manifest.json").write_text((b / "manifest.json").read_text()[:200]),
        "not a valid manifest",
    ),
    "another contract": (
        lambda b: edit_manifest(b, lambda m: m.update(contract=CONTRACT_VERSION + 1)),
        f"follows graph contract {CONTRACT_VERSION + 1}",
    ),
    "a manifest without sizes": (
        lambda b: edit_manifest(b, lambda m: m.pop("vision")),
        "not a valid manifest",
    ),
    "a manifest that lists too little": (
        lambda b: edit_manifest(b, lambda m: m["files"].pop("tokenizer.json")),
        "does not list tokenizer.json",
    ),
    "a manifest that leads outside": (
        lambda b: edit_manifest(b, lambda m: m["files"].update({"../x": {"bytes": 1, "sha256": ""}})),
        "lies outside the bundle",
    ),
    "a missing file": (lambda b: (b / "decoder.onnx.data").unlink(), "lacks decoder.onnx.data"),
    "a cut file": (
        lambda b: (b / "vision.onnx.data").write_bytes((b / "vision.onnx.data").read_bytes()[:-3]),
        "3 bytes short of its manifest",
    ),
    "a longer file": (
        lambda b: (b / "embeddings.bin").write_bytes((b / "embeddings.bin").read_bytes() + b"x"),
        "1 bytes longer than its manifest",
    ),
    "an altered file": (lambda b: flip_a_byte(b / "decoder.onnx"), "decoder.onnx was altered"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_refused(damage: str, bundle: Path) -> None:
    open_bundle(bundle)  # a verified file that changes afterwards is seen as well
    spoil, sentence = DAMAGES[damage]
    spoil(bundle)
    with pytest.raises(BundleError, match=sentence) as caught:
        open_bundle(bundle)
    assert "\n" not in str(caught.value)


def test_a_verified_file_is_not_read_again(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from palijet.runtime import bundle as module

    hashed: list[Path] = []
    real = module.sha256_of
    monkeypatch.setattr(module, "sha256_of", lambda path: hashed.append(path) or real(path))
    open_bundle(bundle)
    first = len(hashed)
    open_bundle(bundle)
    assert first == 6
    assert len(hashed) == first


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a folder"):
        open_bundle(tmp_path / "nowhere")
