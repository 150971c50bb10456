"""What is cited: some lines of a file, what they define, and the file's hash, from which anybody can tell later whether
the lines still are those. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tabby_lsp.index.entry import FIELDS
from tabby_lsp.index.parts import Symbol
from tabby_lsp.index.passages import Passage
from tabby_lsp.index.pieces import inner_scope
from tabby_lsp.index.question import Question
from tabby_lsp.index.words import tokens
from tabby_lsp.text import split_lines


@dataclass(frozen=True, slots=True)
class Citation:
    """Lines of a file that answer a question. All are counted from 0, the last one is included."""

    root: str
    path: str  # from the root, with "/"
    language: str
    first: int
    last: int
    line: int  # to jump to
    kind: str  # of what is defined there or around it, "" if nothing is
    name: str  # with the names around it, joined with "."
    text: str  # of these lines, without the last line end
    score: float  # the higher the better, to be compared within one answer
    hash: str  # of the whole file's text in UTF-8: BLAKE2b of 16 bytes, in hexadecimal digits
    unsaved: bool  # it is as an editor has it, not as on the disk


def cited(passage: Passage, score: float, asked: Question) -> Citation:
    """A passage that answers a question. Where to jump to: what is defined there, if its name or documentation says a
    word of the question, or else the line that says most of it."""
    wanted = set(asked.own_tokens)
    symbol = _about(passage, wanted, asked.kinds)
    lines = split_lines(passage.text)
    line, said = _telling(lines, wanted, asked.phrases)
    meant = not said or bool(asked.kinds) or (symbol is not None and _said(symbol, wanted) > 0)
    if symbol is not None and symbol.first >= passage.first and meant and not asked.phrases:
        line = _line_of(symbol, lines, symbol.first - passage.first)
    return _citation(passage, symbol, passage.first, passage.last, passage.first + line, lines, score)


def cited_line(passage: Passage, line: int) -> Citation:
    """One line of a passage, where a pattern begins to match."""
    around = [each for each in passage.symbols if each.first <= line <= each.last]
    symbol = around[-1] if around else None
    return _citation(passage, symbol, line, line, line, split_lines(passage.text), 1.0)


def _citation(
    passage: Passage, symbol: Symbol | None, first: int, last: int, line: int, lines: Sequence[str], score: float
) -> Citation:
    return Citation(
        passage.root,
        passage.path,
        passage.language,
        first,
        last,
        line,
        symbol.kind if symbol else "",
        inner_scope(symbol) if symbol else "",
        "".join(lines[first - passage.first : last - passage.first + 1]).rstrip("\r\n"),
        round(score, 3),
        passage.hash.hex(),
        passage.unsaved,
    )


def _about(passage: Passage, wanted: set[str], kinds: Sequence[str]) -> Symbol | None:
    """Of what is defined in some lines or around them that which says most of the question; of several what begins
    there, and what comes first."""
    begun = [
        each for each in passage.begun if each.kind in kinds or (not kinds and each.kind not in FIELDS)
    ] or passage.begun
    around = [each for each in passage.symbols if each.first < passage.first][-1:]
    return max([*begun, *around], key=lambda each: _said(each, wanted), default=None)


def _said(symbol: Symbol, wanted: set[str]) -> int:
    return len(wanted.intersection(tokens(f"{symbol.name} {symbol.doc}")))


def _line_of(symbol: Symbol, lines: Sequence[str], begin: int) -> int:
    """The line where the head of a definition begins: decorators and comments may stand above."""
    head = symbol.signature.partition("\n")[0].strip() or symbol.name
    return next((number for number in range(begin, len(lines)) if head in lines[number]), begin)


def _telling(lines: Sequence[str], wanted: set[str], phrases: Sequence[str]) -> tuple[int, int]:
    """The first of the lines that say most of the question, and how much."""
    said = [len(wanted.intersection(tokens(line))) for line in lines]
    for number, line in enumerate(lines):
        said[number] += sum(len(wanted) for phrase in phrases if phrase.lower() in " ".join(line.lower().split()))
    most = max(said, default=0)
    return (said.index(most) if most else 0), most
