"""Holes to fill: pieces taken out of real files, chosen by a seed.

Owns what makes a good hole, of four kinds: the rest of a line, the arguments of a call, the body of a function, a whole
function. Does not know models.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tabby_lsp.completion.context import surround
from tabby_lsp.data import CompletionContext
from tabby_lsp.index.symbols import Outline, outline
from tabby_lsp.text import split_lines

KINDS = ("line", "arguments", "body", "function")
SHORTEST = 3  # characters of what is taken out, blanks at its ends not counted
MOST_LINES = 40  # of a body or a function: what is longer is no one suggestion
TRIES = 40  # places that are looked at for each hole that is wanted

IDENTIFIER = re.compile(r"[^\W\d]\w*")
_CODE_LINE = re.compile(r"[ \t]*(?![ \t]|#|//|/\*|\*|\"\"\"|''')\S.*")
_ARGUMENTS = re.compile(r"\w\(([^()\n]{3,120})\)")


@dataclass(frozen=True, slots=True)
class File:
    path: str  # relative to the folder, with "/"
    language: str
    text: str  # with "\n" line ends
    outline: Outline


@dataclass(frozen=True, slots=True)
class Hole:
    """What stands from `start` to `end`, in characters, is taken out; the cursor is there.

    `foreign`: its first line uses a name that another file of the folder defines, and this one does not.
    """

    file: File
    start: int
    end: int
    kind: str
    foreign: bool

    @property
    def wanted(self) -> str:
        return self.file.text[self.start : self.end]

    @property
    def line(self) -> int:
        """The cursor's line, from 1."""
        return self.file.text.count("\n", 0, self.start) + 1

    def context(self, repository: str) -> CompletionContext:
        text = self.file.text
        above = text[: self.start]
        lines = split_lines(above + text[self.end :])
        place = above.count("\n"), len(above) - above.rfind("\n") - 1
        prefix, line_suffix, suffix, first_line = surround(lines, *place)
        return CompletionContext(
            prefix, line_suffix, suffix, first_line, self.file.path, repository, self.file.language
        )


def read_files(sources: Iterable[tuple[str, str, str]]) -> list[File]:
    """Files of path, language and text."""
    files = []
    for path, language, text in sources:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        files.append(File(path, language, text, outline(text, language)))
    return files


def choose(files: Sequence[File], count: int, seed: int, kinds: Sequence[str] = KINDS) -> list[Hole]:
    """So many holes, as many of each kind, in files by their length. Fewer where there is little to cut."""
    chance = random.Random(seed)
    elsewhere = _definers(files)
    files = [file for file in files if file.text.strip() and file.outline.symbols]
    if not files:
        return []
    weights = [len(file.text) for file in files]
    holes: dict[tuple[str, int], Hole] = {}
    for kind in kinds:
        wanted = len(holes) + count // len(kinds)
        for _ in range(TRIES * count):
            if len(holes) >= wanted:
                break
            file = chance.choices(files, weights)[0]
            piece = _PIECES[kind](file, chance)
            if piece is None:
                continue
            start, end = piece
            if len(file.text[start:end].strip()) >= SHORTEST:
                foreign = _is_foreign(file, file.text[start:end], elsewhere)
                holes.setdefault((file.path, start), Hole(file, start, end, kind, foreign))
    return list(holes.values())


def _definers(files: Sequence[File]) -> Mapping[str, set[str]]:
    """The files that define a name."""
    found: dict[str, set[str]] = {}
    for file in files:
        for symbol in file.outline.symbols:
            found.setdefault(symbol.name, set()).add(file.path)
    return found


def _is_foreign(file: File, wanted: str, definers: Mapping[str, set[str]]) -> bool:
    line = next((line for line in wanted.split("\n") if line.strip()), "")
    return any(file.path not in definers.get(name, {file.path}) for name in IDENTIFIER.findall(line))


# --- pieces: (start, end) in a file, or None if what was looked at does not do


def _line_rest(file: File, chance: random.Random) -> tuple[int, int] | None:
    """From somewhere in a line of code, its beginning included, to its end."""
    start = chance.randrange(len(file.text))
    begin = file.text.rfind("\n", 0, start) + 1
    end = file.text.find("\n", start)
    end = len(file.text) if end < 0 else end
    line = file.text[begin:end]
    if not _CODE_LINE.fullmatch(line):
        return None
    return max(start, begin + len(line) - len(line.lstrip())), begin + len(line.rstrip())


def _call_arguments(file: File, chance: random.Random) -> tuple[int, int] | None:
    start = chance.randrange(len(file.text))
    found = _ARGUMENTS.search(file.text, start, start + 4000)
    if found is None or not _CODE_LINE.match(file.text, file.text.rfind("\n", 0, found.start()) + 1):
        return None
    return found.span(1)


def _function_body(file: File, chance: random.Random) -> tuple[int, int] | None:
    place = _function(file, chance)
    if place is None:
        return None
    head, end = place
    begin = file.text.find("\n", head) + 1
    body = file.text[begin:end]
    return (begin + len(body) - len(body.lstrip(" \t")), end) if 0 < begin < end and body.strip() else None


def _whole_function(file: File, chance: random.Random) -> tuple[int, int] | None:
    place = _function(file, chance)
    if place is None:
        return None
    symbol_head = place[0]
    begin = file.text.rfind("\n", 0, symbol_head) + 1
    line = file.text[begin : place[1]]
    return begin + len(line) - len(line.lstrip(" \t")), place[1]


def _function(file: File, chance: random.Random) -> tuple[int, int] | None:
    """Where the last line of a function's head begins or goes on, and where the function ends."""
    functions = [each for each in file.outline.symbols if each.kind in ("function", "method")]
    if not functions:
        return None
    symbol = chance.choice(functions)
    if symbol.last - symbol.first > MOST_LINES:
        return None
    starts = list(accumulate((len(line) for line in split_lines(file.text)), initial=0))
    first, end = starts[symbol.first], starts[min(symbol.last + 1, len(starts) - 1)]
    while end > first and file.text[end - 1] in "\n \t":
        end -= 1
    head = file.text.find(symbol.signature, first, end)
    return (head, end) if head >= 0 and "\n" not in symbol.signature else None


_PIECES = {"line": _line_rest, "arguments": _call_arguments, "body": _function_body, "function": _whole_function}
