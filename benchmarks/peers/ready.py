"""An engine made ready to run: its environment and its model, made where they are not there."""

from __future__ import annotations

import re
from pathlib import Path

from .engines import Engine
from .environments import PARENT, Environments, names
from .models import Models
from .turns import Runner

_DRIVERS = Path(__file__).parent / "drivers"
_ROOT = Path(__file__).parents[2]


def ready(engine: Engine, environments: Environments, models: Models, logs: Path) -> Runner:
    """logs: the folder for what the engine will print.

    Raises:
        ChildError: an environment or a model cannot be made.
        NoRoomError: memory is too small to make the model.
    """
    environment = engine.peer if engine.peer in names() else PARENT
    python = environments.python(environment)
    model = models.get(engine.model) / engine.file if engine.model else Path()
    variables = {"PYTHONPATH": str(_ROOT)} if environment == PARENT else {}  # this tree's palijet
    log = logs / f"{file_name(engine.name)}.log"
    return Runner(engine, (str(python), str(_DRIVERS / engine.driver)), model, log, variables)


def file_name(name: str) -> str:
    """A name of letters that any file system takes."""
    return re.sub(r"[^\w.]+", "-", name)
