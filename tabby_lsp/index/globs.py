"""Git's patterns with wildcards, matched in at most the pattern's length times the path's.

pathspec is asked for plain patterns (see `ignore`). These are our own, because a regular expression tries several stars
in every way there is, which a repository can make take for ever; and because git has rules of its own that pathspec
does not know: it compares bytes, it has classes like `[[:alpha:]]`, and what it cannot read never matches.

Between two stars stands a piece of fixed length, and the first place where it fits is as good as any later one. So
nothing is ever tried again. The same holds for folders between two `**`. What means what is from git's `wildmatch.c`
and `match_pathname` in its `dir.c` (2.39), with tests against git itself.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

_SPECIAL = b"*?[\\"
_SLASH, _STAR = ord("/"), ord("*")
_ANY = frozenset(range(256))
_GRAPH = (string.ascii_letters + string.digits + string.punctuation).encode()
_CLASSES = {
    b"alnum": (string.ascii_letters + string.digits).encode(),
    b"alpha": string.ascii_letters.encode(),
    b"blank": b" \t",
    b"cntrl": bytes([*range(32), 127]),
    b"digit": string.digits.encode(),
    b"graph": _GRAPH,
    b"lower": string.ascii_lowercase.encode(),
    b"print": _GRAPH + b" ",
    b"punct": string.punctuation.encode(),
    b"space": b" \t\n\r",
    b"upper": string.ascii_uppercase.encode(),
    b"xdigit": string.hexdigits.encode(),
}

_Piece = bytes | tuple[frozenset[int], ...]  # what stands between two stars, byte by byte


@dataclass(frozen=True, slots=True)
class _Segment:
    """A pattern without a slash: its pieces, between which there is a star each."""

    pieces: tuple[_Piece, ...]
    least: int  # bytes of what it matches

    def matches(self, text: bytes) -> bool:
        first, last = self.pieces[0], self.pieces[-1]
        if len(self.pieces) == 1:
            return len(text) == self.least and _fits(first, text, 0)
        place, end = len(first), len(text) - len(last)
        if len(text) < self.least or not _fits(first, text, 0) or not _fits(last, text, end):
            return False
        for piece in self.pieces[1:-1]:
            place = _find(piece, text, place, end)
            if place < 0:
                return False
            place += len(piece)
        return True


def _fits(piece: _Piece, text: bytes, place: int) -> bool:
    if isinstance(piece, bytes):
        return text.startswith(piece, place)
    return all(text[place + number] in each for number, each in enumerate(piece))


def _find(piece: _Piece, text: bytes, start: int, end: int) -> int:
    if isinstance(piece, bytes):
        return text.find(piece, start, end)
    return next((place for place in range(start, end - len(piece) + 1) if _fits(piece, text, place)), -1)


@dataclass(frozen=True, slots=True)
class _Block:
    """Segments that match folders one behind the other, after at least so many others."""

    least: int
    segments: tuple[_Segment, ...]

    def fits(self, parts: Sequence[bytes], place: int) -> bool:
        return all(each.matches(parts[place + number]) for number, each in enumerate(self.segments))


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern that can match. What is before its first wildcard is no part of the segments, as in git."""

    begin: bytes
    blocks: tuple[_Block, ...]  # the first one begins where `begin` ends, and between two there is a `**`
    least: int  # segments of what it matches
    folds: bool

    def matches(self, path: bytes) -> bool:
        if self.folds:
            path = path.lower()
        if not path.startswith(self.begin):
            return False
        parts = path[len(self.begin) :].split(b"/")
        *blocks, last = self.blocks
        end = len(parts) - len(last.segments)
        if self.least > len(parts) or (not blocks and end) or not last.fits(parts, end):
            return False
        place = 0
        for number, block in enumerate(blocks):
            place += block.least
            latest = end - len(block.segments) if number else 0
            while place <= latest and not block.fits(parts, place):
                place += 1
            if place > latest:
                return False
            place += len(block.segments)
        return place + last.least <= end


