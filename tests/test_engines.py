"""Which engines of a bundle may be run: none that is stale, foreign or damaged, and each refusal says why."""

import types
from pathlib import Path

import msgspec
import numpy as np
import pytest
from conftest import DEMO_CHECKPOINT

from palijet.export import ExportOptions, export
from palijet.export.engine_builder import BuildOptions, build
from palijet.export.engine_profiles import ShapeLimits, engine_profiles
from palijet.export.engine_verifier import compare, example_inputs, open_session, run_session
from palijet.export.tensorrt_api import TensorRt, open_tensorrt
from palijet.jetson.memory import FreeMemory
from palijet.runtime.bundle import FileSpec, open_bundle, sha256_of
from palijet.runtime.engines import ENGINE_SET, PLANS, EngineKey, EngineSet, find_engines, graph_hashes
from palijet.runtime.errors import EngineError


def write_engines(bundle: Path, tensorrt: str = "tensorrt 10.3.0", sm: str = "8.7") -> Path:
    """A set as `palijet build` lays it out, with plans that no TensorRT made."""
    opened = open_bundle(bundle)
    key = EngineKey(
        tensorrt=tensorrt,
        compute_capability=sm,
        precision=opened.manifest.precision,
        graphs=graph_hashes(opened),
        profiles=engine_profiles(opened.manifest, ShapeLimits()),
    )
    folder = bundle / "engines" / key.folder
    folder.mkdir(parents=True)
    for plan in PLANS.values():
        (folder / plan).write_bytes(plan.encode() * 100)
    plans = {
        plan: FileSpec(bytes=(folder / plan).stat().st_size, sha256=sha256_of(folder / plan)) for plan in PLANS.values()
    }
    found = EngineSet(key=key, plans=plans, layers={}, seconds={}, created="2026-11-24T00:00:00+00:00")
    (folder / ENGINE_SET).write_bytes(msgspec.json.encode(found))
    return folder


def test_the_set_for_this_device_is_found_among_others(bundle: Path) -> None:
    write_engines(bundle, sm="8.9")
    mine = write_engines(bundle)
    write_engines(bundle, tensorrt="tensorrt 8.6.2")
    assert mine.name.startswith("10.3.0-sm87-")
    assert find_engines(open_bundle(bundle), "tensorrt 10.3.0", "8.7")[0] == mine


def cut_plan(bundle: Path, folder: Path) -> None:
    (folder / "decoder.plan").write_bytes(b"decoder")


def alter_plan(bundle: Path, folder: Path) -> None:
    (folder / "decoder.plan").write_bytes(b"decoder.plaN" * 100)


def lose_plan(bundle: Path, folder: Path) -> None:
    (folder / "vision.plan").unlink()


def cut_description(bundle: Path, folder: Path) -> None:
    (folder / ENGINE_SET).write_bytes((folder / ENGINE_SET).read_bytes()[:100])


def export_anew(bundle: Path, folder: Path) -> None:
    manifest = bundle / "manifest.json"
    content = msgspec.json.decode(manifest.read_bytes())
    content["files"]["decoder.onnx"]["sha256"] = "0" * 64
    manifest.write_bytes(msgspec.json.encode(content))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (cut_plan, r"is damaged \(.*decoder.plan is 1193 bytes short of its manifest; build it again\)"),
        (alter_plan, r"is damaged \(.*decoder.plan was altered"),
        (lose_plan, r"is damaged \(.* lacks vision.plan"),
        (cut_description, "holds no TensorRT engines"),
        (export_anew, "was built from graphs that were exported anew since"),
    ],
)
def test_damaged_and_stale_engines_are_refused(bundle: Path, damage, sentence: str) -> None:
    damage(bundle, write_engines(bundle))
    with pytest.raises(EngineError, match=sentence + ".*; run `palijet build .*` on this device"):
        find_engines(open_bundle(bundle, verify=False), "tensorrt 10.3.0", "8.7")


@pytest.mark.parametrize(
    ("tensorrt", "sm", "sentence"),
    [
        ("tensorrt 10.13.2", "8.7", "was built by tensorrt 10.3.0 and this is tensorrt 10.13.2"),
        ("tensorrt 10.3.0", "11.0", "was built for compute capability 8.7 and this GPU's is 11.0"),
    ],
)
def test_foreign_engines_are_refused(bundle: Path, tensorrt: str, sm: str, sentence: str) -> None:
    write_engines(bundle)
    with pytest.raises(EngineError, match=sentence):
        find_engines(open_bundle(bundle), tensorrt, sm)


