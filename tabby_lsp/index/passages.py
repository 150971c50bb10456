"""Passages: what is found of a file, with all that is to be known of it. Knows neither questions nor the database."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tabby_lsp.index.entry import Entry
from tabby_lsp.index.parts import Symbol
from tabby_lsp.text import split_lines


@dataclass(frozen=True, slots=True)
class Passage:
    """Some lines of a file, from 0 and the last one included, with what is defined in them or around them."""

    root: str
    path: str
    language: str
    hash: bytes  # of the whole file's text
    unsaved: bool  # it is as an editor has it
    first: int
    last: int
    text: str
    symbols: tuple[Symbol, ...]

    @property
    def begun(self) -> list[Symbol]:
        return [each for each in self.symbols if self.first <= each.first <= self.last]


def narrowed(passage: Passage, symbol: Symbol) -> Passage:
    """Only what defines a symbol that begins in a passage."""
    last = min(symbol.last, passage.last)
    lines = split_lines(passage.text)[symbol.first - passage.first : last - passage.first + 1]
    return replace(passage, first=symbol.first, last=last, text="".join(lines), symbols=(symbol,))


def passages_of(root: str, entry: Entry) -> list[Passage]:
    """Those of a file that was just read."""
    return [
        Passage(
            root,
            entry.path,
            entry.language,
            entry.hash,
            False,
            chunk.first,
            chunk.last,
            chunk.text,
            tuple(each for each in entry.outline.symbols if each.first <= chunk.last and chunk.first <= each.last),
        )
        for chunk in entry.chunks
    ]
