"""Which backend a model runs on; those of a GPU over stand-ins of NVIDIA's libraries, which compute through onnxruntime."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from stand_ins import GpuArray, GpuTensor, StandIns, stand_ins, tensorrt, write_stand_in_engines

import palijet
from palijet import Nv12
from palijet.runtime import _native
from palijet.runtime.errors import EngineError, InputError

__all__ = ["stand_ins", "tensorrt"]  # fixtures


def test_a_backend_that_is_not_known_is_named(demo_bundle: Path) -> None:
    with pytest.raises(EngineError, match="backend openvino is not known; use one of auto, tensorrt, cuda, cpu"):
        palijet.load(demo_bundle, backend="openvino")


@pytest.mark.parametrize("backend", ["tensorrt", "cuda"])
def test_libraries_that_are_not_there_are_named(
    demo_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    if backend == "tensorrt" and _native.TENSORRT_MAJOR is None:
        with pytest.raises(EngineError, match="built without TensorRT's headers"):
            palijet.load(demo_bundle, backend=backend)
        return
    variable, name = {
        "tensorrt": ("PALIJET_NVINFER", "TensorRT"),
        "cuda": ("PALIJET_CUDART", "CUDA's runtime library"),
    }[backend]
    monkeypatch.setenv(variable, str(tmp_path / "none.so"))
    with pytest.raises(EngineError, match=rf"{variable} names .*none.so, which is not a file"):
        palijet.load(demo_bundle, backend=backend)
    (tmp_path / "none.so").write_text("no library")
    with pytest.raises(EngineError, match=f"{name} cannot be opened: .*none.so.*; install .* or use backend='cpu'"):
        palijet.load(demo_bundle, backend=backend)
    monkeypatch.setenv(variable, _native.__file__)  # a library, and another one
    with pytest.raises(EngineError, match=f"is not {name}"):
        palijet.load(demo_bundle, backend=backend)


def test_auto_takes_the_cpu_where_there_are_no_engines(model: palijet.Model) -> None:
    assert (model.backend, model.backend_note) == ("cpu", "")
    assert model.engine_version.startswith("onnxruntime 1.")


class OnCuda:
    """A frame that only a GPU can read."""

    __cuda_array_interface__ = {"shape": (8, 8, 3), "typestr": "|u1", "data": (4096, False), "version": 3}  # noqa: RUF012


def test_a_frame_of_the_gpu_is_refused_on_the_cpu(model: palijet.Model) -> None:
    with pytest.raises(InputError, match="the frame lies in CUDA memory"):
        model.predict(OnCuda(), "caption en")
    wrong = OnCuda()
    wrong.__cuda_array_interface__ = OnCuda.__cuda_array_interface__ | {"typestr": "<f4"}  # type: ignore[misc]
    with pytest.raises(InputError, match="a frame must be of uint8; this one is of <f4"):
        model.predict(wrong, "caption en")


def test_a_tensor_of_another_library_is_read_where_it_lies(model: palijet.Model, scene) -> None:
    """numpy's own DLPack export, behind an object that is no numpy array."""

    class Tensor:
        def __init__(self, values: np.ndarray) -> None:
            self.values = values

        def __dlpack__(self, **options: object) -> object:
            return self.values.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.values.__dlpack_device__()

    frame = scene(4)
    turned = frame[:, ::-1]
    assert model.predict(Tensor(frame), "detect part").tokens == model.predict(frame, "detect part").tokens
    assert model.predict(Tensor(turned), "ocr").tokens == model.predict(turned.copy(), "ocr").tokens
    with pytest.raises(InputError, match="a frame must be of uint8"):
        model.predict(Tensor(frame.astype(np.float32)), "ocr")