def test_profiles_hold_every_call_of_the_decode_loop(bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    prefill, decode, verify = engine_profiles(manifest, ShapeLimits(max_batch=3))["decoder"]
    least, usual, most = prefill.shapes["inputs_embeds"]
    assert least[1] <= manifest.vision.rows + 2 <= usual[1] + 2 <= most[1] == 512
    assert decode.shapes["inputs_embeds"][2] == (3, 1, 192)
    assert verify.shapes["logits_index"][2] == verify.shapes["target"][2] == (48,)
    for profile in (prefill, decode, verify):
        for shape in profile.shapes.values():
            assert all(a <= b <= c for a, b, c in zip(*shape, strict=True))
        assert min(profile.shapes["past_key.0"][0]) >= 1


def test_rows_that_cannot_be_are_refused(bundle: Path) -> None:
    with pytest.raises(EngineError, match="49 rows cannot be built: this model needs more than its 49 image rows"):
        engine_profiles(open_bundle(bundle).manifest, ShapeLimits(max_rows=49))


def stand_in_tensorrt(version: str) -> TensorRt:
    """A stand-in for a TensorRT that is not here: its name and version."""
    return TensorRt(types.SimpleNamespace(__name__="tensorrt", __version__=version))


@pytest.mark.parametrize(
    ("precision", "version", "sentence"),
    [
        (
            "int4",
            "8.6.2",
            r"INT4 needs TensorRT 10 \(JetPack 6.1 or newer\) and this is tensorrt 8.6.2; export with --precision int8",
        ),
        ("int8-weight", "10.3.0", "TensorRT has no kernels for weights alone in INT8; export with --precision int8"),
        ("fp16", "10.3.0", "there is no NVIDIA GPU here, and engines are built on the device that runs them"),
    ],
)
def test_what_this_tensorrt_cannot_build_is_refused(
    precision: str, version: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = export(DEMO_CHECKPOINT, tmp_path / "b", ExportOptions(precision))
    monkeypatch.setattr("palijet.export.engine_builder.open_tensorrt", lambda which: stand_in_tensorrt(version))
    monkeypatch.setattr("palijet.export.engine_builder.read_gpu", lambda: None)
    with pytest.raises(EngineError, match=sentence):
        build(bundle)
    assert not (bundle.path / "engines").exists()


def test_without_tensorrt_it_says_what_works_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(EngineError, match=r"TensorRT is not installed .* runs on onnxruntime \(backend='cpu'\)"):
        open_tensorrt()
    with pytest.raises(EngineError, match="a TensorRT called trt is not known; use auto, tensorrt or rtx"):
        open_tensorrt("trt")


def test_too_little_memory_is_said_before_anything_is_built(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed: pip install 'palijet[rtx]'")
    monkeypatch.setattr("palijet.export.engine_builder.free_memory", lambda: FreeMemory(300_000_000, 100_000_000))
    with pytest.raises(
        EngineError, match=r"takes about 1\.\d GB and this machine has 0.3 GB of memory and 0.1 GB of swap free; add"
    ):
        build(open_bundle(bundle), BuildOptions("rtx"))
    assert not (bundle / "engines").exists()


def test_the_verifier_compares_every_output_at_every_profile(bundle: Path) -> None:
    """onnxruntime beside itself: no difference; beside a graph with an altered weight: one."""
    opened = open_bundle(bundle)
    for engine, profiles in engine_profiles(opened.manifest, ShapeLimits()).items():
        session = open_session(opened, engine)
        types_ = {
            value.name: np.int32 if value.type == "tensor(int32)" else np.float32 for value in session.get_inputs()
        }
        for profile in profiles:
            outputs = run_session(session, example_inputs(opened.manifest, profile, types_))
            same = list(compare(engine, outputs, outputs))
            expected = (
                {"image_rows"} if engine == "vision" else {"token", "logprob", "target_logprob", "new_key", "new_value"}
            )
            assert {difference.output for difference in same} == expected
            assert all(difference.largest == 0 for difference in same)
            assert all(np.isfinite(output).all() for output in outputs.values())
            shifted = {name: output + 1 for name, output in outputs.items()}
            assert all(
                difference.largest == pytest.approx(1, abs=1e-5) for difference in compare(engine, shifted, outputs)
            )
