#!/usr/bin/env bash
# What a token and an answer cost, in counts: none may rise by more than 2 % (benchmarks/guard.py).
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v valgrind >/dev/null && [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get install -y -qq valgrind >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq valgrind >/dev/null; } ||
    echo "valgrind could not be installed"
fi
.venv/bin/python -m benchmarks.guard
