"""cameras.toml: which cameras are watched, what is asked about them, and where the results go; docs/cameras.md has every key.

A table is checked by a struct, then becomes what the watch works with; every error says where in the file it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ..backend import BACKENDS
from ..cameras.options import CameraOptions
from ..errors import InputError
from ..page.options import PageOptions
from ..sinks.open_sink import open_sink
from ..sinks.sink import AnsweredFrame
from ..sources.uri import parse_uri
from ..zones import Line, Point, Zone
from .condition import Condition, parse_condition
from .toml_file import TomlFile
from .toml_positions import Path as KeyPath
from .watched import Prompt, WatchedCamera


class ModelConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[model]: what answers; None: as the command line says, or as usual."""

    bundle: str | None = None  # folder
    backend: str | None = None
    threads: Annotated[int, Meta(ge=0)] | None = None
    max_batch: Annotated[int, Meta(ge=1)] | None = None  # prompts decoded together
    drafts: bool | None = None
    pipeline: bool | None = None


@dataclass(frozen=True)
class SinkConfig:
    """A [[sink]], as `sinks.open_sink` takes it."""

    address: str = field(repr=False)  # it may hold a password, and so may options
    options: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class WatchConfig:
    """A whole cameras.toml."""

    cameras: tuple[WatchedCamera, ...]  # those that are enabled
    model: ModelConfig = field(default_factory=ModelConfig)
    sinks: tuple[SinkConfig, ...] = ()
    page: PageOptions | None = None  # None: none is served


def read_cameras(path: str | os.PathLike[str]) -> WatchConfig:
    """Read and check a cameras.toml. No camera, broker or page is touched.

    Raises:
        InputError: it cannot be read, or something in it is wrong; with line and column.
    """
    file = TomlFile(Path(path))
    raw = file.convert(file.tables, _File, ())
    model = file.convert(raw.model, ModelConfig, ("model",))
    if model.backend is not None and model.backend not in BACKENDS:
        raise file.error(("model", "backend"), f"backend is {model.backend!r}; give {', '.join(BACKENDS)}")
    file.convert(raw.defaults, _Shared, ("defaults",))
    cameras = _cameras(file, raw)
    sinks = tuple(_sink(file, number, table, cameras) for number, table in enumerate(raw.sink))
    return WatchConfig(cameras, model, sinks, None if raw.page is None else _page(file, raw.page))


class _File(Struct, forbid_unknown_fields=True):
    model: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    camera: list[dict[str, Any]] = []
    sink: list[dict[str, Any]] = []
    page: dict[str, Any] | None = None


