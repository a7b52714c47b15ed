"""The doctor on trees of real boards (tests/boards, each with its sources) and on this machine; the memory planner."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from palijet.export import ExportOptions, export
from palijet.jetson.boards import BOARDS, board_spec
from palijet.jetson.doctor import NOTE, OK, PROBLEM, Finding, examine, read_spec
from palijet.jetson.jetpack import jetpack_of
from palijet.jetson.memory_plan import plan, refusal, weight_counts
from palijet.runtime.bundle import Manifest, open_bundle
from palijet.runtime.errors import BundleError, InputError

TREES = Path(__file__).parent / "boards"


def findings(tree: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(TREES / tree)}


@pytest.mark.parametrize(
    ("tree", "spec", "linux"),
    [
        ("orin-nano-8gb-jetpack-6.2", "orin-nano-8gb", "36.4.3, JetPack 6.2: CUDA 12.6, TensorRT 10.3"),
        ("orin-nx-8gb-jetpack-6.2", "orin-nx-8gb", "36.4.3, JetPack 6.2: CUDA 12.6, TensorRT 10.3"),
        ("agx-orin-32gb-jetpack-7.2", "agx-orin-32gb", "39.2.0, JetPack 7.2: CUDA 13, TensorRT 10.16"),
        ("agx-thor-jetpack-7.0", "thor-t5000", "38.2.0, JetPack 7.0: CUDA 13.0, TensorRT 10.13"),
        ("orin-nano-8gb-jetpack-5.1", "orin-nano-8gb", "35.3.1, JetPack 5.1 (TensorRT 8.5)"),
    ],
)
def test_boards_and_their_jetpack_are_recognised(tree: str, spec: str, linux: str) -> None:
    assert (TREES / tree / "SOURCES.md").exists()
    found = read_spec(TREES / tree)
    assert found is not None
    assert found.name == spec
    assert findings(tree)["Jetson Linux"].value == linux


def test_a_jetpack_that_is_too_old_is_a_problem_with_its_mend() -> None:
    finding = findings("orin-nano-8gb-jetpack-5.1")["Jetson Linux"]
    assert finding.status == PROBLEM
    assert "flash JetPack 6.2" in finding.mend
    assert all(f.status != PROBLEM for tree in TREES.iterdir() if "5.1" not in tree.name for f in examine(tree))


def test_a_slow_power_mode_is_named_with_the_fast_one() -> None:
    finding = findings("orin-nano-8gb-jetpack-6.2")["power mode"]
    assert (finding.value, finding.status) == ("25W of 15W, 25W, MAXN_SUPER, 7W", NOTE)
    assert "sudo nvpmodel -m 2" in finding.mend
    assert findings("agx-orin-32gb-jetpack-7.2")["power mode"].status == OK


def test_zram_is_no_swap_to_build_with_and_a_file_is() -> None:
    finding = findings("orin-nano-8gb-jetpack-6.2")["swap"]
    assert finding.status == NOTE
    assert "fallocate -l 8G" in finding.mend
    assert findings("orin-nx-8gb-jetpack-6.2")["swap"].status == OK
    assert findings("agx-thor-jetpack-7.0")["swap"].status == OK  # 128 GB need none


def test_cameras_are_named() -> None:
    value = findings("orin-nano-8gb-jetpack-6.2")["cameras"].value
    assert value == "/dev/video0 (vi-output, imx219 9-0010), /dev/video1 (HD Webcam C525)"


def test_releases_that_are_not_known_are_not_guessed() -> None:
    assert jetpack_of("36.3.0") is not None
    assert jetpack_of("36.3.0").version == "6.0"  # type: ignore[union-attr]
    assert jetpack_of("41.1.0") is None


def test_this_machine_is_looked_at_too() -> None:
    done = subprocess.run([sys.executable, "-m", "palijet", "doctor", "--json"], capture_output=True, text=True)
    found = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == int(any(finding["status"] == PROBLEM for finding in found.values()))
    assert {"machine", "memory", "disk", "GPU", "TensorRT", "onnxruntime", "OpenCV"} <= set(found)
    assert "CPUExecutionProvider" in found["onnxruntime"]["value"]


def test_an_empty_machine_is_unknown_and_no_crash(tmp_path: Path) -> None:
    assert {finding.name: finding.status for finding in examine(tmp_path)}["memory"] == NOTE


@pytest.fixture
def paligemma(demo_bundle: Path) -> Manifest:
    """PaliGemma 3B at 224 pixels: google/paligemma-3b-pt-224's sizes."""
    import msgspec

    manifest = open_bundle(demo_bundle).manifest
    return msgspec.structs.replace(
        manifest,
        vision=msgspec.structs.replace(
            manifest.vision,
            image_size=224,
            patch_size=14,
            rows=256,
            hidden=1152,
            intermediate=4304,
            layers=27,
            heads=16,
        ),
        decoder=msgspec.structs.replace(
            manifest.decoder,
            hidden=2048,
            intermediate=16384,
            layers=18,
            heads=8,
            kv_heads=1,
            head_dim=256,
            vocab=257216,
        ),
    )


