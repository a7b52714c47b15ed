"""Where in a TOML text each key stands. Python's TOML parsers do not say, so each statement of a sound text is parsed alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

Path = tuple[str | int, ...]  # ("camera", 0, "name"): the key `name` of the first [[camera]]
Position = tuple[int, int]  # line and column, from 1


class TomlPositions:
    """Lines and columns of the keys of a TOML text that a parser has taken."""

    def __init__(self, text: str, parse: Callable[[str], dict[str, Any]]) -> None:
        """parse: the parser, tomllib.loads or the like, which raises ValueError."""
        self._found: dict[Path, Position] = {(): (1, 1)}
        self._lengths: dict[Path, int] = {}  # of arrays of tables, by the path of the array
        table: Path = ()
        for line, statement, tree in _statements(text, parse):
            at = _Cursor(statement, line)
            if statement.lstrip().startswith("["):
                table = self._header(tree, at)
            else:
                self._keys(tree, table, at)

    def of(self, path: Path) -> Position:
        """The position of a key or of a table's header; of the nearest that is around it, where it has none of its own."""
        while path not in self._found:
            path = path[:-1]
        return self._found[path]

    def _header(self, tree: dict[str, Any], at: _Cursor) -> Path:
        """The path of the table that a header opens: `[a.b]` or `[[a.b]]`."""
        path: Path = ()
        value: Any = tree
        while value:
            ((key, value),) = value.items()
            path += (key,)
            self._found.setdefault(path, at.find(key))
            if isinstance(value, list):  # the last key of [[…]]: one table more
                self._lengths[path] = self._lengths.get(path, 0) + 1
                value = None
            if path in self._lengths:
                path += (self._lengths[path] - 1,)
                self._found.setdefault(path, at.find(key))
            at.skip(key)
        return path

    def _keys(self, value: Any, path: Path, at: _Cursor) -> None:
        """Those of a statement and of the inline tables in it, in the order of the text."""
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            if isinstance(key, str):
                self._found.setdefault((*path, key), at.find(key))
                at.skip(key)
            self._keys(inner, (*path, key), at)


class _Cursor:
    """Looks for keys in a statement, from left to right."""

    def __init__(self, statement: str, line: int) -> None:
        self._statement, self._line, self._at = statement, line, 0

    def find(self, key: str) -> Position:
        before = self._statement[: self._place(key)[0]]
        return self._line + before.count("\n"), len(before) - (before.rfind("\n") + 1) + 1

    def skip(self, key: str) -> None:
        self._at = self._place(key)[1]

    def _place(self, key: str) -> tuple[int, int]:
        """Where it begins and ends. A key that is written with escapes is taken to stand at the first word."""
        quoted = re.escape(key)
        found = re.compile(rf"(?<![\w-])(?:{quoted}|\"{quoted}\"|'{quoted}')(?=\s*[.=\]])").search(
            self._statement, self._at
        )
        found = found or re.compile(r"\S").search(self._statement, self._at)
        return found.span() if found else (self._at, self._at)


def _statements(text: str, parse: Callable[[str], dict[str, Any]]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Each statement, as many lines as a parser takes alone: the line that it begins on, its text, what it says."""
    first, statement = 1, ""
    for number, line in enumerate(text.split("\n"), 1):
        statement += line + "\n"
        try:
            said = parse(statement)
        except ValueError:
            continue  # a value that goes on in the next line
        if said:
            yield first, statement, said
        first, statement = number + 1, ""
