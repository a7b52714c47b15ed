#!/usr/bin/env bash
# TensorRtEngine against each release's headers: compiled with -Werror, and, with the first and the last of them, run over the
# stand-ins. Headers: folders named by release under $PALIJET_TENSORRT_HEADERS, or ../shared/headers/tensorrt.
set -euo pipefail
cd "$(dirname "$0")/.."
headers=${PALIJET_TENSORRT_HEADERS:-$PWD/../shared/headers/tensorrt}
cuda=${CUDA_HOME:-/usr/local/cuda}/include
if [ ! -d "$headers" ] || [ ! -f "$cuda/cuda_runtime_api.h" ]; then
  echo "skipped: no headers of TensorRT in $headers, or of CUDA in $cuda"
  exit 0
fi
mapfile -t releases < <(cd "$headers" && ls -d */ | tr -d / | sort -V)
for release in "${releases[@]}"; do
  for source in cpp_ext/tensorrt_*.cpp; do
    ${CXX:-c++} -std=c++17 -fsyntax-only -Wall -Wextra -Werror -Icpp_ext -isystem "$headers/$release" -isystem "$cuda" "$source"
  done
  echo "TensorRT $release: compiles"
done

if [ ! -x .venv/bin/palijet ] || ! echo '#include <doctest/doctest.h>' | ${CXX:-c++} -fsyntax-only -x c++ - 2>/dev/null; then
  echo "not run: there is no .venv, or doctest is not installed"
  exit 0
fi
bundle=$PWD/build/tensorrt/bundle
mkdir -p build/tensorrt
.venv/bin/palijet export demo/checkpoint -o "$bundle" --precision fp32 --overwrite
PALIJET_ONNXRUNTIME=$(.venv/bin/python -c 'from palijet.runtime.onnxruntime_library import find_onnxruntime as f; print(f())')
export PALIJET_ONNXRUNTIME PALIJET_TEST_BUNDLE="$bundle"
for release in "${releases[0]}" "${releases[-1]}"; do
  build=build/tensorrt/$release
  cmake -S . -B "$build" -DPALIJET_PYTHON=OFF -DPALIJET_TESTS=ON -DPALIJET_TENSORRT_INCLUDE="$headers/$release" >/dev/null
  cmake --build "$build" --parallel >"$build/build.log" 2>&1 || { tail -40 "$build/build.log"; exit 1; }
  echo "TensorRT $release, over the stand-ins:"
  "$build/tests/native/native_tests" --source-file='*tensorrt*' | tail -3
done
