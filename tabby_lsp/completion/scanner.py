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
# Where quotes are marks between words.
_NO_STRINGS = PROSE | {"latex", "svelte", "vue", "xml"}
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
    runs: bool  # without a closer, to the end of the content; or else the mark is passed over
    is_comment: bool = False


@dataclass(frozen=True, slots=True)
class Syntax:
    """How strings and comments are written in a language. Brackets are the same in all."""

    marks: re.Pattern[str]  # with which a piece begins
    bodies: Mapping[str, _Body]  # by mark; a bracket has none


def pieces(text: str, syntax: Syntax, inside: str = "") -> Iterator[Piece]:
    """What is found in a text, in its order. `inside`: the mark of the piece in which the text begins."""
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
        elif content and body.runs:
            place = content.end()
            yield Piece(mark, start, place, False)
        else:
            if content:
                lone[mark] = content.end()  # a quote in there is one that a backslash stands before
            yield Piece(mark, start, start, False)
            place = behind


@cache
def syntax_of(language: str, in_full: bool) -> Syntax:
    """`in_full`: as who asks for comments and strings has it; or else as who asks for brackets."""
    comment = facts_of(language).comment
    block = ("/*", "*/") if comment == "//" or (not comment and not in_full) else ("", "")
    if in_full:
        block = _BLOCK_COMMENTS.get(language, block)
    bodies: dict[str, _Body] = {}
    marks: list[str] = []
    if block[0]:
        marks.append(re.escape(block[0]))
        bodies[block[0]] = _Body(re.compile(rf"(?s:.*?)(?={re.escape(block[1])}|\Z)"), block[1], True, True)
    if comment:
        marks.append(_line_comment(comment, language) if in_full else re.escape(comment))
        bodies[comment] = _Body(re.compile(r"[^\n]*"), "", True, True)
    if not (in_full and language in _NO_STRINGS):
        for triple in TRIPLES:
            content = _content(triple, True) if in_full else re.compile(rf"(?s:.*?)(?={triple}|\Z)")
            bodies[triple] = _Body(content, triple, True)
        bodies['"'] = _Body(_content('"', in_full), '"', in_full)
        if language in QUOTES_CHARACTERS:
            bodies["'"] = _Body(re.compile(r"(?:\\[^\n]{1,9}?|[^'\\\n])(?=')"), "'", False)
        elif not in_full or (facts_of(language).name and language != "clojure"):
            bodies["'"] = _Body(_content("'", in_full), "'", in_full)
        if not in_full or language in _BACKTICKS:
            bodies["`"] = _Body(_content("`", in_full, in_full), "`", in_full)
        marks += [each for each in (*TRIPLES, *QUOTES) if each in bodies]
    return Syntax(re.compile("|".join((*marks, "[][(){}]"))), bodies)


def _line_comment(mark: str, language: str) -> str:
    if mark.isalpha():  # Batch's REM
        return rf"(?<!\w){mark}(?!\w)"
    before = r"\S" if language in _AFTER_BLANK else r"\\"
    return rf"(?<!{before}){re.escape(mark)}"


def _content(mark: str, continued: bool, several: bool = False) -> re.Pattern[str]:
    """Of a string, up to its end. `continued`: also behind a backslash at a line's end; `several`: of several lines."""
    quote, is_triple = mark[0], len(mark) == 3
    plain = rf"[^{quote}\\]*" if several or is_triple else rf"[^{quote}\\\n]*"
    escaped = r"\\(?s:.|\Z)" if continued else r"\\."
    other = rf"|{quote}(?!{quote}{quote})" if is_triple else ""
    return re.compile(rf"{plain}(?:(?:{escaped}{other}){plain})*")
