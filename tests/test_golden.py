"""One file of drawn cases for each filter, in `golden/`: the model's text stands between ├ and ┤ in the document.

Behind each case: `--- becomes` and the text that is left, `--- stays`, or `--- nothing`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tabby_lsp.completion import filters
from tabby_lsp.completion.filters import FILTERS, clean
from tabby_lsp.data import CompletionContext

GOLDEN = Path(__file__).with_name("golden")


def cases() -> Iterator[tuple[str, str, CompletionContext, str, str]]:
    """Filter, title, context, the model's text and what is left of it."""
    for file in sorted(GOLDEN.glob("*.txt")):
        for part in re.split(r"^=== ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            head, _, rest = part.partition("\n")
            title, language = re.fullmatch(r"(.*) \(([\w.-]+)\)", head).groups()  # type: ignore[union-attr]
            drawing, _, verdict = rest.partition("--- ")
            before, _, behind = drawing.partition("├")
            text, _, after = behind.partition("┤")
            line_suffix, newline, below = after.partition("\n")
            context = CompletionContext(before, line_suffix, newline + below, language=language)
            word, _, expected = verdict.partition("\n")
            left = {"stays": text, "nothing": "", "becomes": expected.removesuffix("\n")}[word]
            yield file.stem, title, context, text, left


CASES = list(cases())


@pytest.mark.parametrize(
    ("name", "context", "text", "left"),
    [(each[0], *each[2:]) for each in CASES],
    ids=[f"{c[0]}: {c[1]}" for c in CASES],
)
def test_golden(name: str, context: CompletionContext, text: str, left: str) -> None:
    assert getattr(filters, name)(text, context) == left


def test_every_filter_has_its_file_with_cases_that_change_and_that_stay() -> None:
    assert {each.__name__ for each in FILTERS} == {file.stem for file in GOLDEN.glob("*.txt")}
    for each in FILTERS:
        kinds = {text == left for name, _, _, text, left in CASES if name == each.__name__}
        assert kinds == {True, False}, each.__name__


def test_what_is_clean_stays_so() -> None:
    """A text is filtered once, but a second time would change nothing."""
    for _, title, context, text, _ in CASES:
        once = clean(text, context)
        assert clean(once, context) == once, title
