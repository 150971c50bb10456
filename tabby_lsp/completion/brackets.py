"""Which brackets are open at a cursor, and which of them the text below closes. A scanner of a few lines.

It knows strings, comments and brackets as most languages have them, no grammar: where what it finds does not fit
together it says so, and whoever asks leaves the text alone.
"""

from __future__ import annotations

import re
from functools import cache

from tabby_lsp.languages import language as facts_of

# Languages of sentences, where most quotes are apostrophes and brackets are marks between words.
PROSE = frozenset(("markdown", "plaintext", "restructuredtext", "tex", "html", "quarto", "typst", "asciidoc"))
CLOSER_OF = {"(": ")", "[": "]", "{": "}"}
# Where a single quote is around one character, and begins other things, too: Rust's lifetimes, Haskell's names.
QUOTES_CHARACTERS = frozenset(
    ("c", "cpp", "csharp", "go", "haskell", "java", "kotlin", "objective-c", "ocaml", "rust", "scala", "swift", "zig")
)
TRIPLES = ('"""', "'''")
_TRIPLE = r"'''(?s:.*?)(?:'''|\Z)|\"\"\"(?s:.*?)(?:\"\"\"|\Z)"
_STRINGS = r"\"(?:\\.|[^\"\\\n])*\"|`(?:\\.|[^`\\\n])*`"
_SINGLE = r"'(?:\\.|[^'\\\n])*'"
_CHARACTER = r"'(?:\\[^\n]{1,9}?|[^'\\\n])'"
_BLOCK_COMMENT = r"/\*(?s:.*?)(?:\*/|\Z)"


@cache
def _scanner(language: str) -> re.Pattern[str]:
    """Matches strings and comments whole, and brackets outside of them as its group. A quote that does not end on its
    line is an apostrophe or a mark of another kind, and passed over.
    """
    comment = facts_of(language).comment
    passed = [_TRIPLE, _STRINGS, _CHARACTER if language in QUOTES_CHARACTERS else _SINGLE]
    if comment:
        passed.append(re.escape(comment) + r"[^\n]*")
    if comment in ("//", ""):
        passed.append(_BLOCK_COMMENT)
    return re.compile("|".join(passed) + r"|([][(){}])")


def unmatched(text: str, language: str) -> tuple[str, str]:
    """The closers in a text that close nothing in it, and the openers that nothing in it closes."""
    closers, openers = "", ""
    for bracket in _scanner(language).findall(text):
        if bracket in CLOSER_OF:
            openers += bracket
        elif bracket and openers and CLOSER_OF[openers[-1]] == bracket:
            openers = openers[:-1]
        elif bracket:  # the text begins within these, or there is no telling what it is
            closers, openers = closers + bracket, ""
    return closers, openers


def open_brackets(text: str, language: str) -> list[int]:
    """The places of the openers in a text that nothing in it closes."""
    places: list[int] = []
    for match in _scanner(language).finditer(text):
        bracket = match[1]
        if bracket and bracket in CLOSER_OF:
            places.append(match.start())
        elif bracket and places and CLOSER_OF[text[places[-1]]] == bracket:
            places.pop()
        elif bracket:
            places.clear()
    return places


def left_to_close(before: str, after: str, language: str) -> str | None:
    """The closers that are still to be written between two texts, in their order. None if there is no telling, as
    within a comment or a string of several lines.
    """
    if ends_in_prose(before, language):
        return None
    openers, closers = unmatched(before, language)[1], unmatched(after, language)[0]
    missing = max(0, len(openers) - len(closers))
    closed, open_still = openers[: len(openers) - missing], openers[len(openers) - missing :]
    if not closers.startswith("".join(CLOSER_OF[opener] for opener in reversed(closed))):
        return None
    return "".join(CLOSER_OF[opener] for opener in reversed(open_still))


def first_surplus(line_prefix: str, text: str, allowed: str, language: str) -> int | None:
    """Where in a text, behind the beginning of its line, the first closer stands that neither an opener in the text
    nor what is `allowed` accounts for.
    """
    openers = ""
    for match in _scanner(language).finditer(line_prefix + text):
        bracket = match[1]
        if not bracket or match.start() < len(line_prefix):
            continue
        if bracket in CLOSER_OF:
            openers += bracket
        elif openers:
            openers = openers[:-1]
        elif allowed.startswith(bracket):
            allowed = allowed[1:]
        else:
            return match.start() - len(line_prefix)
    return None


def open_quote(line_prefix: str, text: str, language: str) -> str:
    """The quote of a string that a text begins, behind the beginning of its line, and does not end; or ""."""
    whole = line_prefix + text
    matches = list(_scanner(language).finditer(whole))
    if matches and matches[-1].start() >= len(line_prefix) and matches[-1].end() == len(whole):
        mark = _unended(matches[-1][0])
        if mark:
            return mark if mark in TRIPLES else ""
    begin = max(whole.rfind("\n") + 1, len(line_prefix))
    quotes = '"' if language in QUOTES_CHARACTERS else "\"'`"
    covered = [match.span() for match in matches]
    outside = (i for i in range(begin, len(whole)) if not any(first <= i < last for first, last in covered))
    return next((whole[i] for i in outside if whole[i] in quotes), "")


def strings_and_comments(text: str, language: str) -> list[tuple[int, int]]:
    """Where in a text each string and comment begins and ends."""
    return [match.span() for match in _scanner(language).finditer(text) if not match[1]]


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


def ends_in_prose(text: str, language: str) -> bool:
    """Whether a text ends within a comment or a string of several lines."""
    matches = list(_scanner(language).finditer(text))
    return bool(matches) and matches[-1].end() == len(text) and _unended(matches[-1][0]) != ""


def _unended(piece: str) -> str:
    """The mark that a comment or string of several lines begins with, if it has no end."""
    for begin, end in (("/*", "*/"), *zip(TRIPLES, TRIPLES, strict=True)):
        if piece.startswith(begin) and not (len(piece) >= len(begin + end) and piece.endswith(end)):
            return begin
    return ""
