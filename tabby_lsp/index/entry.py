"""A file as it is stored: its outline and its chunks, and the terms that a text is found by.

Knows no database. Here is most of the time that indexing takes.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import zlib
from dataclasses import dataclass
from functools import lru_cache

from tabby_lsp.index.symbols import Outline, outline
from tabby_lsp.index.walk import Stamp
from tabby_lsp.text import split_lines

MOST_TERM = 64  # characters: what is longer is no name but data

_WORD = re.compile(r"[^\W\d]\w*")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@lru_cache(maxsize=1 << 16)
def _terms_of(word: str) -> tuple[str, ...]:
    whole = word.strip("_").lower()
    if not 1 < len(whole) <= MOST_TERM:
        return ()
    parts = _PART.findall(word) if word.isascii() else whole.split("_")
    return (whole, *(part.lower() for part in parts if 1 < len(part) < len(whole)))


def terms(text: str) -> list[str]:
    """What a text is found by: its names and the parts of them, in lower case, each once and in order.

    `parseHTTPHeader` and `parse_http_header` have parts in common, and the whole name still tells them apart.
    """
    return list(dict.fromkeys(term for word in dict.fromkeys(_WORD.findall(text)) for term in _terms_of(word)))


@dataclass(frozen=True, slots=True)
class Chunk:
    first: int
    last: int
    text: str


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
    chunks = tuple(Chunk(first, last, "".join(lines[first : last + 1])) for first, last in found.chunks)
    return Entry(storable(path), language, stamp, digest(text), len(lines) - (not lines[-1]), found, chunks)


def joined_terms(text: str) -> str:
    return " ".join(terms(text))


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
