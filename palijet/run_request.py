"""What `palijet run` was asked for, turned into a model, cameras and sinks."""

from __future__ import annotations

import logging
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from .on_signal import OnSignal
from .run import RunOptions, run
from .runtime.errors import InputError
from .runtime.model import load
from .runtime.page.options import PageOptions
from .runtime.sinks.open_sink import SinkSetting, open_sink
from .runtime.sinks.sink import Sink
from .runtime.sources import parse_uri
from .runtime.stream import StreamOptions, watched_cameras
from .runtime.watch.cameras_toml import ModelConfig, SinkConfig, WatchConfig, read_cameras
from .runtime.watch.watch import WatchOptions
from .runtime.watch.watched import WatchedCamera

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRequest:
    """The options of `palijet run`."""

    bundle: Path | None
    sources: tuple[str, ...]  # SOURCE or NAME=SOURCE
    prompts: tuple[str, ...]
    cameras: Path | None  # a cameras.toml in place of both
    stream: StreamOptions
    jsonl: str | None = None
    save: Path | None = None
    sinks: tuple[str, ...] = ()
    page: str | None = None  # PORT or HOST:PORT
    token: str | None = None
    status: Path | None = None
    limit: int | None = None
    threads: int = 0
    backend: str = "auto"


def serve(request: RunRequest, talk: Console) -> None:
    """Run it.

    Raises:
        PaliJetError: something that was asked for is not to be had.
    """
    with OnSignal(signal.SIGHUP) as hangup:  # from now on, for a model takes its time to load
        _serve(request, hangup, talk)


def _serve(request: RunRequest, hangup: OnSignal, talk: Console) -> None:
    config = _config(request)
    model_config, stream = config.model, request.stream
    bundle = request.bundle or (Path(model_config.bundle) if model_config.bundle else None)
    if bundle is None:
        raise InputError("no bundle is given; name the folder that `palijet export` wrote, or give it in cameras.toml")
    batch = {} if model_config.max_batch is None else {"max_batch": model_config.max_batch}
    threads = request.threads or model_config.threads or 0
    model = load(bundle, _said(model_config.backend, request.backend), threads=threads, **batch)
    if model.backend_note:
        talk.print(f"on the CPU: {model.backend_note}", soft_wrap=True)
    watched = config.cameras
    path = request.cameras
    terminal = request.jsonl != "-" and sys.stdout.isatty()
    options = RunOptions(
        watch=WatchOptions(
            drafts=stream.drafts and model_config.drafts is not False,
            pipeline=stream.pipeline or model_config.pipeline is True,
        ),
        page=_page(request) if request.page else config.page,
        status=request.status,
        limit=request.limit,
        terminal=terminal,
        cameras_again=None if path is None else partial(_cameras_again, path, config),
    )
    addresses = _sinks(request, config.sinks, terminal)
    _keep_sources(watched, addresses, request)
    asked = max(len(camera.prompts) for camera in watched)

    def open_sinks(live: bool, fps: float) -> Sequence[Sink]:
        setting = SinkSetting(live=live, cameras=len(watched), fps=fps, panel_lines=asked + 1)
        return [open_sink(sink.address, sink.options, setting) for sink in addresses]

    run(model, watched, open_sinks, options, hangup, talk)


def _cameras_again(path: Path, before: WatchConfig) -> tuple[WatchedCamera, ...]:
    """The cameras of the file as it is now; says what else in it has changed, which waits for the next start."""
    now = read_cameras(path)
    for table in ("model", "sinks", "page"):
        if getattr(now, table) != getattr(before, table):
            log.warning("what changed in [%s] of %s holds from the next start on", _TABLES.get(table, table), path)
    return now.cameras


_TABLES = {"sinks": "[sink]"}


def _config(request: RunRequest) -> WatchConfig:
    """Of the file, or of --source and --prompt."""
    if request.cameras is not None:
        if request.sources or request.prompts:
            raise InputError("--cameras says what is watched and asked; leave out --source and --prompt")
        return read_cameras(request.cameras)
    if not request.sources:
        raise InputError("no source is given; give --source URI, or --cameras FILE")
    if not request.prompts:
        raise InputError('nothing is asked; give --prompt "detect part"')
    named: dict[str, str] = {}
    for given in request.sources:
        name, source = _named(given)
        if name in named:
            raise InputError(f"two sources are called {name}; name them: --source gate=URI --source yard=URI")
        named[name] = source
    cameras: tuple[WatchedCamera, ...] = watched_cameras(named, request.prompts, request.stream)
    return WatchConfig(cameras, ModelConfig())


def _named(given: str) -> tuple[str, str]:
    """Name and source of NAME=SOURCE; a file that is called so is itself."""
    found = re.fullmatch(r"([\w .-]+)=(.+)", given)
    if found and not Path(given).exists():
        return found.group(1), found.group(2)
    return parse_uri(given).shown, given


def _sinks(request: RunRequest, configured: Sequence[SinkConfig], terminal: bool) -> list[SinkConfig]:
    """Results go to standard output unless they go elsewhere or a person looks at it."""
    said = list(request.sinks)
    if request.jsonl is not None:
        said.insert(0, "-" if request.jsonl == "-" else f"lines:{request.jsonl}")
    if request.save is not None:
        said.append(str(request.save))
    if request.save is not None and request.save.suffix.lower() != ".mp4":
        raise InputError(f"{request.save} cannot be written: give the name of a file that ends in .mp4")
    sinks = [*configured, *(SinkConfig(address, {}) for address in said)]
    if not (terminal or configured or request.sinks or request.jsonl):
        sinks.insert(0, SinkConfig("-", {}))
    return sinks


def _keep_sources(watched: Sequence[WatchedCamera], sinks: Sequence[SinkConfig], request: RunRequest) -> None:
    """Raises InputError where a file that is read, or another output, would be written over."""
    written = [Path(sink.address.removeprefix("lines:")).resolve() for sink in sinks]
    for camera in watched:
        path = Path(parse_uri(str(camera.source)).path).resolve()
        if path in written and path.is_file():
            raise InputError(f"results would be written over their source {path.name}; give another file")
    if request.status is not None and request.status.resolve() in written:
        raise InputError(f"--status and a sink both write {request.status}; give another file to one of them")


def _page(request: RunRequest) -> PageOptions:
    host, _, port = (request.page or "").rpartition(":")
    if not port.isdecimal():
        raise InputError(f"page is {request.page!r}; give PORT or HOST:PORT, as 8080 or 0.0.0.0:8080")
    options = PageOptions(port=int(port), token=request.token)
    return replace(options, host=host.strip("[]")) if host else options


def _said(in_file: str | None, on_command_line: str) -> str:
    """The command line has the last word, where it says anything."""
    return in_file if in_file is not None and on_command_line == "auto" else on_command_line
