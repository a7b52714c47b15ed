#!/usr/bin/env bash
# `optimum-cli export palijet` from a clean environment: the wheel, optimum from PyPI, and the demo checkpoint.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-.venv/bin/python}" -m venv "$work/venv"
export PYTHONWARNINGS=ignore
"$work/venv/bin/python" -m pip install --quiet '.[cpu,export]'
# torch is no need of ours, but optimum imports it: the CPU wheel that the oracle extra pins.
"$work/venv/bin/python" -m pip install --quiet optimum torch==2.13.0
cd "$work"
"$work/venv/bin/optimum-cli" export palijet --model "$OLDPWD/demo/checkpoint" bundle --precision int8-weight
"$work/venv/bin/palijet" inspect bundle --json | "$work/venv/bin/python" -c \
    'import json, sys; assert json.load(sys.stdin)["manifest"]["precision"] == "int8-weight"'
echo "optimum-cli export palijet wrote a bundle"