def glob(pattern: bytes, by_name: bool, folds: bool) -> Glob | None:
    """A pattern for names or for paths; None if it never matches. `folds`: whether case makes no difference."""
    length = next((number for number, byte in enumerate(pattern) if byte in _SPECIAL), len(pattern))
    begin, rest = pattern[:length], pattern[length:]
    blocks: list[tuple[int, list[_Segment]]] = [(0, [])]
    pieces: list[list[frozenset[int]]] = [[]]
    place, is_open = 0, True  # whether there is a segment that has yet to be closed
    while place < len(rest):
        byte = rest[place]
        if byte == _STAR:
            end = len(rest) - len(rest[place:].lstrip(b"*"))
            after = rest[end : end + 2]
            begins = place == 0 or rest[place - 1] == _SLASH
            if by_name or end - place == 1 or not begins or not (after[:1] in (b"", b"/") or after == b"\\/"):
                pieces.append([])
            else:
                blocks.append((int(after[:1] != b"/"), []))
                is_open = bool(after)
                end += after.find(b"/") + 1
            place = end
        elif byte == _SLASH or rest[place : place + 2] == b"\\/":
            blocks[-1][1].append(_segment(pieces))
            pieces = [[]]
            place += 1 if byte == _SLASH else 2
        else:
            found = _bytes_at(rest, place, folds)
            if found is None:
                return None
            pieces[-1].append(found[0])
            place = found[1]
    if is_open:
        blocks[-1][1].append(_segment(pieces))
    least = sum(few + len(segments) for few, segments in blocks)
    made = tuple(_Block(few, tuple(segments)) for few, segments in blocks)
    return Glob(begin.lower() if folds else begin, made, least, folds)


def _segment(pieces: Sequence[Sequence[frozenset[int]]]) -> _Segment:
    return _Segment(
        tuple(
            bytes(byte for each in piece for byte in each) if all(len(each) == 1 for each in piece) else tuple(piece)
            for piece in pieces
        ),
        sum(map(len, pieces)),
    )


def _bytes_at(pattern: bytes, place: int, folds: bool) -> tuple[frozenset[int], int] | None:
    """What one byte of a name may be, and where the pattern goes on; None if that cannot be read."""
    byte = pattern[place]
    if byte == ord("?"):
        return _ANY, place + 1
    if byte == ord("["):
        return _class_at(pattern, place + 1, folds)
    if byte == ord("\\"):  # which keeps its case
        return (frozenset(pattern[place + 1 : place + 2]), place + 2) if place + 1 < len(pattern) else None
    return frozenset(bytes([byte]).lower() if folds else [byte]), place + 1


def _class_at(pattern: bytes, place: int, folds: bool) -> tuple[frozenset[int], int] | None:
    """The same for what stands in brackets. A "]" at its beginning does not close it."""
    negated = pattern[place : place + 1] in (b"!", b"^")
    place += negated
    found: set[int] = set()
    before, first = 0, True  # the byte with which a range may begin
    while first or pattern[place : place + 1] != b"]":
        first = False
        byte, following = pattern[place : place + 1], pattern[place + 1 : place + 2]
        if byte == b"-" and before and following not in (b"", b"]"):
            place += 1 + (following == b"\\")
            most = pattern[place : place + 1]
            if not most:
                return None
            span = range(before, most[0] + 1)
            found.update(span)
            if folds:
                found.update(bytes(each for each in span if each < 128).lower())
            before = 0
        elif byte == b"[" and following == b":" and (name := _class_name(pattern, place + 2)) is not None:
            if name not in _CLASSES:
                return None
            found.update(_CLASSES[name])
            if folds and name == b"upper":
                found.update(_CLASSES[b"lower"])
            place += len(name) + 3
            before = 0
        else:
            place += byte == b"\\"
            byte = pattern[place : place + 1]
            if not byte:
                return None
            found.update(byte)
            before = byte[0]
        place += 1
    return _ANY - found if negated else frozenset(found), place + 1


def _class_name(pattern: bytes, place: int) -> bytes | None:
    """The name in a `[:name:]`; None if it is none."""
    end = pattern.find(b"]", place)
    return pattern[place : end - 1] if end > place and pattern[end - 1] == ord(":") else None
