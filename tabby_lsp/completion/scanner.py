"""Strings, comments and brackets of a text, found in one pass: what languages write them with stands here only.

No grammar: it is there at the first request, for every language, and in a line that is just being written. The time
is linear in the text, whatever it holds: what is read is never read again, and a quote that has no end on its line is
known to have none from then on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from tabby_lsp.languages import language as facts_of

# Languages of sentences, where most quotes are apostrophes and brackets are marks between words.
PROSE = frozenset(("markdown", "plaintext", "restructuredtext", "tex", "html", "quarto", "typst", "asciidoc"))
CLOSER_OF = {"(": ")", "[": "]", "{": "}"}
QUOTES = "\"'`"
PAIRS = {**CLOSER_OF, **dict(zip(QUOTES, QUOTES, strict=True))}  # what editors close by themselves
TRIPLES = ('"""', "'''")
# Where a single quote is around one character, and begins other things, too: Rust's lifetimes, Haskell's names.
QUOTES_CHARACTERS = frozenset(
    ("c", "cpp", "csharp", "go", "haskell", "java", "kotlin", "objective-c", "ocaml", "rust", "scala", "swift", "zig")
)
_BLOCK_COMMENTS = {
    **dict.fromkeys(("html", "xml", "vue", "svelte", "markdown", "quarto"), ("<!--", "-->")),
    **dict.fromkeys(("css", "less", "sql"), ("/*", "*/")),
    **dict.fromkeys(("haskell", "elm"), ("{-", "-}")),
    **dict.fromkeys(("ocaml", "fsharp"), ("(*", "*)")),
    "julia": ("#=", "=#"),
    "lua": ("--[[", "]]"),
    "powershell": ("<#", "#>"),
}
# Where "#" begins a comment behind a blank only.
_AFTER_BLANK = frozenset(("dockerfile", "makefile", "perl", "shellscript", "yaml"))
# Where single quotes are apostrophes, and double ones stand around words and the values of tags.
NO_STRINGS = PROSE | {"latex", "svelte", "vue", "xml"}
# Where strings in backticks have several lines.
_BACKTICKS = frozenset(("go", "javascript", "javascriptreact", "typescript", "typescriptreact"))


class Piece(NamedTuple):
    """A bracket, a string or a comment. One that is passed over, as a quote without an end on its line, has no length.

    `ended`: whether it has the end that belongs to its mark.
    """

    mark: str  # with which it begins
    start: int
    end: int
    ended: bool


class _Body(NamedTuple):
    """What follows a mark: a `content`, and behind it a `closer`."""

    content: re.Pattern[str]
    closer: str
    runs: bool  # whether it may have no closer, and goes to the end of the content then
    is_comment: bool = False


@dataclass(frozen=True, slots=True)
class Syntax:
    """How strings and comments are written in a language. Brackets are the same in all."""

    marks: re.Pattern[str]  # with which a piece begins
    bodies: Mapping[str, _Body]  # by mark; a bracket has none


def pieces(text: str, syntax: Syntax, inside: str = "", begin: str = "") -> Iterator[Piece]:
    """What is found in a text, in its order. `inside`: the mark of the piece in which the text begins.

    A quote that has no end is an apostrophe, or the beginning of a string that is being written: those to `begin` one
    are taken for that, up to the end of the line in most languages. The others are passed over.
    """
    lone: dict[str, int] = {}  # by quote: up to here each of them is known to have no end
    place = 0
    while place < len(text):
        if inside:
            mark, start, behind, inside = inside, 0, 0, ""
        elif match := syntax.marks.search(text, place):
            mark, start, behind = match[0], match.start(), match.end()
        else:
            return
        body = syntax.bodies.get(mark)
        if body is None:
            yield Piece(mark, start, behind, True)
            place = behind
            continue
        content = None if start < lone.get(mark, 0) else body.content.match(text, behind)
        if content and text.startswith(body.closer, content.end()):
            place = content.end() + len(body.closer)
            yield Piece(mark, start, place, True)
        elif content and (body.runs or mark in begin):
            place = content.end()
            yield Piece(mark, start, place, False)
        else:
            if content:
                lone[mark] = content.end()  # a quote in there is one that a backslash stands before
            yield Piece(mark, start, start, False)
            place = behind


@cache
def syntax_of(language: str) -> Syntax:
    comment = facts_of(language).comment
    has_default = comment == "//" or (not comment and language not in PROSE)
    begin, end = _BLOCK_COMMENTS.get(language, ("/*", "*/") if has_default else ("", ""))
    bodies: dict[str, _Body] = {}
    marks: list[str] = []
    if begin:
        marks.append(re.escape(begin))
        bodies[begin] = _Body(re.compile(rf"(?s:.*?)(?={re.escape(end)}|\Z)"), end, True, True)
    if comment:
        marks.append(_line_comment(comment, language))
        bodies[comment] = _Body(re.compile(r"[^\n]*"), "", True, True)
    bodies['"'] = _Body(_content('"'), '"', False)
    if language not in NO_STRINGS:
        bodies |= {triple: _Body(_content(triple), triple, True) for triple in TRIPLES}
        if language in QUOTES_CHARACTERS:
            bodies["'"] = _Body(re.compile(r"(?:\\[^\n]{1,9}?|[^'\\\n])(?=')"), "'", False)
        elif language != "clojure":
            bodies["'"] = _Body(_content("'"), "'", False)
        if language in _BACKTICKS:
            bodies["`"] = _Body(_content("`", several=True), "`", False)
    marks += [each for each in (*TRIPLES, *QUOTES) if each in bodies]
    return Syntax(re.compile("|".join((*marks, "[][(){}]"))), bodies)


def _line_comment(mark: str, language: str) -> str:
    if mark.isalpha():  # Batch's REM
        return rf"(?<!\w){mark}(?!\w)"
    before = r"\S" if language in _AFTER_BLANK else r"\\"
    return rf"(?<!{before}){re.escape(mark)}"


def _content(mark: str, several: bool = False) -> re.Pattern[str]:
    """Of a string, up to its end: on a line, or of `several`."""
    quote, is_triple = mark[0], len(mark) == 3
    plain = rf"[^{quote}\\]*" if several or is_triple else rf"[^{quote}\\\n]*"
    other = rf"|{quote}(?!{quote}{quote})" if is_triple else ""
    return re.compile(rf"(?s:{plain}(?:(?:\\(?:.|\Z){other}){plain})*)")
