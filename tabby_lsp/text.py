"""Lines as LSP counts them: they end at \\n, \\r\\n and \\r and nowhere else (LSP 3.17, "Text Documents").

`str.splitlines` would also split at form feeds, U+2028 and others: an editor's line 4 is then another line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Point = tuple[int, int]  # line, character of the line: both from 0, in code points

_AFTER_LINE_END = re.compile(r"(?<=\n)|(?<=\r)(?!\n)")


def split_lines(text: str) -> list[str]:
    """Lines with their line ends; the last one has none, and is empty if the text ends with a line end."""
    if "\r" in text:
        return _AFTER_LINE_END.split(text)
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines


def content_length(line: str) -> int:
    """Characters of a line without its line end."""
    if line.endswith("\r\n"):
        return len(line) - 2
    return len(line) - line.endswith(("\n", "\r"))


def begin_alike(one: str, other: str) -> int:
    """How many characters two texts begin with that are the same."""
    pairs = zip(one, other, strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a document as it was applied: `text` took the place of what stood between two points."""

    start: Point
    end: Point
    text: str
