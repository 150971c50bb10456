"""What else helps to go on at a place: definitions of the names near it, the class that is being written, what was
edited or looked at lately, and pieces that look like it.

Knows neither tokens nor prompts: the room is in characters, the best comes last, nearest to what is completed. Each
piece says why it is there. All of it comes from the index, which has what is unsaved and nothing that must not be
shown. Of the file itself there is only what the text around the place does not show.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path

from tabby_lsp import languages
from tabby_lsp.data import CompletionContext, Snippet
from tabby_lsp.index.disabled import Disabled
from tabby_lsp.index.pieces import File, Part, Piece, Span, heads, inner_scope, members, of_hit
from tabby_lsp.index.recent import RecentWork
from tabby_lsp.index.search import Hit, Search
from tabby_lsp.index.symbols import Symbol

LINES_ABOVE, LINES_BELOW = 12, 4  # whose names are looked up
FADING = 0.85  # of a name's weight with every line that it is farther away
IMPORTED = 2.0  # times the weight of a name that the file imports
FAR = 0.05  # the weight of a name that the file imports and that does not stand near
MOST_NAMES, MOST_OF_A_NAME = 16, 3
SHORTEST_NAME = 3
WHOLE_LINES = 12  # of a definition; of a longer one the head, and of a class the heads of what is in it
# Of the lines above the last few say most of what comes: with four of them instead of twelve, and the weight below,
# 28.7 % of the missing names are found instead of 26.0 (tests/eval/coverage.py on ten trees in eight languages, 1,937
# names, 3,500 characters; tried with another seed). Eight pieces instead of five find one name in a hundred more (three
# seeds, 4,832 names), twelve no more than eight. To show the part of a hit that is most like it brought nothing; nor
# did lines below the cursor, the name of the function around it, and far parts of the same file.
ALIKE_ABOVE, ALIKE_PIECES, ALIKE_LINES = 4, 8, 16
LEAST_HEADS, VIEWED_HEADS = 3, 10  # fewer say too little, more say too much of a whole file
MOST_BASES, MOST_EDITS, MOST_VIEWED = 3, 3, 2
EDIT_ABOVE, EDIT_BELOW, EDIT_LINES = 2, 2, 20  # around an edit; of a function that is shown as a whole
# What a piece is worth beside the definition of a name on the cursor's line, which is 1, or 2 if it is imported.
CLASS_WEIGHT, BASE_WEIGHT, ALIKE_WEIGHT, EDIT_WEIGHT, VIEWED_WEIGHT = 1.2, 1.0, 0.8, 0.6, 0.1

# How likely it is that a name means this: other files have variables of the same name, and classes the same methods.
_CERTAIN = {"variable": 0.25, "method": 0.5}

_NAME = re.compile(r"[^\W\d]\w*")
_NO_NAMES = re.compile(r"\"[^\"]*\"|'[^']*'|<[^<>]*>|//.*|#.*")


@dataclass(frozen=True, slots=True)
class Related:
    snippet: Snippet
    reason: str
    score: float


@dataclass(frozen=True, slots=True)
class _Place:
    """What is known of the place that is completed."""

    file: Path
    inside: File | None  # as the index has it
    context: CompletionContext
    line: int
    shown: Span  # lines of the file that the context has
    outline: Callable[[Path], Sequence[Symbol]]  # of any file, this one too, as it was a moment ago
    symbols: Sequence[Symbol]  # of this file
    weights: Mapping[str, float]  # of the names near it


def related(
    search: Search,
    file: Path,
    context: CompletionContext,
    room: int,
    lately: RecentWork | None = None,
    disabled: Disabled | None = None,
) -> list[Related]:
    """Pieces of other files and of far parts of this one, the best last, of so many characters together; none of
    `disabled` files."""
    lately, disabled = lately or RecentWork(), disabled or Disabled()
    line = context.first_line + context.prefix.count("\n")
    shown = (context.first_line, line + context.suffix.count("\n"))
    weights = _near_names(context)
    outline = cache(search.in_file)
    place = _Place(file, search.place(file), context, line, shown, outline, outline(file), weights)
    found = [
        *_definitions(search, place),
        *_class(search, place),
        *_edited(search, place, lately),
        *_viewed(search, place, lately),
        *_alike(search, place),
    ]
    return _fitted((each for each in found if not disabled.names(each.file[1])), place, room)


def _fitted(found: Iterable[Piece], place: _Place, room: int) -> list[Related]:
    """The best that go into the room, each line once."""
    taken: dict[File, list[Span]] = {place.inside: [place.shown]} if place.inside else {}
    texts: list[Related] = []
    for piece in sorted(found, key=lambda each: -each.score):
        lines = taken.setdefault(piece.file, [])
        parts = [part for part in piece.parts if not any(_overlap(part.lines, other) for other in lines)]
        least = min(len(parts), LEAST_HEADS)
        while parts and len(piece.file[1]) + len(_text(piece, parts)) > room:
            parts.pop()
        if len(parts) < max(1, least):
            continue
        text = _text(piece, parts)
        lines += [part.lines for part in parts]
        copies = (place.context.prefix, place.context.suffix, *(each.snippet.text for each in texts))
        if not any(all(part.text in other for part in parts) for other in copies):
            room -= len(piece.file[1]) + len(text)
            texts.append(Related(Snippet(piece.file[1], text), piece.reason, piece.score))
    return texts[::-1]


def _text(piece: Piece, parts: Iterable[Part]) -> str:
    text = "\n".join([*([piece.above] if piece.above else []), *(part.text for part in parts)])
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _overlap(one: Span, other: Span) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _near_names(context: CompletionContext) -> dict[str, float]:
    """Names around the cursor and how much they say of what comes next: those nearest most."""
    above = context.prefix.split("\n")[-LINES_ABOVE - 1 :]
    below = [context.line_suffix, *context.suffix.split("\n")[1 : LINES_BELOW + 1]]
    weights: dict[str, float] = {}
    for distance, line in [*enumerate(reversed(above)), *enumerate(below)]:
        for name in _NAME.findall(line):
            if len(name) >= SHORTEST_NAME:
                weights[name] = max(weights.get(name, 0.0), FADING**distance)
    return weights


def _path(hit: Hit) -> Path:
    return Path(hit.root, hit.path)


def _definitions(search: Search, place: _Place) -> Iterator[Piece]:
    own = {symbol.name for symbol in place.symbols}
    imports = search.imports_in(place.file)
    imported = dict.fromkeys((name for each in imports for name in (*each.names, each.alias) if name), FAR)
    scores = {
        name: weight * (IMPORTED if name in imported else 1.0)
        for name, weight in {**imported, **place.weights}.items()
        if name not in own
    }
    looked_up = 0
    language = place.context.language
    for name in sorted(scores, key=lambda each: -scores[each]):
        hits = [hit for hit in search.definitions(name, MOST_OF_A_NAME + 1) if _path(hit) != place.file]
        if not hits:
            continue
        looked_up += 1
        share = 1 / len(hits) if len(hits) > 1 else 1.0  # a name that many things have says little
        for hit in hits[:MOST_OF_A_NAME]:
            likely = _CERTAIN.get(hit.kind, 1.0) * (1.0 if languages.are_kin(hit.language, language) else 0.25)
            certain = 1.0 if name in imported else likely
            yield from _forms(place, hit, f"defines {name}", scores[name] * share * certain * hit.score)
        if looked_up == MOST_NAMES:
            return


def _forms(place: _Place, hit: Hit, reason: str, score: float) -> Iterator[Piece]:
    """A definition as it is, if it is short; the heads of what is in it; its own. What goes into the room counts."""
    if hit.last - hit.first < WHOLE_LINES:
        yield of_hit(hit, hit.text, reason, score)
    if hit.kind == "class":
        symbols = place.outline(_path(hit))
        whole = next((each for each in symbols if (each.name, each.first) == (hit.name, hit.first)), None)
        if whole is not None:
            yield Piece((hit.root, hit.path), members(symbols, inner_scope(whole)), reason, score, above=hit.signature)
    doc = [f"    {line.strip()}" for line in hit.doc.split("\n")] if hit.doc else []
    yield of_hit(hit, "\n".join([hit.signature, *doc]), reason, score)


# --- the class that is being written


def _class(search: Search, place: _Place) -> Iterator[Piece]:
    """What the class around the cursor has besides, where that is not in sight, and what it inherits."""
    around = _around(place)
    if around is None:
        return
    scope = around.scope if around.kind == "method" else inner_scope(around)
    name = scope.rpartition(".")[2]
    own = next((each for each in place.symbols if each.kind == "class" and inner_scope(each) == scope), None)
    signature = own.signature if own else ""
    if own is None:  # Go and C++ have methods elsewhere than their types
        for hit in _classes(search, name)[:1]:
            signature = hit.signature
            yield from _forms(place, hit, f"the class {name}", CLASS_WEIGHT)
    if place.inside:
        parts = members(place.symbols, scope)
        yield Piece(place.inside, parts, f"the rest of {name}", CLASS_WEIGHT, above=signature)
    _, _, inherits = _NO_NAMES.sub("", signature).partition(name)
    bases = 0
    for base in dict.fromkeys(_NAME.findall(inherits)):
        hits = _classes(search, base)[:1] if base != name else []
        for hit in hits:
            yield from _forms(place, hit, f"base class of {name}", BASE_WEIGHT / (1 + bases))
        bases += len(hits)
        if bases == MOST_BASES:
            return


def _around(place: _Place) -> Symbol | None:
    """The innermost method or class around the cursor. Where what is written is not yet in the index, the one before
    it, if the line is indented."""
    above = [each for each in place.symbols if each.first <= place.line]
    inner = [each for each in above if each.kind in ("class", "method")]
    around = [each for each in inner if place.line <= each.last]
    if around:
        return around[-1]
    line = place.context.prefix.rpartition("\n")[2]
    return inner[-1] if inner and inner[-1].last >= above[-1].last and line[:1].isspace() else None


def _classes(search: Search, name: str) -> list[Hit]:
    return [hit for hit in search.definitions(name, MOST_OF_A_NAME) if hit.kind == "class"]


# --- other files by what was done lately


def _edited(search: Search, place: _Place, lately: RecentWork) -> Iterator[Piece]:
    """What was edited elsewhere, as it is now: a short function as a whole, or else some lines."""
    found: list[Hit] = []
    for edit in lately.edits:
        if edit.file == place.file and _overlap((edit.first, edit.last), place.shown):
            continue
        first, last = edit.first - EDIT_ABOVE, edit.last + EDIT_BELOW
        for symbol in place.outline(edit.file):
            if symbol.first <= edit.first and edit.last <= symbol.last < symbol.first + EDIT_LINES:
                first, last = symbol.first, symbol.last
                break
        hit = search.lines(edit.file, first, last)
        if hit is None or any(_path(hit) == _path(each) and _overlap(_lines(hit), _lines(each)) for each in found):
            continue
        found.append(hit)
        yield of_hit(hit, hit.text, f"edited {_ago(edit.seconds)}", EDIT_WEIGHT / len(found))
        if len(found) == MOST_EDITS:
            return


def _lines(hit: Hit) -> Span:
    return hit.first, hit.last


def _ago(seconds: float) -> str:
    minutes, hours = int(seconds / 60), int(seconds / 3600)
    if minutes < 1:
        return "just now"
    if hours < 1:
        return "a minute ago" if minutes == 1 else f"{minutes} minutes ago"
    return "an hour ago" if hours == 1 else f"{hours} hours ago"


def _viewed(search: Search, place: _Place, lately: RecentWork) -> Iterator[Piece]:
    others = ((file, inside) for file in lately.files if file != place.file and (inside := search.place(file)))
    for rank, (file, inside) in enumerate(islice(others, MOST_VIEWED)):
        yield Piece(inside, heads(place.outline(file), VIEWED_HEADS), "looked at lately", VIEWED_WEIGHT / (1 + rank))


def _alike(search: Search, place: _Place) -> Iterator[Piece]:
    near = "\n".join(place.context.prefix.split("\n")[-ALIKE_ABOVE - 1 :])
    hits = search.find(near, ALIKE_PIECES, excluding=place.file)
    for rank, hit in enumerate(hits):
        lines = hit.text.split("\n")[:ALIKE_LINES]
        shown = replace(hit, last=min(hit.last, hit.first + ALIKE_LINES - 1))
        yield of_hit(shown, "\n".join(lines), "looks like it", ALIKE_WEIGHT / (1 + rank))