@pytest.mark.slow
def test_a_tensor_of_the_gpu_is_refused_on_the_cpu(model: palijet.Model, stand_ins: StandIns, scene) -> None:
    array = GpuArray(stand_ins, scene(5))
    with pytest.raises(InputError, match="the frame lies in CUDA memory"):
        model.predict(GpuTensor(array), "caption en")
    with pytest.raises(InputError, match="a device of DLPack's type 7 cannot be read"):
        model.predict(GpuTensor(array, device_type=7), "caption en")


@pytest.mark.slow
class TestOnTheStandIns:
    @pytest.fixture
    def on_gpu(self, bundle: Path, tensorrt: StandIns) -> palijet.Model:
        write_stand_in_engines(bundle, tensorrt)
        return palijet.load(bundle, backend="tensorrt")

    def test_tensorrt_gives_the_cpus_answers(self, on_gpu: palijet.Model, model: palijet.Model, scene) -> None:
        assert on_gpu.backend == "tensorrt"
        assert on_gpu.engine_version.endswith("CUDA 12.6, compute capability 8.7")
        for seed in range(3):
            prompts = ["detect part", "caption en", "how many parts?"]
            found, expected = on_gpu.predict(scene(seed), prompts), model.predict(scene(seed), prompts)
            assert [result.tokens for result in found] == [result.tokens for result in expected]
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-4)

    def test_auto_takes_the_engines_and_says_why_where_it_cannot(
        self, on_gpu: palijet.Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        assert palijet.load(on_gpu.bundle.path).backend == "tensorrt"
        monkeypatch.setenv("PALIJET_NVINFER", str(tmp_path / "none.so"))
        fallen_back = palijet.load(on_gpu.bundle.path)
        assert fallen_back.backend == "cpu"
        assert "PALIJET_NVINFER names" in fallen_back.backend_note

    def test_a_frame_on_the_gpu_is_answered_without_a_copy(
        self, on_gpu: palijet.Model, tensorrt: StandIns, scene
    ) -> None:
        frame = scene(5)
        expected = on_gpu.predict(frame, "detect part")

        def copies(image: object) -> int:
            before = tensorrt.calls("cudaMemcpyAsync")
            assert on_gpu.predict(image, "detect part").tokens == expected.tokens
            return tensorrt.calls("cudaMemcpyAsync") - before

        tensor = GpuTensor(GpuArray(tensorrt, frame))
        assert copies(frame) == copies(GpuArray(tensorrt, frame)) + 1 == copies(tensor) + 1
        assert tensor.streams[0]  # the stream on which it will be read

    def test_nv12_on_the_gpu_is_answered_as_on_the_host(
        self, on_gpu: palijet.Model, tensorrt: StandIns, model: palijet.Model
    ) -> None:
        data = np.random.default_rng(6).integers(0, 256, (180, 160), dtype=np.uint8)
        expected = model.predict(Nv12(data, "bt709"), "caption en")
        assert on_gpu.predict(Nv12(GpuArray(tensorrt, data), "bt709"), "caption en").tokens == expected.tokens
        assert expected.image_size == (160, 120)

    def test_an_engine_that_fails_in_mid_answer_is_told_and_answers_on(
        self, on_gpu: palijet.Model, tensorrt: StandIns, scene
    ) -> None:
        expected = on_gpu.predict(scene(7), "caption en").tokens
        tensorrt.controls.fail(b"cudaStreamSynchronize", 4)
        with pytest.raises(EngineError, match="the GPU failed: cudaErrorLaunchFailure"):
            on_gpu.predict(scene(7), "caption en")
        assert on_gpu.predict(scene(7), "caption en").tokens == expected

    def test_a_model_gives_all_of_the_gpu_back(self, bundle: Path, tensorrt: StandIns, scene) -> None:
        write_stand_in_engines(bundle, tensorrt)
        gc.collect()
        living = tensorrt.controls.living()
        model = palijet.load(bundle, backend="tensorrt")
        model.predict(scene(8), "caption en")
        assert tensorrt.controls.living() > living + 10
        del model
        gc.collect()
        assert tensorrt.controls.living() == living
