#!/usr/bin/env bash
# Cross-compiles the native core, its tests and the extension module for aarch64, where Debian's cross compiler is installed: they
# must compile and link. $1: the folder of the Python.h that the module is for; by default that of .venv's Python.
set -euo pipefail
cd "$(dirname "$0")/.."
compiler=aarch64-linux-gnu-g++
packages="g++-aarch64-linux-gnu doctest-dev"
if ! command -v "$compiler" >/dev/null || [ ! -f /usr/include/doctest/doctest.h ]; then
  if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # shellcheck disable=SC2086 # two packages
    apt-get install -y -qq $packages >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq $packages >/dev/null; }
  else
    echo "skipped: $compiler or doctest is not installed (sudo apt install $packages)"
    exit 0
  fi
fi
build=build/aarch64
cmake -S . -B "$build" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_BUILD_TYPE=Release -DPALIJET_PYTHON=OFF -DPALIJET_TESTS=ON >/dev/null
cmake --build "$build" --parallel >"$build/build.log" 2>&1 || { tail -40 "$build/build.log"; exit 1; }
# The extension module by hand, for CMake finds no Python of another architecture. A module is linked against no libpython.
# Debian's pyconfig.h includes the architecture's own by way of the folder above.
headers=${1:-$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["include"])')}
.venv/bin/python -m pip install --quiet pybind11
"$compiler" -std=c++17 -O2 -shared -fPIC -fvisibility=hidden -Wall -Wextra -Werror -Icpp_ext -isystem "$headers" \
  -idirafter "$headers/.." -isystem "$(.venv/bin/python -m pybind11 --cmakedir)/../../../include" \
  cpp_ext/bindings/*.cpp "$build/libpalijet_core.a" -ldl -lpthread \
  -o "$build/_native.so"
aarch64-linux-gnu-readelf -h "$build/_native.so" | grep Machine
