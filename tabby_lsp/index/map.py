"""A map of a repository: the files and definitions that the rest of it uses most, in so many tokens.

A file has weight as a page has in PageRank (L. Page and others, 1999): files that use what it defines give it a share
of their own. A definition has what the files that use its name give to it. Many things have the same names, above all
methods: so a use counts most where the file imports the name or the defining file, little where both lie in the same
folder, and hardly anywhere else; a name that several files define is shared among them, and one that many define says
nothing. Tests use much and are used by nobody, so they come last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tabby_lsp.index.contents import is_test
from tabby_lsp.index.parts import Symbol
from tabby_lsp.index.passages import FileUses
from tabby_lsp.index.pieces import head
from tabby_lsp.index.plan import FileKey

CHARACTERS_A_TOKEN = 3.5  # of code and names; a model's own count differs by a fifth
MOST_DEFINERS = 4  # files that define a name: more, and nobody can tell which of them is meant
MOST_SHARE, LEAST_SHARE = 0.3, 400  # of the room that one file may take, so that there are several; characters
_DAMPING, _ROUNDS = 0.85, 20  # as in the paper
_SHOWN = ("class", "function", "method", "type", "module")
_TEST_SHARE = 0.1  # what a test's use counts
# What a use counts of a name that is imported, that is defined in the same folder, and of any other. Settled by looking
# at the maps of the trees of tests/eval/trees.toml: with 1 for all of them names like `text` come first.
_IMPORTED, _BESIDE, _ELSEWHERE = 1.0, 0.3, 0.02
_METHOD, _PRIVATE = 0.2, 0.3  # what methods and private names count beside others
_FOLDER_MODULES = {"__init__", "__main__", "mod", "index", "lib", "main"}  # called as their folder is
_PATH_PART = re.compile(r"[\w$-]+")


@dataclass(frozen=True, slots=True)
class Entry:
    symbol: Symbol
    depth: int  # how many of the shown definitions it is in


@dataclass(frozen=True, slots=True)
class MapFile:
    file: FileKey
    entries: tuple[Entry, ...]


def repository_map(files: Sequence[FileUses], tokens: int) -> list[MapFile]:
    """The most used files first, with their most used definitions in the order of the file."""
    definers = _definers(files)
    given = _given(files, definers)
    weights = _weights(files, given)
    worth: dict[tuple[int, str], float] = {}
    for user, shares in enumerate(given):
        for (file, name), share in shares.items():
            worth[file, name] = worth.get((file, name), 0.0) + share * weights[user]
    ranked = sorted(
        (
            (-worth.get((number, symbol.name), 0.0) * _likeliness(symbol), -weights[number], number, place)
            for number, each in enumerate(files)
            if not is_test(each.file[1])
            for place, symbol in enumerate(each.symbols)
            if symbol.kind in _SHOWN
        ),
    )
    chosen = _fitted(files, [(number, place) for _, _, number, place in ranked], int(tokens * CHARACTERS_A_TOKEN))
    best = {number: rank for rank, number in reversed(list(enumerate(number for _, _, number, _ in ranked)))}
    order = sorted(chosen, key=lambda number: (-weights[number], best[number]))
    return [MapFile(files[number].file, tuple(_entries(files[number].symbols, chosen[number]))) for number in order]


def _likeliness(symbol: Symbol) -> float:
    """Names of methods are those of many things, and what is meant to be private is."""
    return (_METHOD if symbol.kind == "method" else 1.0) * (_PRIVATE if symbol.name.startswith("_") else 1.0)


def _definers(files: Sequence[FileUses]) -> dict[str, list[int]]:
    """Names by the files that define them, if they are few."""
    found: dict[str, set[int]] = {}
    for number, each in enumerate(files):
        for symbol in each.symbols:
            if symbol.kind != "variable" and len(symbol.name) > 1:
                found.setdefault(symbol.name, set()).add(number)
    return {name: sorted(numbers) for name, numbers in found.items() if len(numbers) <= MOST_DEFINERS}


def _given(files: Sequence[FileUses], definers: Mapping[str, Sequence[int]]) -> list[dict[tuple[int, str], float]]:
    """For each file the shares that it gives to definitions of others, 1 in all at most."""
    modules = [_module(each.file[1]) for each in files]
    folders = [each.file[1].rpartition("/")[0] for each in files]
    given = []
    for number, each in enumerate(files):
        imported = _imported(each)
        shares: dict[tuple[int, str], float] = {}
        for name in each.uses:
            others = definers.get(name, ())
            for other in others if number not in others else ():
                near = _IMPORTED if name in imported or modules[other] in imported else _ELSEWHERE
                near = max(near, _BESIDE) if folders[other] == folders[number] else near
                shares[other, name] = near / len(others)
        whole = max(1.0, sum(shares.values()))
        given.append({key: share / whole for key, share in shares.items()})
    return given


def _imported(file: FileUses) -> set[str]:
    """The names that a file imports, and the last part of each module's."""
    found: set[str] = set()
    for each in file.imports:
        found.update(each.names)
        parts = _PATH_PART.findall(each.module.removesuffix(".h").removesuffix(".js"))
        found.update(parts[-1:])
    return found


def _module(path: str) -> str:
    """How a file is called where it is imported."""
    folder, _, name = path.rpartition("/")
    stem = name.partition(".")[0]
    return folder.rpartition("/")[2] if stem in _FOLDER_MODULES and folder else stem


def _weights(files: Sequence[FileUses], given: Sequence[Mapping[tuple[int, str], float]]) -> list[float]:
    starts = [_TEST_SHARE if is_test(each.file[1]) else 1.0 for each in files]
    links: list[dict[int, float]] = []
    for shares in given:
        link: dict[int, float] = {}
        for (file, _), share in shares.items():
            link[file] = link.get(file, 0.0) + share
        links.append(link)
    weights = list(starts)
    for _ in range(_ROUNDS):
        after = [(1 - _DAMPING) * start for start in starts]
        for weight, link in zip(weights, links, strict=True):
            for file, share in link.items():
                after[file] += _DAMPING * weight * share
        weights = after
    return weights


def _fitted(files: Sequence[FileUses], ranked: Iterable[tuple[int, int]], room: int) -> dict[int, set[int]]:
    """The best that go into so many characters: by files the places of their symbols."""
    chosen: dict[int, set[int]] = {}
    spent: dict[int, int] = {}
    most = max(LEAST_SHARE, int(MOST_SHARE * room))
    for number, place in ranked:
        each = files[number]
        new = number not in chosen
        cost = len(head(each.symbols[place])) + 12 + new * (len(each.file[1]) + 2)  # with number and indentation
        if cost > room or spent.get(number, 0) + cost > most:
            continue
        chosen.setdefault(number, set()).add(place)
        spent[number] = spent.get(number, 0) + cost
        room -= cost
    return chosen


def _entries(symbols: Sequence[Symbol], places: set[int]) -> Iterable[Entry]:
    around: list[Symbol] = []
    for place in sorted(places):
        symbol = symbols[place]
        while around and around[-1].last < symbol.first:
            around.pop()
        yield Entry(symbol, len(around))
        around.append(symbol)
