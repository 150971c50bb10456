"""What is remembered of edits, against documents that are edited at random."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tabby_lsp.index.recent import MOST_EDITS, MOST_FILES, MOST_LINES, NEAR_SECONDS, Edit, Recent
from tabby_lsp.lsp.documents import Document
from tabby_lsp.text import split_lines

HERE, THERE = Path("/shop/cart.py"), Path("/shop/price.py")


def edits(recent: Recent, now: float = 0.0) -> list[tuple[str, int, int]]:
    return [(each.file.name, each.first, each.last) for each in recent.work_until(now).edits]


def test_typing_is_one_edit_and_one_elsewhere_another() -> None:
    recent = Recent()
    for column, key in enumerate("x = 1\ny = 2"):
        recent.edited(HERE, 10 + (column > 5), 10 + (column > 5), key, 1.0)
    assert edits(recent) == [("cart.py", 10, 11)]
    recent.edited(HERE, 40, 40, "z", 2.0)
    recent.edited(THERE, 11, 11, "z", 3.0)
    assert recent.work_until(63.0).edits == (
        Edit(THERE, 11, 11, 60.0),
        Edit(HERE, 40, 40, 61.0),
        Edit(HERE, 10, 11, 62.0),
    )


def test_what_is_near_in_lines_and_long_ago_is_an_edit_of_its_own() -> None:
    recent = Recent()
    recent.edited(HERE, 10, 10, "x", 0.0)
    recent.edited(HERE, 13, 13, "x", NEAR_SECONDS)
    assert edits(recent) == [("cart.py", 10, 13)]
    recent.edited(HERE, 16, 16, "x", 3 * NEAR_SECONDS)
    assert edits(recent) == [("cart.py", 16, 16), ("cart.py", 10, 13)]


def test_an_edit_moves_with_the_lines_above_it_and_goes_with_its_own() -> None:
    recent = Recent()
    recent.edited(HERE, 10, 10, "x\ny", 0.0)
    recent.edited(HERE, 2, 2, "\n\n", 1.0)  # blanks: nothing that one could show
    assert edits(recent) == [("cart.py", 12, 13)]
    recent.edited(HERE, 3, 5, "", 2.0)
    recent.edited(HERE, 30, 35, "", 3.0)
    assert edits(recent) == [("cart.py", 10, 11)]
    recent.edited(HERE, 9, 12, "", 4.0)
    assert edits(recent) == []


def test_there_are_few_and_small_ones() -> None:
    recent = Recent()
    for number in range(50):
        recent.edited(HERE, 100 * number, 100 * number, "x\n" * 70, 1.0)
        recent.looked_at(Path(f"/shop/{number}.py"))
    found = recent.work_until(1.0)
    assert len(found.edits) == MOST_EDITS and found.edits[0].first == 4900
    assert all(each.last - each.first == MOST_LINES - 1 for each in found.edits)
    assert [each.stem for each in found.files] == [str(number) for number in range(49, 49 - MOST_FILES, -1)]
    recent.looked_at(Path("/shop/45.py"))
    assert recent.work_until(1.0).files[0].stem == "45"


@pytest.mark.parametrize("seed", range(20))
def test_what_was_written_is_where_the_edits_say(seed: int) -> None:
    document, recent = Document("file:///a", "python", 1, "utf-16", split_lines("old\n" * 300)), Recent()
    chance, left_alone = random.Random(seed), "written first\n"
    document.replace((150, 0), (150, 0), left_alone)
    recent.edited(HERE, 150, 150, left_alone, 0.0)
    for number in range(200):
        # Everywhere but near the line that is left alone, and never so that it is forgotten.
        there = document.lines.index(left_alone)
        first = chance.choice([*range(there - 12), *range(there + 6, len(document.lines))])
        last = min(len(document.lines) - 1, first + chance.choice([0, 0, 0, 1, 4]))
        start, end = document.place(first, chance.choice([0, 99])), document.place(last, chance.choice([0, 99]))
        written = f"new{number}" if number % 14 == 7 else ""
        change = document.replace(start, end, chance.choice(["\n", "\n\n", ""]) + written)
        recent.edited(HERE, change.start[0], change.end[0], change.text, 1000.0 * number)
        found = recent.work_until(0.0).edits
        texts = ["".join(document.lines[each.first : each.last + 1]) for each in found]
        assert all(0 <= each.first <= each.last < len(document.lines) for each in found)
        assert written in texts[0]
        assert left_alone in texts[-1]
