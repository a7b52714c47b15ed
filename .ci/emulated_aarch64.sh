#!/usr/bin/env bash
# The runtime on an emulated aarch64: the native tests, preprocessing against Pillow, and the demo's first frames, whose tokens
# must be those of x86. Nothing is installed on this machine: qemu, an arm64 Python and its packages are unpacked below build/.
set -euo pipefail
cd "$(dirname "$0")/.."
skip() { echo "skipped: $*"; exit 0; }

release=bookworm # what g++-aarch64-linux-gnu links must find the libc it was linked against
if [ "$(uname -m)" != x86_64 ] || ! grep -qs "^VERSION_CODENAME=$release$" /etc/os-release; then
  skip "this is not Debian $release on x86-64, whose cross compiler and qemu are needed"
fi
# Debian's name for a package's architecture follows a colon.
packages=(qemu-user-static:amd64
  {libc6,libgcc-s1,libstdc++6,zlib1g,libexpat1,libffi8,libssl3,libbz2-1.0,liblzma5}:arm64
  {python3.11-minimal,libpython3.11-minimal,libpython3.11-stdlib,libpython3.11-dev}:arm64)
# onnxruntime 1.32.0 dies of a segmentation fault in qemu 7.2, whichever processor it plays. The pin may go when the frames
# below are answered without it.
wheels=(numpy opencv-python-headless tokenizers msgspec typer rich onnxruntime==1.23.2 pillow pytest hypothesis)

machine=$PWD/build/emulated-aarch64
contents="${packages[*]} ${wheels[*]}"
if [ "$(cat "$machine/ready" 2>/dev/null)" != "$contents" ]; then
  rm -rf "$machine"
  mkdir -p "$machine"/{lists,archives}/partial "$machine/debs"
  # Folders and sources of its own, so that this machine's apt knows nothing of another architecture.
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $release main" \
    >"$machine/sources.list"
  apt=(apt-get -qq -o Dir::State="$machine" -o Dir::State::status=/dev/null -o Dir::Cache="$machine"
    -o Dir::Etc::sourcelist="$machine/sources.list" -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root
    -o APT::Architectures::=amd64 -o APT::Architectures::=arm64)
  (cd "$machine/debs" && "${apt[@]}" update && "${apt[@]}" download "${packages[@]}") >"$machine/apt.log" 2>&1 \
    || { tail -3 "$machine/apt.log"; skip "Debian's packages cannot be downloaded"; }
  for package in "$machine"/debs/*_arm64.deb; do dpkg -x "$package" "$machine/root"; done
  dpkg --fsys-tarfile "$machine"/debs/qemu-user-static_*.deb | tar -x -C "$machine" ./usr/bin/qemu-aarch64-static
  .venv/bin/python -m pip install --quiet --target "$machine/site" --only-binary=:all: --implementation cp \
    --python-version 3.11 --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 \
    --platform manylinux2014_aarch64 "${wheels[@]}" >"$machine/pip.log" 2>&1 || { tail -20 "$machine/pip.log"; exit 1; }
  echo "$contents" >"$machine/ready"
fi

.ci/cross_aarch64.sh "$machine/root/usr/include/python3.11"
command -v aarch64-linux-gnu-g++ >/dev/null || exit 0 # it has said why

# The lean part alone: no export, no demo.
package=$machine/package
rm -rf "$package" && mkdir "$package"
cp -r palijet "$package/" && cp -r runtime jetson "$package/palijet/"
cp build/aarch64/_native.so "$package/palijet/runtime/_native.cpython-311-aarch64-linux-gnu.so"
.venv/bin/python -m palijet export demo/checkpoint -o "$machine/bundle" --precision fp32 --overwrite

# aarch64 COMMAND...: runs an arm64 program. -L: where it finds its libraries; no binfmt is needed.
aarch64=(env PYTHONPATH="$machine/site:$package" PALIJET_TEST_DECODER="$machine/bundle/decoder.onnx"
  PALIJET_ONNXRUNTIME="$(echo "$machine"/site/onnxruntime/capi/libonnxruntime.so.*)"
  "$machine/usr/bin/qemu-aarch64-static" -L "$machine/root")
python=("${aarch64[@]}" "$machine/root/usr/bin/python3.11" -P) # -P: what lies in this folder is not what is imported

"${aarch64[@]}" build/aarch64/tests/native/native_tests
# conftest.py is for tests that export; these do not.
"${python[@]}" -m pytest -q --noconftest -p no:cacheprovider tests/test_preprocess.py
.venv/bin/python .ci/same_tokens.py "$machine/bundle" "${python[@]}"
