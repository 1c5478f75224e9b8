"""On which line of a TOML file a value stands: the parser does not say, and an error message should. No torch."""

from __future__ import annotations

import re

Path = tuple[str | int, ...]

HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
LONG_STRING = re.compile(r'"""|\'\'\'')


class Lines:
    """The line of every table header of a TOML text, and of every key if `keys` is set, which takes longer.

    Paths are as in the parsed value: keys and positions.
    """

    def __init__(self, text: str, *, keys: bool = False) -> None:
        self._keys = keys
        self._lines: dict[Path, int] = {}
        self._sizes: dict[Path, int] = {}
        self._scan(text)

    def of(self, path: Path) -> int:
        """The line of the value at `path`, or of the nearest thing around it; 1 where nothing is known."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return 1

    def _scan(self, text: str) -> None:
        block: Path = ()
        inside = False
        for number, line in enumerate(text.splitlines(), start=1):
            was_inside = inside
            if ('"""' in line or "'''" in line) and len(LONG_STRING.findall(line)) % 2:
                inside = not inside
            if was_inside:
                continue
            if line.lstrip().startswith("[") and (header := HEADER.match(line)):
                block = self._header(header[2], repeated=header[1] == "[[")
                self._lines.setdefault(block, number)
            elif self._keys and (key := KEY.match(line)):
                path = block
                for part in _parts(key[1]):
                    path = (*path, part)
                    self._lines.setdefault(path, number)

    def _header(self, name: str, *, repeated: bool) -> Path:
        """The path of a header; one into an array of tables means its latest member."""
        path: Path = ()
        parts = _parts(name)
        for position, part in enumerate(parts):
            path = (*path, part)
            if repeated and position == len(parts) - 1:
                self._sizes[path] = self._sizes.get(path, 0) + 1
            if path in self._sizes:
                path = (*path, self._sizes[path] - 1)
        return path


def _parts(name: str) -> list[str]:
    return [part.strip("\"'") for part in PART.findall(name)]
