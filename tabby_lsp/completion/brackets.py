"""Which brackets and strings are open at a cursor, and which of them the text behind it closes.

Where what the scanner finds does not fit together this says so, and whoever asks leaves the text alone.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tabby_lsp.completion.scanner import CLOSER_OF, TRIPLES, begins_in, pieces, syntax_of

# Behind a word a quote is an apostrophe, but for the letters that say what kind of a string begins.
_APOSTROPHE = re.compile(r"(?:[^\W_bBeEfFLrRuU]|\w{3})\Z")


class Nesting:
    """What is open at the end of a text, which may be read in several parts that end with a line."""

    def __init__(self, language: str) -> None:
        self._syntax = syntax_of(language)
        self.inside = ""  # the mark of the comment or string of several lines that has no end
        self.openers: list[tuple[str, int]] = []  # that nothing closes, each with its place in the part that it is in
        self.closers = ""  # that close nothing

    def read(self, text: str) -> Nesting:
        inside, self.inside = self.inside, "" if text else self.inside
        closers: list[str] = []
        for mark, start, end, ended in pieces(text, self._syntax, inside):
            if mark in CLOSER_OF:
                self.openers.append((mark, start))
            elif mark not in ")]}":
                self.inside = "" if ended or end == start else mark
            elif self.openers and CLOSER_OF[self.openers[-1][0]] == mark:
                self.openers.pop()
            else:  # the text begins within these, or there is no telling what it is
                closers.append(mark)
                self.openers.clear()
        self.closers += "".join(closers)
        return self


@lru_cache(maxsize=4)  # asked for one text after another at the same place
def _read(text: str, language: str) -> Nesting:
    return Nesting(language).read(text)


@lru_cache(maxsize=4)
def _read_window(text: str, language: str) -> Nesting:
    """The same of text that may begin in the middle of a string."""
    found = Nesting(language)
    found.inside = begins_in(text, language)
    return found.read(text)


def _at(before: str, text: str, language: str) -> Nesting:
    """What is open behind a text at a cursor."""
    start = before.rfind("\n") + 1
    above, found = _read_window(before[:start], language), Nesting(language)
    found.inside, found.openers = above.inside, list(above.openers)
    return found.read(before[start:] + text)


def left_to_close(before: str, text: str, after: str, language: str) -> str | None:
    """The closers that are still to be written between a text at a cursor and what stands behind it, in their order.

    None if there is no telling, as within a comment or a string of several lines.
    """
    found = _at(before, text, language)
    if found.inside:
        return None
    missing = [CLOSER_OF[opener] for opener, _ in reversed(found.openers)]
    closers = _read(after, language).closers
    count = max(0, len(missing) - len(closers))
    return "".join(missing[:count]) if closers.startswith("".join(missing[count:])) else None


def opens_again(before: str, text: str, language: str) -> bool:
    """Whether the same brackets are open behind a text as before it."""
    found = _at(before, text, language)
    opened = [opener for opener, _ in _at(before, "", language).openers]
    return not found.closers and [opener for opener, _ in found.openers] == opened


def inside(before: str, language: str) -> str:
    """The mark of the comment or string of several lines in which the last line of a text begins; or ""."""
    return _read_window(before[: before.rfind("\n") + 1], language).inside


def first_surplus(before: str, text: str, allowed: str, language: str) -> int | None:
    """Where in a text, behind what stands before it, the first closer stands that neither an opener in the text
    nor what is `allowed` accounts for.
    """
    depth, used = 0, 0
    line_prefix = before.rpartition("\n")[2]
    for mark, start, _, _ in pieces(line_prefix + text, syntax_of(language), inside(before, language)):
        if start < len(line_prefix):
            continue
        if mark in CLOSER_OF:
            depth += 1
        elif mark in ")]}":
            if depth:
                depth -= 1
            elif allowed.startswith(mark, used):
                used += 1
            else:
                return start - len(line_prefix)
    return None


def open_quote(line_prefix: str, text: str, language: str, inside: str = "") -> str:
    """The quote of a string that a text begins, behind the beginning of its line, and does not end; or "".

    `inside`: the mark of what the line begins in.
    """
    whole = line_prefix + text
    begin = max(whole.rfind("\n") + 1, len(line_prefix))
    syntax, lone = syntax_of(language), ""
    for mark, start, end, ended in pieces(whole, syntax, inside):
        if not ended and end > start:
            is_own = start >= len(line_prefix) and not (inside and start == 0)
            return mark if is_own and mark in TRIPLES else ""
        if not ended and start >= begin and mark in syntax.quotes and not _is_apostrophe(whole, start):
            lone = lone or mark
    return lone


def _is_apostrophe(text: str, place: int) -> bool:
    return _APOSTROPHE.search(text, max(0, place - 3), place) is not None


def string_around(before: str, text: str, after: str, language: str) -> str:
    """The quote of the string that a text is written into, where the text or the rest of its line ends it; or "".

    A quote that neither does is an apostrophe, or a mark of another kind.
    """
    line = before.rpartition("\n")[2]
    if any(mark in each for mark in TRIPLES for each in (line, text, after)):  # those may begin on any line
        quote = open_quote("", before, language)
        if quote in TRIPLES:
            return quote
    quote = open_quote("", line, language)
    if not quote or quote in after:
        return quote
    return quote if open_quote("", line + text.partition("\n")[0], language) != quote else ""
