"""A file as it is stored: its outline and its chunks, and the tokens that a text is found by.

Knows no database. Here is most of the time that indexing takes.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from tabby_lsp.index.parts import Outline, Symbol
from tabby_lsp.index.symbols import outline
from tabby_lsp.index.walk import Stamp
from tabby_lsp.index.words import tokens
from tabby_lsp.text import split_lines

FIELDS = ("constant", "variable")


@dataclass(frozen=True, slots=True)
class Chunk:
    first: int
    last: int
    text: str
    names: str  # the file's path, and what is defined in these lines or around them


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it is stored. Made apart from the store, so that other processes can do the work."""

    path: str
    language: str
    stamp: Stamp
    hash: bytes
    lines: int
    outline: Outline
    chunks: tuple[Chunk, ...]


def prepare(path: str, language: str, text: str, stamp: Stamp) -> Entry:
    """All that is to be stored of a file."""
    text = storable(text)
    lines = split_lines(text)
    found = outline(text, language)
    path = storable(path)
    said = _said(path, found.symbols, found.chunks)
    chunks = tuple(
        Chunk(first, last, "".join(lines[first : last + 1]), names)
        for (first, last), names in zip(found.chunks, said, strict=True)
    )
    return Entry(path, language, stamp, digest(text), len(lines) - (not lines[-1]), found, chunks)


def _said(path: str, symbols: Sequence[Symbol], chunks: Sequence[tuple[int, int]]) -> list[str]:
    """For each chunk the names of what begins in it or is around it. Of variables there are many, and the text has
    them."""
    starts = [first for first, _ in chunks]
    said = [{path.rpartition(".")[0] or path: None} for _ in chunks]
    for symbol in symbols:
        for place in range(bisect_right(starts, symbol.first), bisect_right(starts, symbol.last)):
            said[place][symbol.name] = None  # it goes on there
        begin = bisect_right(starts, symbol.first) - 1
        if begin >= 0 and symbol.first <= chunks[begin][1]:
            names = (symbol.scope,) if symbol.kind in FIELDS else (symbol.scope, symbol.name)
            said[begin] |= {name: None for name in names if name}
    return [" ".join(names) for names in said]


def joined_tokens(text: str) -> str:
    return " ".join(tokens(text))


def packed(text: str) -> bytes:
    """A chunk's text as it is kept."""
    return zlib.compress(text.encode("utf-8"), 1)


def unpacked(text: bytes) -> str:
    """The text of a chunk. Raises sqlite3.DatabaseError, as for any damage of the file."""
    try:
        return zlib.decompress(text).decode("utf-8")
    except (zlib.error, UnicodeDecodeError, TypeError) as error:
        raise sqlite3.DatabaseError(f"a text that cannot be read: {error}") from error


def storable(text: str) -> str:
    """Half of a surrogate pair, as editors send it, cannot be stored; nor can names that are no UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
