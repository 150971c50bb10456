"""What of other files helps to go on at a place: definitions of the names near it, and pieces that look like it.

Knows neither tokens nor prompts: the room is in characters, the best comes last, nearest to what is completed. Each
piece says why it is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tabby_lsp.data import CompletionContext, Snippet
from tabby_lsp.index.search import Hit, Search

ROOM = 2_400  # characters: some 700 tokens, which is what half of a middling prompt has room for
LINES_ABOVE, LINES_BELOW = 12, 4  # whose names are looked up
FADING = 0.85  # of a name's weight with every line that it is farther away
IMPORTED = 2.0  # times the weight of a name that the file imports
MOST_NAMES, MOST_OF_A_NAME = 10, 3
SHORTEST_NAME = 3
WHOLE_LINES = 12  # of a definition; of a longer one the head, and of a class the heads of what is in it
ALIKE_PIECES, ALIKE_LINES, ALIKE_WEIGHT = 3, 16, 0.3

_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Related:
    snippet: Snippet
    reason: str
    score: float


def related(search: Search, file: Path, context: CompletionContext, room: int = ROOM) -> list[Related]:
    """Pieces of other files than this one, the best last, of so many characters together."""
    weights = _near_names(context)
    found = [*_definitions(search, file, weights), *_alike(search, file, context)]
    taken: list[tuple[Hit, Related]] = []
    for hit, piece in sorted(found, key=lambda each: -each[1].score):
        size = len(piece.snippet.text) + len(piece.snippet.path)
        if size <= room and not any(_overlap(hit, other) for other, _ in taken):
            room -= size
            taken.append((hit, piece))
    return [piece for _, piece in reversed(taken)]


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


def _definitions(search: Search, file: Path, weights: Mapping[str, float]) -> Iterable[tuple[Hit, Related]]:
    own = {symbol.name for symbol in search.in_file(file)}
    imported = {name for each in search.imports_in(file) for name in (*each.names, each.alias) if name}
    scores = {
        name: weight * (IMPORTED if name in imported else 1.0) for name, weight in weights.items() if name not in own
    }
    looked_up = 0
    for name in sorted(scores, key=lambda each: -scores[each]):
        hits = [hit for hit in search.definitions(name, MOST_OF_A_NAME + 1) if Path(hit.root, hit.path) != file]
        if not hits:
            continue
        looked_up += 1
        share = 1 / len(hits) if len(hits) > 1 else 1.0  # a name that many things have says little
        for hit in hits[:MOST_OF_A_NAME]:
            text = _abridged(search, hit)
            yield hit, Related(Snippet(hit.path, text), f"defines {name}", scores[name] * share * hit.score)
        if looked_up == MOST_NAMES:
            return


def _abridged(search: Search, hit: Hit) -> str:
    lines = hit.text.split("\n")
    if len(lines) <= WHOLE_LINES:
        return hit.text
    if hit.kind == "class":
        inside = (each for each in search.in_file(Path(hit.root, hit.path)) if hit.first < each.first <= hit.last)
        heads = [f"    {each.signature}" for each in inside if each.kind in ("method", "function")]
        return "\n".join([hit.signature, *heads])
    return "\n".join([hit.signature, *([f"    {line.strip()}" for line in hit.doc.split("\n")] if hit.doc else [])])


def _alike(search: Search, file: Path, context: CompletionContext) -> Iterable[tuple[Hit, Related]]:
    near = "\n".join(context.prefix.split("\n")[-LINES_ABOVE - 1 :])
    hits = search.find(near, ALIKE_PIECES, excluding=file)
    for rank, hit in enumerate(hits):
        text = "\n".join(hit.text.split("\n")[:ALIKE_LINES])
        yield hit, Related(Snippet(hit.path, text), "looks like it", ALIKE_WEIGHT / (1 + rank))


def _overlap(one: Hit, other: Hit) -> bool:
    return (one.root, one.path) == (other.root, other.path) and one.first <= other.last and other.first <= one.last
