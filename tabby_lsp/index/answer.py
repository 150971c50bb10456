"""Answers that can be cited: every one is checked against the file as it is at this moment.

A file that has changed since it was indexed is read anew, and what it says now is ranked with the rest; one that is
gone, or that the rules leave out by now, is not cited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from tabby_lsp.index.citation import Citation, cited
from tabby_lsp.index.current import Current
from tabby_lsp.index.passages import Passage, narrowed
from tabby_lsp.index.question import question
from tabby_lsp.index.ranking import ranked, reach
from tabby_lsp.index.scan import matching, scanned
from tabby_lsp.index.search import Search
from tabby_lsp.index.walk import Rules

LATE = "Some files could not be compared with the disk in time, and are left out."
_CUT = "The pattern takes too long: this is what was found until then."


@dataclass(frozen=True, slots=True)
class Answer:
    citations: tuple[Citation, ...]  # the best first; of a pattern by files and lines
    note: str = ""  # what is not in it, and why


def answer(search: Search, text: str, limit: int, rules: Mapping[str, Rules]) -> Answer:
    """At most so many citations. `rules` are those of each root that is indexed. Raises BadQuestion."""
    asked = question(text)
    current = Current(rules)
    if asked.used:
        uses = tuple(islice(matching(search, asked, current), limit))
        return Answer(uses, LATE if current.late else "")
    if asked.pattern is not None:
        found, whole = scanned(search.path, text, limit, rules)
        return Answer(tuple(found), "" if whole else _CUT)
    passages, counts, total = search.passages(asked)
    named = search.named(asked)
    while True:
        like = ranked(passages, asked.concepts, counts, total) if asked.concepts else [(0.0, each) for each in passages]
        order = _ordered(named, like)[:limit]
        wrong = {(each.root, each.path) for _, each in order if not current.is_so(each)}
        if not wrong:
            break
        for file in wrong:
            old = [each for each in [*named, *passages] if (each.root, each.path) == file]
            named, passages = ([each for each in some if each not in old] for some in (named, passages))
            now = [each for each in current.passages(old) if asked.allows(each)]
            passages += now
            named += [
                narrowed(each, symbol) for each in now for symbol in each.begun if asked.is_name_of(symbol, each.path)
            ]
            named.sort(key=reach)
    citations = tuple(cited(passage, score, asked) for score, passage in order)
    return Answer(citations, LATE if current.late else "")


def _ordered(named: Sequence[Passage], like: Sequence[tuple[float, Passage]]) -> list[tuple[float, Passage]]:
    """What has a name that is asked for, and then what is like the question, nothing twice."""
    best = max((score for score, _ in like), default=0.0)
    first = [(best + 1 / rank, each) for rank, each in enumerate(named, 1)]
    return first + [(score, each) for score, each in like if not any(_overlap(each, other) for other in named)]


def _overlap(passage: Passage, other: Passage) -> bool:
    same = (passage.root, passage.path) == (other.root, other.path)
    return same and passage.first <= other.last and other.first <= passage.last
