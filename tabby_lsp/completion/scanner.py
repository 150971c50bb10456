"""Strings, comments and brackets of a text, found in one pass, by what `languages.toml` says of its language.

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

from tabby_lsp.languages import Language
from tabby_lsp.languages import language as facts_of

CLOSER_OF = {"(": ")", "[": "]", "{": "}"}
QUOTES = "\"'`"
PAIRS = {**CLOSER_OF, **dict(zip(QUOTES, QUOTES, strict=True))}  # what editors close by themselves
TRIPLES = ('"""', "'''")


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
    quotes: str  # that begin a string which may be ended for who writes it


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


# What stands before a triple quote that begins a string, and behind one that ends it, on its line.
_BEFORE_STRING = re.compile(r"(?:^|[=(,:\[{+%]|\breturn|\b[rRbBuUfF]{1,2})[ \t]*$")
_BEHIND_STRING = re.compile(r"[ \t]*(?:$|[]).,}%+:;#])")
_TRIPLE = re.compile("|".join(TRIPLES))


def begins_in(text: str, language: str) -> str:
    """The mark of the string of several lines in which a text begins, as a window of a document may; or "".

    A triple quote may begin a string or end one: of the two ways to pair them all, that which fits more of them.
    """
    if not set(TRIPLES) & set(facts_of(language).long):
        return ""
    marks = list(_TRIPLE.finditer(text))
    mark = marks[0][0] if marks else ""
    fits = 0  # how many more fit if the text does not begin in a string
    for number, each in enumerate(each for each in marks if each[0] == mark):
        line = text.rfind("\n", 0, each.start()) + 1
        end = text.find("\n", each.end())
        begins = _BEFORE_STRING.search(text[line : each.start()]) is not None
        ends = _BEHIND_STRING.match(text[each.end() : end if end >= 0 else len(text)]) is not None
        fits += (begins - ends) * (1 if number % 2 == 0 else -1)
    return mark if fits < 0 else ""


@cache
def _syntax(facts: Language) -> Syntax:
    bodies: dict[str, _Body] = {}
    marks: list[str] = []
    begin, end = facts.block_comment
    if begin:
        marks.append(re.escape(begin))
        bodies[begin] = _Body(re.compile(rf"(?s:.*?)(?={re.escape(end)}|\Z)"), end, True, True)
    if facts.comment:
        marks.append(_line_comment(facts.comment, facts.after_blank))
        bodies[facts.comment] = _Body(re.compile(r"[^\n]*"), "", True, True)
    if facts.quotes:
        bodies |= {mark: _Body(_content(mark, True), _closer(mark), mark != "`") for mark in facts.long}
    for quote in facts.quotes or '"':  # which is around the value of a tag
        bodies.setdefault(quote, _Body(_content(quote), quote, False))
    if facts.characters:
        bodies["'"] = _Body(re.compile(r"(?:\\[^\n]{1,9}?|[^'\\\n])(?=')"), "'", False)
    strings = [each for each in bodies if not bodies[each].is_comment]
    marks += map(re.escape, sorted(strings, key=len, reverse=True))
    return Syntax(re.compile("|".join((*marks, "[][(){}]"))), bodies, facts.quotes + "`" * ("`" in facts.long))


def syntax_of(language: str) -> Syntax:
    return _syntax(facts_of(language))


def _line_comment(mark: str, after_blank: bool) -> str:
    if mark.isalpha():  # Batch's REM
        return rf"(?<!\w){mark}(?!\w)"
    before = r"\S" if after_blank else r"\\"
    return rf"(?<!{before}){re.escape(mark)}"


def _closer(mark: str) -> str:
    return '"' if mark == '@"' else mark


def _content(mark: str, several: bool = False) -> re.Pattern[str]:
    """Of a string, up to its end: on a line, or of `several`."""
    quote = mark[-1]
    if mark == '@"':  # of C#, where a quote is written twice
        return re.compile(r'[^"]*(?:""[^"]*)*')
    if mark == "''":  # of Nix
        return re.compile(r"[^']*(?:(?:'(?!')|''(?=['$\\]).)[^']*)*")
    plain = rf"[^{quote}\\]*" if several else rf"[^{quote}\\\n]*"
    other = rf"|{quote}(?!{quote}{quote})" if mark in TRIPLES else ""
    return re.compile(rf"(?s:{plain}(?:(?:\\(?:.|\Z){other}){plain})*)")
