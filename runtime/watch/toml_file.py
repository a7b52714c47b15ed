"""A TOML file that a person wrote: read, filled with environment variables, checked by structs; errors say line and column."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ..errors import InputError, SinkError, SourceError
from ..sources.uri import redact
from .toml_positions import Path as KeyPath
from .toml_positions import TomlPositions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


class TomlFile:
    """Its tables are of plain types, with "${NAME}" in texts replaced by the environment's NAME; "$${" stands for "${"."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            InputError: the file cannot be read, is no TOML, or names a variable that the environment lacks.
        """
        self.path = path
        try:
            self._text = path.read_text(encoding="utf-8")
            self._written: dict[str, Any] = tomllib.loads(self._text)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}; check the path") from None
        except UnicodeDecodeError:
            raise InputError(f"{path} is not UTF-8; save it as UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            raise InputError(self._syntax(str(error))) from None
        self.tables: dict[str, Any] = self._expanded(self._written, ())

    def error(self, path: KeyPath, sentence: str) -> InputError:
        """The sentence, with the place of a key or a table before it."""
        return _PlacedError(f"{self.where(path)}: {sentence}")

    def where(self, path: KeyPath) -> str:
        """cameras.toml, line 7, column 3"""
        line, column = self._positions.of(path)
        return f"{self.path.name}, line {line}, column {column}"

    @contextmanager
    def located(self, *tables: KeyPath) -> Iterator[None]:
        """An error that is raised inside gets the place of the key that it names, in the first of these tables to have it."""
        try:
            yield
        except _PlacedError:
            raise
        except (InputError, SourceError, SinkError) as error:
            keys = [(*path, key) for path in tables for key in self._keys_at(path)]
            named = (path for path in keys if re.search(rf"\b{re.escape(str(path[-1]))}\b", str(error)))
            raise self.error(next(named, tables[0]), str(error)) from None

    def convert(self, value: Any, kind: type[T], path: KeyPath) -> T:
        """A table, or what it was merged into, as a struct; `path` is the table's.

        Raises:
            InputError: a key is unknown or missing, or a value is of a wrong type.
        """
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            sentence, _, where = str(error).partition(" - at `$")
            inner = tuple(int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]`]+", where))
            raise self._explained(sentence, kind, path, inner) from None

    @cached_property
    def _positions(self) -> TomlPositions:
        return TomlPositions(self._text, tomllib.loads)

    def _syntax(self, message: str) -> str:
        what, _, where = message.rstrip(")").partition(" (at ")
        if where == "end of document":
            line, column = self._text.count("\n") + 1, len(self._text) - self._text.rfind("\n")
            where = f"line {line}, column {column}"
        return f"{self.path.name}, {where}: {what[:1].lower()}{what[1:]}; that is no TOML"

    def _expanded(self, value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: self._expanded(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._expanded(inner, (*path, index)) for index, inner in enumerate(value)]
        return _VARIABLE.sub(lambda found: self._variable(found, path), value) if isinstance(value, str) else value

    def _variable(self, found: re.Match[str], path: KeyPath) -> str:
        escaped, name = found.groups()
        if escaped:
            return found.group()[1:]
        if name not in os.environ:
            raise self.error(
                path, f"{name} is not set in the environment; set it, or write $${{{name}}} for the bare text"
            )
        return os.environ[name]

    def _at(self, path: KeyPath) -> Any:
        value: Any = self._written
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def _keys_at(self, path: KeyPath) -> list[str]:
        table = self._at(path)
        return list(table) if isinstance(table, dict) else []

    def _explained(self, sentence: str, kind: Any, path: KeyPath, inner: KeyPath) -> InputError:
        """msgspec's words as ours, at the key they are about."""
        whole = (*path, *inner)
        if found := re.fullmatch(r"Object contains unknown field `(.*)`", sentence):
            known = _keys(kind, inner)
            near = difflib.get_close_matches(found[1], known, 1)
            mend = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(sorted(known))}"
            return self.error((*whole, found[1]), f"{_noun(whole)} has no key '{found[1]}'; {mend}")
        if found := re.fullmatch(r"Object missing required field `(.*)`", sentence):
            return self.error(whole, f"{_noun(whole)} has no {found[1]}; give one: {found[1]} = …")
        key = next((part for part in reversed(whole) if isinstance(part, str)), self.path.name)
        if found := re.fullmatch(r"Expected `array` of (at least )?length (\d+), got (\d+)", sentence):
            return self.error(whole, f"{key} must have {found[1] or ''}{found[2]} values, has {found[3]}")
        if found := re.fullmatch(r"Expected `(\w+)[^`]*`(?: (>=|>|<=|<) ([\d.]+?)(?:\.0)?)?(?:, got .*)?", sentence):
            wanted = _TYPES.get(found[1], found[1]) + (f", {found[2]} {found[3]}" if found[2] else "")
            return self.error(whole, f"{key} must be {wanted}, is {_shown(key, self._at(whole))}")
        return self.error(whole, f"{key}: {sentence}")


class _PlacedError(InputError):
    """An error that says its place already."""


_VARIABLE = re.compile(r"\$(\$)?\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text in quotes",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}


def _shown(key: str, value: Any) -> str:
    """A value as it was written, or nearly; without secrets."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return redact(f"{key}={value!r}").partition("=")[2]  # the key tells what is secret


def _noun(path: KeyPath) -> str:
    """What the table at a path is called: the last name of [[camera.prompt]] is prompt."""
    return next((part for part in reversed(path) if isinstance(part, str)), "the file")


def _keys(kind: Any, path: KeyPath) -> list[str]:
    """Those that the table at a path in a struct has."""
    for part in path:
        if isinstance(part, str):
            kind = next(field.type for field in msgspec.structs.fields(kind) if field.encode_name == part)
        else:
            kind = kind.__args__[0]
    return [field.encode_name for field in msgspec.structs.fields(kind)]
