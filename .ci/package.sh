#!/usr/bin/env bash
# Builds an sdist, a wheel from that sdist, and runs the wheel in an environment of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

.venv/bin/python -m pip install --quiet build
.venv/bin/python -m build --outdir "$scratch" . >"$scratch/build.log" 2>&1 || { tail -40 "$scratch/build.log"; exit 1; }
ls -l "$scratch"/*.tar.gz "$scratch"/*.whl

.venv/bin/python -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet "$scratch"/*.whl
"$scratch/venv/bin/python" .ci/headless_opencv.py
cd "$scratch" # so that the wheel is imported and not this folder
venv/bin/palijet --version
venv/bin/python - <<'PY'
import sys, time
start = time.perf_counter()
import palijet
took = time.perf_counter() - start
heavy = {"torch", "transformers", "onnx", "onnxruntime", "onnxscript"} & set(sys.modules)
assert not heavy, f"import palijet pulled in {sorted(heavy)}"
from palijet.runtime import _native
print(f"import palijet: {took * 1e3:.0f} ms; {_native.__name__} loads")
PY
