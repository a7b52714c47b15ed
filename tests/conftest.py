"""What several tests share: the demo checkpoint as a bundle, and models loaded from it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import palijet
from palijet.export import ExportOptions, export

DEMO_CHECKPOINT = Path(__file__).parent.parent / "demo" / "checkpoint"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests remember verified files in a folder of their own."""
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session", autouse=True)
def _heeds_sigint() -> None:
    """A shell starts background jobs deaf to SIGINT, and the processes that tests interrupt would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo checkpoint at fp32; not to be changed."""
    folder = tmp_path_factory.mktemp("demo") / "bundle"
    export(DEMO_CHECKPOINT, folder, ExportOptions(precision="fp32"))
    return folder


@pytest.fixture(scope="session")
def model(demo_bundle: Path) -> palijet.Model:
    return palijet.load(demo_bundle, threads=1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of the demo checkpoint, to be damaged."""
    return Path(shutil.copytree(DEMO_CHECKPOINT, tmp_path / "checkpoint"))


@pytest.fixture
def bundle(demo_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the demo bundle, to be damaged."""
    return Path(shutil.copytree(demo_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def scene() -> Callable[[int], np.ndarray]:
    """The frame of a demo scene: [240, 320, 3] BGR."""
    from palijet.demo.drawing import draw
    from palijet.demo.scene import random_scene

    return lambda seed: draw(random_scene(seed)).image
