#!/usr/bin/env bash
# One command for a machine with an NVIDIA GPU, with or without a network: builds the native core with CUDA and TensorRT where
# their headers are, runs engines beside onnxruntime and tokens beside the FP32 bundle, and writes a page of what was seen.
#
#   benchmarks/gpu_evidence.sh [PAGE.md]      default: docs/gpu-evidence/<device>-<date>.md
#
# What is not there is left out and named in the page. The Python is .venv's if there is one; else PYTHON or python3.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}

if ! "$python" -c 'import palijet.runtime._native' 2>/dev/null || [ "${REBUILD:-1}" = 1 ]; then
  echo "building the native core" >&2
  "$python" -m pip install --quiet --no-deps --no-build-isolation -e . >build.log 2>&1 \
    || "$python" -m pip install --quiet -e '.[cpu,export]' >build.log 2>&1 || { tail -20 build.log >&2; exit 1; }
  rm -f build.log
fi
"$python" -m benchmarks.gpu_evidence "$@"
