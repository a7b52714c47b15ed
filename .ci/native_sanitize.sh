#!/usr/bin/env bash
# Builds the native tests with AddressSanitizer and UndefinedBehaviorSanitizer and runs them; TensorRT's too, over stand-ins, where
# its headers are found.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! echo '#include <doctest/doctest.h>' | ${CXX:-c++} -std=c++17 -fsyntax-only -x c++ - 2>/dev/null; then
  if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get install -y -qq doctest-dev >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq doctest-dev >/dev/null; }
  else
    echo "skipped: doctest is not installed (sudo apt install doctest-dev)"
    exit 0
  fi
fi
build=build/sanitize
cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPALIJET_PYTHON=OFF -DPALIJET_TESTS=ON \
  -DPALIJET_SANITIZE=address,undefined | grep -E '^-- (CUDA|TensorRT)'
cmake --build "$build" --parallel >"$build/build.log" 2>&1 || { tail -40 "$build/build.log"; exit 1; }

if [ -x .venv/bin/palijet ]; then
  .venv/bin/palijet export demo/checkpoint -o "$build/bundle" --precision fp32 --overwrite
  PALIJET_TEST_BUNDLE="$PWD/$build/bundle"
  PALIJET_ONNXRUNTIME=$(.venv/bin/python -c 'from palijet.runtime.onnxruntime_library import find_onnxruntime as f; print(f())')
  export PALIJET_TEST_BUNDLE PALIJET_ONNXRUNTIME
fi
# onnxruntime keeps what it allocates once per process; leaks are looked for in our own code.
LSAN_OPTIONS="suppressions=$PWD/tests/native/leaks.supp" UBSAN_OPTIONS=print_stacktrace=1 "$build/tests/native/native_tests"
