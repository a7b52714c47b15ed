"""onnxruntime-genai's own model builder, and how many bytes a decode step reads of what it wrote.

python build_onnxruntime_genai.py TEXT OUT int4|int8 [OPTION=VALUE ...]
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx


def build(text: str, out: Path, precision: str, options: "list[str]") -> None:
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", text, "-i", text, "-o", str(out)]
        command += ["-p", precision, "-e", "cpu", "-c", scratch]
        subprocess.run(command + (["--extra_options", *options] if options else []), check=True)
    graph = onnx.load(out / "model.onnx", load_external_data=False).graph
    sizes = {tensor.name: _bytes(tensor) for tensor in graph.initializer}
    gathered = {name for node in graph.node if node.op_type.startswith("Gather") for name in node.input[:1]}
    read = {name for node in graph.node if not node.op_type.startswith("Gather") for name in node.input}
    only_rows = gathered - read  # an embedding table that is not the LM head's as well: one row a token
    total = sum(sizes.values())
    figures = {"weights_bytes": total, "bytes_per_token": total - sum(sizes.get(name, 0) for name in only_rows)}
    (out / "weights.json").write_text(json.dumps(figures))


def _bytes(tensor: onnx.TensorProto) -> int:
    """In the file beside the graph, or within it."""
    lengths = [int(entry.value) for entry in tensor.external_data if entry.key == "length"]
    return lengths[0] if lengths else tensor.ByteSize()


if __name__ == "__main__":
    build(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
