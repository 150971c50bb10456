"""Pieces of files as they may stand in a prompt: whole lines, each part with the lines that it stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tabby_lsp.index.search import Hit
from tabby_lsp.index.symbols import Symbol

Span = tuple[int, int]  # lines, the last one included
File = tuple[str, str]  # root and path there

_HOLDING = ("class", "module", "type")  # whose members are shown below them
_CALLED = ("function", "method")
_FIELDS = ("constant", "variable")
MOST_MEMBERS = 24
MOST_HEAD_LINES = 4  # what has a longer one is known by its first lines

_COMMENT = re.compile(r"\s*(#|//|/\*|\*|--)")


@dataclass(frozen=True, slots=True)
class Part:
    lines: Span
    text: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Parts of a file that help for one reason, any of which may be left out. `above` is said whichever are shown."""

    file: File
    parts: tuple[Part, ...]
    reason: str
    score: float
    above: str = ""


def of_hit(hit: Hit, text: str, reason: str, score: float) -> Piece:
    return Piece((hit.root, hit.path), (Part((hit.first, hit.last), text),), reason, score)


def heads(symbols: Sequence[Symbol], most: int) -> tuple[Part, ...]:
    """The first heads of what can be called from elsewhere, in the order of the file, members below what has them."""
    found: list[Part] = []
    around: list[Symbol] = []
    for each in symbols:
        if len(found) == most:
            break
        while around and around[-1].last < each.first:
            around.pop()
        if each.kind in (*_HOLDING, *_CALLED):
            if not any(one.kind in _CALLED for one in around):
                # What has members is said again by them: its head stands for its first line only.
                last = each.first if each.kind in _HOLDING else each.last
                found.append(Part((each.first, last), "    " * len(around) + head(each)))
            around.append(each)
    return tuple(found)


def members(symbols: Sequence[Symbol], scope: str) -> tuple[Part, ...]:
    """The heads of what a class has, its fields too. `scope` is that of what is in it."""
    inside = [each for each in symbols if each.scope == scope and each.kind in (*_HOLDING, *_CALLED, *_FIELDS)]
    return tuple(Part((each.first, each.last), "    " + head(each)) for each in inside[:MOST_MEMBERS])


def inner_scope(symbol: Symbol) -> str:
    """The scope of what is in a symbol."""
    return f"{symbol.scope}.{symbol.name}" if symbol.scope else symbol.name


def head(symbol: Symbol) -> str:
    """Without comments that stand between it and the body."""
    lines = symbol.signature.split("\n")[:MOST_HEAD_LINES]
    return "\n".join([lines[0], *(line for line in lines[1:] if not _COMMENT.match(line))])