class _Prompt(Struct, forbid_unknown_fields=True):
    text: str
    name: str = ""
    every_s: Annotated[float, Meta(ge=0)] = 0.0
    when: str | None = None
    choices: Annotated[list[str], Meta(min_length=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    track: bool = False


class _Zone(Struct, forbid_unknown_fields=True):
    name: str
    polygon: list[Point]
    anchor: str = "center"


class _Line(Struct, forbid_unknown_fields=True):
    name: str
    start: Point = msgspec.field(name="from")
    end: Point = msgspec.field(name="to")


def _optional(kind: type[Any], but: Sequence[str] = ()) -> list[tuple[str, Any, Any]]:
    """The fields of a dataclass as those of a struct that may all be missing."""
    hints = get_type_hints(kind)
    return [(key.name, hints[key.name] | UnsetType, UNSET) for key in fields(kind) if key.name not in but]


class _Watched(Struct, forbid_unknown_fields=True, kw_only=True):
    """What a camera and [defaults] may say beside the fields of CameraOptions."""

    fps: float | None = None
    priority: int = 0
    every: int = 1
    max_staleness_s: float | None = None
    skip_unchanged: bool = False
    realtime: bool = False
    enabled: bool = True
    prompts: list[str] = []
    prompt: list[_Prompt] = []
    zone: list[_Zone] = []
    line: list[_Line] = []


_Shared = msgspec.defstruct(
    "_Shared", _optional(CameraOptions), bases=(_Watched,), kw_only=True, forbid_unknown_fields=True
)
_Camera = msgspec.defstruct(
    "_Camera", [("name", str), ("source", str)], bases=(_Shared,), kw_only=True, forbid_unknown_fields=True
)
_Page = msgspec.defstruct("_Page", _optional(PageOptions), forbid_unknown_fields=True)


def _cameras(file: TomlFile, raw: _File) -> tuple[WatchedCamera, ...]:
    if not raw.camera:
        raise file.error((), "there is no camera; add one: [[camera]] with name, source and prompts")
    cameras: list[WatchedCamera] = []
    named: dict[str, KeyPath] = {}
    for number, table in enumerate(raw.camera):
        path: KeyPath = ("camera", number)
        defaults = raw.defaults
        if "prompt" in table or "prompts" in table:  # a camera's own take the place of all those
            defaults = {key: value for key, value in defaults.items() if key not in ("prompt", "prompts")}
        given: Any = file.convert({**defaults, **table}, _Camera, path)
        if not given.name:
            raise file.error((*path, "name"), "a camera's name is empty; give one, as results and logs will show it")
        if given.name in named:
            first = file.where(named[given.name])
            raise file.error(
                (*path, "name"), f"two cameras are called '{given.name}', the other at {first}; rename one"
            )
        named[given.name] = (*path, "name")
        with file.located(path, ("defaults",)):
            camera = _camera(file, given, path)
        if given.enabled:
            cameras.append(camera)
    if not cameras:
        raise file.error(("camera", 0), "no camera is enabled; set enabled = true for one")
    return tuple(cameras)


def _camera(file: TomlFile, given: Any, path: KeyPath) -> WatchedCamera:
    with file.located((*path, "source")):
        parse_uri(given.source)
    zones = tuple(_counted(file, (*path, "zone", number), _zone, zone) for number, zone in enumerate(given.zone))
    lines = tuple(_counted(file, (*path, "line", number), _line, line) for number, line in enumerate(given.line))
    prompts = _prompts(file, given, path)
    names = [counted.name for counted in (*zones, *lines)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise file.error(path, f"two zones or lines of {given.name} are called '{twice}'; rename one")
    if names and not any(prompt.track for prompt in prompts):
        raise InputError(f"{given.name} counts in {names[0]}, but follows nothing; set track = true for a prompt of it")
    return WatchedCamera(
        name=given.name,
        source=given.source,
        prompts=prompts,
        fps=given.fps,
        priority=given.priority,
        every=given.every,
        max_staleness=given.max_staleness_s,
        skip_unchanged=given.skip_unchanged,
        realtime=given.realtime,
        options=CameraOptions(**_given(given, CameraOptions)),
        zones=zones,
        lines=lines,
    )


def _counted(file: TomlFile, path: KeyPath, make: Callable[[Any], Any], given: Any) -> Any:
    with file.located(path):
        return make(given)


def _zone(given: _Zone) -> Zone:
    if given.anchor not in ("center", "bottom"):
        raise InputError(f"anchor is {given.anchor!r}; give center or bottom")
    return Zone(given.name, tuple(given.polygon), given.anchor)  # type: ignore[arg-type]


def _line(given: _Line) -> Line:
    return Line(given.name, given.start, given.end)


def _prompts(file: TomlFile, given: Any, path: KeyPath) -> tuple[Prompt, ...]:
    """Those of `prompts` and of [[camera.prompt]], whose conditions name one another in no circle."""
    short = [_Prompt(text) for text in given.prompts]
    places: list[KeyPath] = [
        *((*path, "prompts") for _ in short),
        *((*path, "prompt", number) for number in range(len(given.prompt))),
    ]
    prompts = [_prompt(file, one, place) for one, place in zip([*short, *given.prompt], places, strict=True)]
    by_key: dict[str, int] = {}
    for number, prompt in enumerate(prompts):
        if prompt.key in by_key or prompt.text in {other.text for other in prompts[:number]}:
            raise file.error(
                places[number], f"{given.name} is asked '{prompt.key}' twice; ask it once, or name it differently"
            )
        by_key[prompt.key] = number
    hangs_on = {prompt.key: prompt.when.prompts if prompt.when else frozenset() for prompt in prompts}
    for key, number in by_key.items():
        if unknown := sorted(hangs_on[key] - by_key.keys()):
            asked = ", ".join(by_key)
            raise file.error(
                (*places[number], "when"),
                f"when names '{unknown[0]}', which {given.name} is not asked; it is asked {asked}",
            )
    if circle := _circle(hangs_on):
        ring = " on ".join(f"'{key}'" for key in [*circle, circle[0]])
        raise file.error(
            (*places[by_key[circle[0]]], "when"), f"the conditions hang on one another: {ring}; free one of them"
        )
    return tuple(prompts)


def _prompt(file: TomlFile, given: _Prompt, path: KeyPath) -> Prompt:
    if not given.text.strip():
        raise file.error((*path, "text"), "a prompt is empty; give what is asked")
    choices = None if given.choices is None else tuple(given.choices)
    when = None if given.when is None else _condition(file, given.when, (*path, "when"))
    return Prompt(given.text, given.name, given.every_s, when, choices, given.max_tokens, given.track)


def _condition(file: TomlFile, text: str, path: KeyPath) -> Condition:
    try:
        return parse_condition(text)
    except InputError as error:
        raise file.error(path, f"when is no condition: {error}") from None


def _circle(hangs_on: Mapping[str, Iterable[str]]) -> list[str]:
    """Keys that hang on one another, in a ring; none, where there is no ring."""
    clear: set[str] = set()  # that lead to no ring

    def follow(key: str, way: list[str]) -> list[str]:
        if key in way:
            return way[way.index(key) :]
        if key not in clear:
            for other in hangs_on[key]:
                if ring := follow(other, [*way, key]):
                    return ring
            clear.add(key)
        return []

    return next((ring for key in hangs_on if (ring := follow(key, []))), [])


def _sink(file: TomlFile, number: int, table: dict[str, Any], cameras: Sequence[WatchedCamera]) -> SinkConfig:
    path: KeyPath = ("sink", number)
    options = dict(table)
    address = options.pop("address", None)
    if not isinstance(address, str):
        raise file.error(path, 'a sink has no address; give one: address = "results.jsonl"')
    if "when" in options:
        condition = _condition(file, str(options["when"]), (*path, "when"))
        asked = {prompt.key for camera in cameras for prompt in camera.prompts}
        if unknown := sorted(condition.prompts - asked):
            raise file.error((*path, "when"), f"when names '{unknown[0]}', which no camera is asked")
        options["when"] = _Holds(condition)
    with file.located(path):
        bare: Any = open_sink(address)
        file.convert(options, _plain_options(type(bare.options)), path)
        open_sink(address, options)
    return SinkConfig(address, options)


def _plain_options(kind: type[Any]) -> type[Struct]:
    """A struct that checks the types of a sink's options, as far as a TOML file has such types."""
    hints = {**get_type_hints(kind), "spool": Path, "spool_messages": int, "spool_bytes": int}
    keys: list[tuple[str, Any, Any]] = []
    for name, hint in hints.items():
        types = get_args(hint) or (hint,)
        if all(one in (str, int, float, bool, Path, NoneType) for one in types):
            keys.append((name, str | UnsetType if Path in types else hint | UnsetType, UNSET))
    return msgspec.defstruct("_Sink", keys)


@dataclass(frozen=True)
class _Holds:
    """A condition, as sinks ask for it: about an answered frame."""

    condition: Condition

    def __call__(self, answered: AnsweredFrame) -> bool:
        return self.condition.holds(answered.answers)


def _page(file: TomlFile, table: dict[str, Any]) -> PageOptions:
    given = file.convert(table, _Page, ("page",))
    with file.located(("page",)):
        return PageOptions(**_given(given, PageOptions))


def _given(struct: Any, kind: type[Any]) -> dict[str, Any]:
    """The values that a table gave for the fields of a dataclass."""
    values = {key.name: getattr(struct, key.name) for key in fields(kind)}
    return {name: value for name, value in values.items() if value is not UNSET}
