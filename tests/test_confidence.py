"""How sure a model is of its lines, and what becomes of those that it is not sure of."""

from __future__ import annotations

import pytest

from tabby_lsp.completion.confidence import AUTOMATIC, before_doubt, by_line, least, of_first


def test_a_line_is_as_sure_as_its_tokens_are_on_average() -> None:
    assert by_line([(0, 0.5), (0, 0.5), (1, 0.9), (1, 0.4), (3, 1.0)], 4) == (0.5, 0.6, 1.0, 1.0)
    assert by_line([(0, 0.0), (1, 0.5)], 1) == (0.0,)
    assert by_line([], 2) == (1.0, 1.0)


def test_the_first_line_that_says_something_counts() -> None:
    assert of_first("a\nb", (0.3, 0.9)) == 0.3
    assert of_first("\n    a\nb", (1.0, 0.3, 0.9)) == 0.3
    assert of_first("", ()) == 1.0


@pytest.mark.parametrize(
    ("text", "lines", "left"),
    [
        ("a\nb\nc", (0.1, 0.9, 0.2), "a\nb"),
        ("a\nb\nc", (0.9, 0.2, 0.9), "a"),
        ("a\n\nb", (0.9, 1.0, 0.2), "a"),
        ("\n  a\n  b", (1.0, 0.1, 0.9), "\n  a\n  b"),
        ("a\nb", (0.9, 0.9), "a\nb"),
        ("a", (0.1,), "a"),
        ("a\nb", (), "a\nb"),
    ],
)
def test_a_suggestion_ends_before_the_first_line_that_is_doubtful(
    text: str, lines: tuple[float, ...], left: str
) -> None:
    """Whether the first one is shown is not decided here: who asks for a suggestion gets it."""
    assert before_doubt(text, lines, 0.5) == left


def test_mere_guesses_are_doubtful_unless_the_user_wants_otherwise() -> None:
    assert 0 < least() == least(AUTOMATIC) < 0.5
    assert least(0.0) == 0.0 and least(0.7) == 0.7