def test_weights_are_those_of_the_published_model(paligemma: Manifest) -> None:
    # 2,923,466,480 parameters, as its model card has it, less embeddings tied to the head, norms, biases and positions.
    assert sum(weight_counts(paligemma).values()) == pytest.approx(2_923_466_480, rel=0.002)


def test_a_3b_model_runs_on_8_gb_at_int4_and_not_at_fp16(paligemma: Manifest) -> None:
    board = board_spec("orin-nano-8gb")
    fp16, int4 = plan(paligemma, board, "fp16"), plan(paligemma, board, "int4")
    assert not fp16.runs
    assert int4.runs
    assert int4.builds
    why = refusal(fp16, paligemma)
    assert why is not None
    assert "--precision int8 would take" in why
    assert refusal(int4, paligemma) is None
    assert plan(paligemma, board_spec("agx-orin-64gb"), "fp16").builds


def test_tokens_per_second_follow_from_bandwidth(paligemma: Manifest) -> None:
    slow, fast = (
        plan(paligemma, board_spec(name), "int8").tokens_per_s for name in ("orin-nano-8gb", "orin-nano-8gb-super")
    )
    assert fast / slow == pytest.approx(102 / 68)
    assert slow == pytest.approx(68e9 / 2.52e9, rel=0.02)


def test_more_rows_and_sequences_take_more(paligemma: Manifest) -> None:
    board = board_spec("agx-orin-64gb")
    assert plan(paligemma, board, batch=4).cache == 4 * plan(paligemma, board).cache
    assert plan(paligemma, board, rows=1536).cache == 2 * plan(paligemma, board, rows=768).cache


def test_export_refuses_what_the_board_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from conftest import DEMO_CHECKPOINT

    monkeypatch.setitem(BOARDS, "orin-nano-4gb", replace(BOARDS["orin-nano-4gb"], memory_bytes=1_700_000_000))
    with pytest.raises(
        BundleError, match=r"at fp32 the model takes .* the Jetson Orin Nano 4GB has 1.7 GB for everything"
    ):
        export(DEMO_CHECKPOINT, tmp_path / "b", ExportOptions("fp32", board="orin-nano-4gb"))
    assert not list(tmp_path.iterdir())
    export(DEMO_CHECKPOINT, tmp_path / "b", ExportOptions("fp32", board="orin-nano-8gb"))
    with pytest.raises(InputError, match="a board called nano is not known; choose one of orin-nano-4gb"):
        export(DEMO_CHECKPOINT, tmp_path / "c", ExportOptions("fp32", board="nano"))


def test_plans_are_printed_for_people_and_for_programs(demo_bundle: Path) -> None:
    command = [sys.executable, "-m", "palijet", "doctor", "--bundle", str(demo_bundle), "--board", "thor-t5000"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert [facts["precision"] for facts in json.loads(done.stdout)] == ["fp32", "fp16", "int8", "int4"]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert "tokens/s at best" in shown.stdout
