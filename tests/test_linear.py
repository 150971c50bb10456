"""Whatever walks over text on the way of a completion takes a time linear in it, on the texts of `long_texts.py`.

Steps are counted where that can be done; `tests/bench/walks.py` measures the growth of the rest.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from typing import Any

import pytest
from long_texts import LANGUAGES, SHAPES, WALKS, contexts

from tabby_lsp.completion.context import PREFIX_CHARACTERS
from tabby_lsp.completion.scanner import QUOTES, pieces, syntax_of
from tabby_lsp.completion.stops import Stops, stop_rules
from tabby_lsp.data import CompletionContext

PATIENCE = 60.0  # seconds; linear walks take half a second, those with a square in them take minutes


@dataclass
class Counted:
    """A pattern that counts the characters it has looked at."""

    pattern: re.Pattern[str]
    counts: list[int]

    def search(self, text: str, place: int) -> re.Match[str] | None:
        found = self.pattern.search(text, place)
        self.counts.append((found.end() if found else len(text)) - place)
        return found

    def match(self, text: str, place: int) -> re.Match[str] | None:
        found = self.pattern.match(text, place)
        self.counts.append(found.end() - place if found else 1)
        return found


@pytest.mark.parametrize("begin", ["", QUOTES])
@pytest.mark.parametrize("language", LANGUAGES)
def test_no_character_is_scanned_again_and_again(language: str, begin: str) -> None:
    counts: list[int] = []
    syntax = syntax_of(language)
    bodies = {mark: body._replace(content=_counted(body.content, counts)) for mark, body in syntax.bodies.items()}
    counting = replace(syntax, marks=_counted(syntax.marks, counts), bodies=bodies)
    for name, shape in SHAPES.items():
        text = shape(4000)
        counts.clear()
        found = list(pieces(text, counting, begin=begin))
        # Each once by the search and once by its content, and once by each of three quotes that have no end.
        assert sum(counts) <= 5 * len(text), name
        assert found == list(pieces(text, syntax, begin=begin)), name


def _counted(pattern: re.Pattern[str], counts: list[int]) -> Any:
    return Counted(pattern, counts)


@pytest.mark.parametrize(("place", "size"), [("everywhere", PREFIX_CHARACTERS), ("text", PREFIX_CHARACTERS // 2)])
def test_every_walk_comes_to_an_end_on_the_longest_texts(place: str, size: int) -> None:
    """In a language of another kind for each shape."""
    for number, language in enumerate(LANGUAGES):
        cases = list(contexts(size, language, [place]))
        for name, text, context in cases[number :: len(LANGUAGES)]:
            begun = time.process_time()
            for walk in ("clean", "stops", "prose_at", "answers", "lengthens_full_name", "surround"):
                WALKS[walk](text, context)
            assert time.process_time() - begun < PATIENCE, name


@pytest.mark.parametrize("language", ["python", "ruby", "javascript"])
def test_no_line_is_looked_at_again_when_a_token_comes(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long list is written, a character at a time: each of its lines is scanned once."""
    from tabby_lsp.completion import brackets

    scanned: list[int] = []

    def counting(text: str, *others: Any) -> Any:
        scanned.append(len(text))
        return pieces(text, *others)

    monkeypatch.setattr(brackets, "pieces", counting)
    text = "[\n" + "".join(f"    f({number}, [],\n      {number * 7919}),\n" for number in range(300))
    stops = Stops(stop_rules(CompletionContext("unlike_others = ", language=language)))
    assert all(stops.find(text[:end]) is None for end in range(len(text)))
    assert sum(scanned) <= 2 * len(text)
