#!/usr/bin/env bash
# Runs the quick tests at both ends of what PaliJet supports: JetPack 6's Python 3.10, numpy 1.26, OpenCV 4.8 and the
# oldest onnxruntime, and the newest Python with the newest of everything.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

find_python() { # version
  local found
  for found in "$HOME"/.pyenv/versions/"$1".*/bin/python "$(command -v "python$1" || true)"; do
    if [ -x "$found" ] && "$found" -c '' 2>/dev/null; then echo "$found"; return; fi
  done
}

run_end() { # Python version, pinned requirements...
  local version=$1 python env="$scratch/$1"
  shift
  python=$(find_python "$version")
  if [ -z "$python" ]; then echo "skipped: no Python $version on this machine"; return; fi
  "$python" -m venv "$env"
  "$env/bin/python" -m pip install --quiet --upgrade pip
  # Neither editable nor tested in the source tree: the extension that lies there is another Python's.
  PYTHONWARNINGS=ignore "$env/bin/python" -m pip install --quiet ".[cpu,export,test]" "$@"
  "$env/bin/python" .ci/headless_opencv.py
  "$env/bin/python" -c 'import sys, numpy, cv2; print(f"Python {sys.version.split()[0]}, numpy {numpy.__version__}, OpenCV {cv2.__version__}")'
  "$env/bin/python" -m pip list 2>/dev/null | grep -E '^onnxruntime ' || true
  rm -rf "$scratch/tree" && mkdir "$scratch/tree" && cp -r tests demo cpp_ext benchmarks docs pyproject.toml "$scratch/tree/"
  (cd "$scratch/tree" && "$env/bin/python" -m pytest -q -m "not slow and not oracle" -p no:cacheprovider)
}

run_end 3.10 "numpy==1.26.4" "opencv-python==4.8.1.78" "onnxruntime==1.19.2"
run_end 3.13
