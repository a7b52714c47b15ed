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
cmake -S . -B "$build" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_BUILD_TYPE=Release -DPALIJET_PYTHON=OFF >/dev/null
cmake --build "$build" --parallel >"$build/build.log" 2>&1 || { tail -40 "$build/build.log"; exit 1; }
# The extension module by hand, for CMake finds no Python of another architecture: CPython's headers are the same on both, and a
# module is linked against no libpython.
headers=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
.venv/bin/python -m pip install --quiet pybind11
"$compiler" -std=c++17 -O2 -shared -fPIC -fvisibility=hidden -Wall -Wextra -Werror -Icpp_ext -isystem "$headers" \
  -isystem "$(.venv/bin/python -m pybind11 --cmakedir)/../../../include" \
  cpp_ext/bindings/*.cpp "$build/libpalijet_core.a" -ldl -lpthread \
  -o "$build/_native.so"
aarch64-linux-gnu-readelf -h "$build/_native.so" | grep Machine
