#!/usr/bin/env bash
# Cross-compiles the native core and its tests for aarch64, where Debian's cross compiler is installed: it must compile and link.
set -euo pipefail
cd "$(dirname "$0")/.."
compiler=aarch64-linux-gnu-g++
if ! command -v "$compiler" >/dev/null; then
  if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get install -y -qq g++-aarch64-linux-gnu >/dev/null 2>&1 \
      || { apt-get update -qq && apt-get install -y -qq g++-aarch64-linux-gnu >/dev/null; }
  else
    echo "skipped: $compiler is not installed (sudo apt install g++-aarch64-linux-gnu)"
    exit 0
  fi
fi
build=build/aarch64
# The extension module as well: CPython's headers are the same on both, and a module is linked against no libpython.
cmake -S . -B "$build" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_BUILD_TYPE=Release -DPython_EXECUTABLE="$PWD/.venv/bin/python" \
  -Dpybind11_DIR="$(.venv/bin/python -m pybind11 --cmakedir)" -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$PWD/$build" >/dev/null
cmake --build "$build" --parallel >"$build/build.log" 2>&1 || { tail -40 "$build/build.log"; exit 1; }
file "$build"/_native*.so 2>/dev/null || ls -l "$build"/_native*.so
aarch64-linux-gnu-readelf -h "$build"/_native*.so | grep Machine
