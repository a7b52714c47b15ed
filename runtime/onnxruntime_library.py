"""Finds onnxruntime's shared library, which the native core opens; the Python package around it is never imported."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from .errors import EngineError

ENVIRONMENT = "PALIJET_ONNXRUNTIME"


def find_onnxruntime() -> Path:
    """The path of libonnxruntime: $PALIJET_ONNXRUNTIME where it is set, else the installed package's.

    Raises:
        EngineError: there is none.
    """
    given = os.environ.get(ENVIRONMENT)
    if given:
        if not Path(given).is_file():
            raise EngineError(f"{ENVIRONMENT} names {given}, which is not a file; name the path of libonnxruntime.so")
        return Path(given)
    spec = find_spec("onnxruntime")
    folders = (spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        found = sorted((Path(folder) / "capi").glob("libonnxruntime.so*"))
        if found:
            return found[-1]
        raise EngineError(  # releases before 1.19 linked it into their Python module
            f"the onnxruntime in {folder} has no shared library; install 1.19 or newer: pip install 'palijet[cpu]'"
        )
    raise EngineError("onnxruntime is not installed; run: pip install 'palijet[cpu]'")
