"""A whole measurement: models made, turns taken, engines compared, and all of it written down after every turn."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console

from palijet.jetson.board import read_board

from .agreement import Reference, agreement, prompt_ids, reference
from .child import ChildError
from .driver_process import DriverError
from .engines import ENGINES, Engine
from .environments import Environments
from .models import Models, NoRoomError
from .ready import file_name, ready
from .table import Row, markdown
from .turns import Runner, Work, take_turns

_TELLING_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_int8",
    "asimd",
    "i8mm",
    "bf16",
)


@dataclass(frozen=True)
class Settings:
    """How it is measured."""

    rounds: int
    threads: int
    rows: int  # of the prompt
    tokens: int  # of the answer
    timeout_s: float
    keep_models: bool
    output: Path


class Measurement:
    """Groups of engines, one after the other, into one folder of results."""

    def __init__(self, settings: Settings, environments: Environments, models: Models, talk: Console) -> None:
        self._settings = settings
        self._environments = environments
        self._models = models
        self._talk = talk
        self._tables: list[str] = []
        self._record: dict[str, Any] = {
            "made_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": [Path(sys.executable).name, "-m", "benchmarks.peers", *sys.argv[1:]],
            "machine": {
                "board": str(read_board()),
                "flags": _processor_flags(),
                "kernel": platform.release(),
                "python": platform.python_version(),
            },
            "settings": asdict(settings) | {"output": str(settings.output), "shape": models.shape.folder},
            "groups": {},
        }

    def prepare(self, engines: Sequence[Engine]) -> list[Runner]:
        """Environments and models of all engines; who failed is told, and left out."""
        failed: dict[str, str] = {}
        runners = self._runners(engines, failed)
        for name, reason in failed.items():
            self._talk.print(f"{name}: {reason}")
        return runners

    def group(self, title: str, engines: Sequence[Engine]) -> str:
        """Measure engines beside each other; the table in Markdown. Files in the output folder grow with it."""
        failed: dict[str, str] = {}
        rows = {engine.name: Row(engine) for engine in engines}
        runners = self._runners(engines, failed)
        work = Work(
            prompt_ids(self._settings.rows, self._models.shape.vocabulary),
            self._settings.tokens,
            self._settings.threads,
            self._settings.timeout_s,
        )
        commands = {
            runner.engine.name: {
                "convert": self._models.command(runner.engine.model) if runner.engine.model else None,
                "drive": list(runner.command),
                "load": runner.load_request(work),
            }
            for runner in runners
        }
        self._settings.output.mkdir(parents=True, exist_ok=True)
        with self._talk.status(f"{title}: measuring") as status:
            for turn in take_turns(runners, self._settings.rounds, work, failed, status.update):
                rows[turn.engine].turns.append(turn)
                self._write(title, rows, failed, commands)
            for runner in runners:
                if runner.engine.name not in failed:
                    status.update(f"{title}: comparing {runner.engine.name} with float32")
                    self._compare(rows[runner.engine.name], runner, work)
        self._write(title, rows, failed, commands)
        page = f"## {title}\n\n{markdown(list(rows.values()), work.tokens)}\n"
        self._tables.append(page)
        (self._settings.output / "tables.md").write_text("\n".join(self._tables))
        self._plot(title, list(rows.values()))
        if not self._settings.keep_models:
            for engine in engines:
                self._models.drop(engine.model)
        return page

    def _plot(self, title: str, rows: Sequence[Row]) -> None:
        try:
            from .plot import plot
        except ImportError:
            self._talk.print("no plots: matplotlib is not installed; pip install 'palijet[benchmark]'")
            return
        plot(rows, f"PaliGemma 3B's decoder, {title}", self._settings.output / f"{file_name(title)}.png")

    def _runners(self, engines: Sequence[Engine], failed: dict[str, str]) -> list[Runner]:
        runners = []
        for engine in engines:
            try:
                with self._talk.status(f"preparing {engine.name}"):
                    runners.append(self._ready(engine))
            except (ChildError, NoRoomError, OSError) as error:
                failed[engine.name] = str(error)
        self._models.drop_intermediate({engine.model for engine in engines})
        return runners

    def _ready(self, engine: Engine) -> Runner:
        return ready(engine, self._environments, self._models, self._settings.output / "logs")

    def _compare(self, row: Row, runner: Runner, work: Work) -> None:
        try:
            expected = self._reference(work)
            if expected is None:
                row.agreement_failure = "float32's tokens are made by transformers, which is not asked for"
                return
            said = row.turns[-1].tokens if row.turns else None
            row.agreement = agreement(runner, expected, work, said)
        except (DriverError, ChildError, OSError) as error:
            row.agreement_failure = str(error)

    def _reference(self, work: Work) -> Reference | None:
        file = self._models.folder / "reference.json"
        oracle = next(engine for engine in ENGINES if engine.peer == "transformers")
        if not self._environments.has("transformers"):
            return reference(file, None, work, self._models.shape.vocabulary)
        return reference(file, self._ready(oracle), work, self._models.shape.vocabulary)

    def _write(
        self, title: str, rows: dict[str, Row], failed: dict[str, str], commands: dict[str, dict[str, Any]]
    ) -> None:
        for name, reason in failed.items():
            rows[name].failure = reason
        self._record["groups"][title] = {
            name: {
                "failure": row.failure,
                "agreement": asdict(row.agreement) if row.agreement else row.agreement_failure,
                "commands": commands.get(name),
                "turns": [asdict(turn) for turn in row.turns],
            }
            for name, row in rows.items()
        }
        (self._settings.output / "results.json").write_text(json.dumps(self._record, indent=1))


def _processor_flags() -> list[str]:
    """Of the instructions that these engines have kernels for, those that this processor has."""
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    have = set(found[1].split()) if found else set()
    return [flag for flag in _TELLING_FLAGS if flag in have]
