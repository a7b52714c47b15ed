"""A virtual environment per peer, made once from its pinned requirements and made anew when those change."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from .child import run_logged

_REQUIREMENTS = Path(__file__).parent / "requirements"
_STAMP = "requirements.sha256"

PARENT = "palijet"
"""The environment of this process: PaliJet is what is being worked on, not what is installed."""

_BUILD_VARIABLES = {"llama.cpp": {"CMAKE_ARGS": "-DGGML_NATIVE=ON"}}  # kernels of this very processor
_REMOVED = {"openvino-convert": ("torchvision",)}
"""optimum-intel 2.2.0 requires torchvision, which text models do not use; PyPI's is compiled against torch for CUDA, and
beside a CPU wheel of torch its import fails ("operator torchvision::nms does not exist"). To see whether this is still needed:
leave it out."""


class Environments:
    """Pythons by name; names are those of the files in requirements/."""

    def __init__(self, cache: Path, given: Mapping[str, Path], talk: Callable[[str], None]) -> None:
        """given: Pythons to take as they are, in place of environments of these names. talk: is told what takes minutes."""
        self._folder = cache / "environments"
        self._logs = cache / "logs"
        self._given = {PARENT: Path(sys.executable), **given}
        self._talk = talk
        if unknown := set(given) - {PARENT, *names()}:
            raise ValueError(f"there is no environment {', '.join(sorted(unknown))}; there are {', '.join(names())}")

    def python(self, name: str) -> Path:
        """The Python of an environment, which is made if it is not there.

        Raises:
            ChildError: it cannot be made.
        """
        if name in self._given:
            return self._given[name]
        folder = self._folder / name
        python = folder / "bin" / "python"
        if (folder / _STAMP).exists() and (folder / _STAMP).read_text() == _fingerprint(name):
            return python
        self._talk(f"making the environment {name}")
        shutil.rmtree(folder, ignore_errors=True)
        log = self._logs / f"environment-{name}.log"
        try:
            run_logged([sys.executable, "-m", "venv", str(folder)], log)
            install = [str(python), "-m", "pip", "install", "-r", str(_REQUIREMENTS / f"{name}.txt")]
            run_logged(install, log, _BUILD_VARIABLES.get(name))
            for package in _REMOVED.get(name, ()):
                run_logged([str(python), "-m", "pip", "uninstall", "-y", package], log)
        except BaseException:  # Ctrl-C as well: half an environment is none
            shutil.rmtree(folder, ignore_errors=True)
            raise
        (folder / _STAMP).write_text(_fingerprint(name))
        return python

    def has(self, name: str) -> bool:
        """Whether it is there without making it."""
        return name in self._given or (self._folder / name / _STAMP).exists()

    def remove(self, name: str) -> bool:
        """Remove an environment that was made here; False: there was none."""
        if name in self._given or not (self._folder / name).exists():
            return False
        shutil.rmtree(self._folder / name)
        return True


def names() -> list[str]:
    """All environments that there can be."""
    return sorted(file.stem for file in _REQUIREMENTS.glob("*.txt"))


def _fingerprint(name: str) -> str:
    text = (_REQUIREMENTS / f"{name}.txt").read_text() + sys.version
    return hashlib.sha256(text.encode()).hexdigest()
