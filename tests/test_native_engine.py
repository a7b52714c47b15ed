"""`OnnxEngine`, run from Python, against onnxruntime's own Python API; what it refuses is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from palijet.runtime._native import OnnxEngine
from palijet.runtime.errors import EngineError, InputError
from palijet.runtime.onnxruntime_library import find_onnxruntime

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """y = a @ b in float32, for a of any number of rows; z = the column of the largest number in each row of a, int32."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["y"]),
        helper.make_node("ArgMax", ["a"], ["best"], axis=1, keepdims=0),
        helper.make_node("Cast", ["best"], ["z"], to=TensorProto.INT32),
    ]
    inputs = [
        helper.make_tensor_value_info("a", TensorProto.FLOAT, ["n", 5]),
        helper.make_tensor_value_info("b", TensorProto.FLOAT, [5, 3]),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3]),
        helper.make_tensor_value_info("z", TensorProto.INT32, ["n"]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", inputs, outputs),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


@pytest.fixture
def engine(graph: Path) -> OnnxEngine:
    return OnnxEngine(str(graph), library=str(find_onnxruntime()), threads=1)


def feeds(rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows)
    return {"a": random.normal(size=(rows, 5)).astype("f4"), "b": random.normal(size=(5, 3)).astype("f4")}


def shapes(rows: int) -> dict[str, list[int]]:
    return {"y": [rows, 3], "z": [rows]}


def test_tensors_are_described(engine: OnnxEngine) -> None:
    assert engine.inputs == [("a", "float32", (-1, 5)), ("b", "float32", (5, 3))]
    assert engine.outputs == [("y", "float32", (-1, 3)), ("z", "int32", (-1,))]
    assert engine.version == onnxruntime.__version__


def test_results_are_onnxruntimes_own_whatever_the_shape(engine: OnnxEngine, graph: Path) -> None:
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    for rows in (4, 4, 1, 9, 4, 0):
        given = feeds(rows)
        y, z = session.run(["y", "z"], given)
        results = engine.run(given, shapes(rows))
        np.testing.assert_array_equal(results["y"], y)
        np.testing.assert_array_equal(results["z"], z)


def test_arrays_that_are_not_contiguous_are_taken(engine: OnnxEngine) -> None:
    given = feeds(4)
    turned = given | {"a": np.asfortranarray(given["a"]), "b": given["b"][::-1, ::-1][::-1, ::-1]}
    np.testing.assert_array_equal(engine.run(turned, shapes(4))["y"], engine.run(given, shapes(4))["y"])


def test_what_an_earlier_run_was_given_is_not_used_again(engine: OnnxEngine) -> None:
    engine.run(feeds(4), shapes(4))
    with pytest.raises(InputError, match="lacks the input a"):
        engine.run({"b": feeds(4)["b"]}, shapes(4))
    with pytest.raises(InputError, match="lacks the shape of the output z"):
        engine.run(feeds(4), {"y": [4, 3]})


def test_memory_under_another_type_is_refused(engine: OnnxEngine) -> None:
    given = feeds(4)
    engine.run(given, shapes(4))
    with pytest.raises(EngineError, match=r"a is float32 .* and was given int32"):
        engine.run(given | {"a": given["a"].view(np.int32)}, shapes(4))


@pytest.mark.parametrize(
    ("name", "value", "error", "sentence"),
    [
        ("a", np.zeros((4, 6), "f4"), EngineError, r"a is float32 \[\?, 5\] and was given float32 \[4, 6\]"),
        ("a", np.zeros(5, "f4"), EngineError, r"was given float32 \[5\]"),
        ("a", np.zeros((4, 5), "f8"), InputError, "an array of float64 cannot be given"),
        ("a", [[1.0], [1.0, 2.0]], InputError, "given as a is not an array"),
        ("c", np.zeros(5, "f4"), EngineError, "the graph has no tensor c"),
    ],
)
def test_wrong_feeds_are_refused(
    engine: OnnxEngine, name: str, value: object, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        engine.run(feeds(4) | {name: value}, shapes(4))  # type: ignore[dict-item]


def test_an_output_of_a_wrong_shape_is_refused_in_onnxruntimes_words(engine: OnnxEngine) -> None:
    with pytest.raises(EngineError, match=r"failed to run: .*shape"):
        engine.run(feeds(4), {"y": [5, 3], "z": [4]})


@pytest.mark.parametrize("damage", ["missing", "cut", "text", "empty"])
def test_a_graph_that_cannot_be_opened_is_named(graph: Path, damage: str) -> None:
    if damage == "missing":
        graph.unlink()
    else:
        graph.write_bytes({"cut": graph.read_bytes()[:100], "text": b"not a graph", "empty": b""}[damage])
    with pytest.raises(EngineError, match=r"tiny\.onnx cannot be opened: "):
        OnnxEngine(str(graph), library=str(find_onnxruntime()), threads=1)
