"""How a file is cut into pieces to be found by: along its syntax, at whole lines, every line with content once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tabby_lsp.index.parts import Definition

MOST_CHUNK_LINES = 60
LEAST_CUT_LINES = 15  # a blank line so soon after a cut is no reason for another
MOST_DEPTH = 20

_CUT_AT_MEMBERS = ("class", "module", "")
_CLOSER = re.compile(r"\W*(?:end)?\W*", re.ASCII)


def chunks(lines: Sequence[str], tops: Sequence[Definition]) -> tuple[tuple[int, int], ...]:
    blank = [not line.strip() for line in lines]
    found: list[tuple[int, int]] = []
    for first, last in _cut(blank, 0, len(lines) - 1, tops, 0):
        closing = last - first < 3 and all(_CLOSER.fullmatch(line) for line in lines[first : last + 1])
        if found and closing:  # the end of what was cut at its members
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return tuple(found)


def _cut(
    blank: Sequence[bool], first: int, last: int, parts: Sequence[Definition], depth: int
) -> Iterator[tuple[int, int]]:
    """The chunks of some lines: each of the parts that stands for itself, and what lies between them."""
    place = first
    for part in parts:
        begin, end = max(part.first, place), min(part.last, last)
        if not part.whole or end < begin:
            continue
        yield from _runs(blank, place, begin - 1)
        if end - begin >= MOST_CHUNK_LINES and part.kind in _CUT_AT_MEMBERS and depth < MOST_DEPTH:
            yield from _cut(blank, begin, end, part.children, depth + 1)
        else:
            yield from _runs(blank, begin, end)
        place = end + 1
    yield from _runs(blank, place, last)


def _runs(blank: Sequence[bool], first: int, last: int) -> Iterator[tuple[int, int]]:
    """Lines without blank ones at their ends; where they are too many, cut at blank lines, or else somewhere."""
    while True:
        while first <= last and blank[first]:
            first += 1
        while first <= last and blank[last]:
            last -= 1
        if first > last:
            return
        if last - first < MOST_CHUNK_LINES:
            yield first, last
            return
        cuts = range(first + MOST_CHUNK_LINES, first + LEAST_CUT_LINES, -1)
        cut = next((line for line in cuts if blank[line]), first + MOST_CHUNK_LINES)
        end = cut - 1
        while blank[end]:
            end -= 1
        yield first, end
        first = cut
