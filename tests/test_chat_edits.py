"""What a model answers becomes the smallest edit, or a refusal that says what to try."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tabby_lsp.chat.edits import Hunk, NoEdit, hunks, hunks_so_far, rewritten
from tabby_lsp.chat.markdown import fence_around

METHOD = """    def total(self):
        result = 0
        for item in self.items:
            result += item.price
        return result
"""
BETTER = """def total(self):
    return sum(item.price for item in self.items)
"""
BETTER_THERE = """    def total(self):
        return sum(item.price for item in self.items)
"""


def fenced(code: str, language: str = "python") -> str:
    return f"Here it is:\n\n```{language}\n{code}```\nThis is shorter."


@pytest.mark.parametrize(
    ("answer", "passage", "wanted"),
    [
        pytest.param(fenced(BETTER_THERE), METHOD, BETTER_THERE, id="as it was asked for"),
        pytest.param(fenced(BETTER), METHOD, BETTER_THERE, id="written at the left margin"),
        pytest.param(fenced("\n" + BETTER + "\n\n"), METHOD, BETTER_THERE, id="blank lines around it"),
        pytest.param(fenced(BETTER_THERE), METHOD.rstrip("\n"), BETTER_THERE.rstrip("\n"), id="no line end"),
        pytest.param(fenced(BETTER), f"\n\n{METHOD}\n", f"\n\n{BETTER_THERE}\n", id="blank lines of the passage"),
        pytest.param(BETTER_THERE.replace("return sum", "result = 0\n        return sum"), METHOD,
                     BETTER_THERE.replace("return sum", "result = 0\n        return sum"), id="no fence"),
        pytest.param(fenced(BETTER).replace("```", "````"), METHOD, BETTER_THERE, id="a longer fence"),
        pytest.param(fenced(BETTER).replace("```", "~~~"), METHOD, BETTER_THERE, id="tildes"),
        pytest.param(
            "````md\n# Title\n\n```sh\nls -l\n```\n````\n", "# Title\n\n```sh\nls\n```\n",
            "# Title\n\n```sh\nls -l\n```\n", id="a fence within it",
        ),
        pytest.param(fenced("if x {\n    y()\n    z()\n}\n", "go"), "\tif x {\n\t\ty()\n\t}\n",
                     "\tif x {\n\t\ty()\n\t\tz()\n\t}\n", id="blanks where the passage has tabs"),
        pytest.param(fenced("x = 1  # was ... 2\n"), "x = 2\n", "x = 1  # was ... 2\n", id="dots behind code"),
        pytest.param(fenced("def f(): ...\n"), "def f(): pass\n", "def f(): ...\n", id="Python's ellipsis"),
        pytest.param(fenced("a = 1\n"), "", "a = 1\n", id="an empty passage"),
        pytest.param(fenced("a = 1\n"), "\n", "a = 1\n", id="a blank passage"),
    ],
)  # fmt: skip
def test_an_answer_becomes_the_new_text(answer: str, passage: str, wanted: str) -> None:
    assert rewritten(answer, passage) == wanted


@pytest.mark.parametrize(
    ("answer", "ended", "said"),
    [
        (fenced(METHOD), True, "changed nothing"),
        ("", True, "without code|wrote nothing"),
        ("I am sorry, I cannot do that.", True, "answered without code: I am sorry"),
        (fenced(BETTER)[:60], False, "cut off"),
        ("```python\ndef total(self):\n    return 1\n", True, "did not end its code"),
        (fenced(""), True, "wrote nothing"),
        (
            fenced("def total(self):\n    # ... existing code ...\n    return 1\n"),
            True,
            "left code out .'# ... existing",
        ),
        (fenced("def total(self):\n    # rest of the function unchanged\n"), True, "left code out"),
        (fenced("function f() {\n  // … (same as before)\n}\n"), True, "left code out"),
        (fenced("/* remaining code omitted */\nx()\n"), True, "left code out"),
    ],
)
def test_what_is_no_edit_is_refused_with_a_reason(answer: str, ended: bool, said: str) -> None:
    with pytest.raises(NoEdit, match=said):
        rewritten(answer, METHOD, ended)


def test_a_comment_about_other_code_that_stood_there_is_no_omission() -> None:
    passage = "# the rest of the lines is read by the caller\nread(1)\n"
    assert rewritten(fenced(passage.replace("1", "2")), passage) == passage.replace("1", "2")


@pytest.mark.parametrize(
    "comment",
    [
        "# rest of the code",
        "# ...",
        "# … remaining methods …",
        "# Rest of the function remains unchanged.",
        "# existing code",
        "# (same as before)",
        "# the other methods stay the same",
        "# ... other imports",
    ],
)
def test_comments_that_stand_for_code(comment: str) -> None:
    with pytest.raises(NoEdit, match="left code out"):
        rewritten(fenced(f"def total(self):\n    {comment}\n    return 1\n"), METHOD)


@pytest.mark.parametrize(
    "comment",
    [
        "# removes the other file",
        "# the previous line is kept",
        "# Loading...",
        "# the rest of the list is sorted already",
        "# existing code points are skipped",
        "# what stays the same is not written",
        "# waits for the remaining lines of the answer",
    ],
)
def test_comments_that_say_something(comment: str) -> None:
    assert comment in rewritten(fenced(f"def total(self):\n    {comment}\n    return 1\n"), METHOD)


def test_no_line_of_a_text_closes_the_fence_around_it() -> None:
    assert fence_around("x") == "```"
    assert fence_around("```py\nx\n```\n") == "````"
    assert fence_around("a `````` b") == "```````"


def applied(old: str, changes: Sequence[Hunk]) -> str:
    """The inverse of `hunks`."""
    lines = old.splitlines(keepends=True)
    for hunk in sorted(changes, key=lambda each: each.first, reverse=True):
        lines[hunk.first : hunk.end] = hunk.lines
    return "".join(lines)


def test_hunks_are_the_lines_that_differ_and_lead_to_the_new_text() -> None:
    old, new = "a\nb\nc\nd\n", "a\nB\nc\nd\ne"
    assert [(each.first, each.end, each.lines) for each in hunks(old, new)] == [(1, 2, ("B\n",)), (4, 4, ("e",))]
    chance = random.Random(4)
    for _ in range(300):
        one, other = ("".join(chance.choice("ab\n") for _ in range(chance.randrange(30))) for _ in "12")
        assert applied(one, hunks(one, other)) == other


def test_hunks_that_are_streamed_stay_as_they_are() -> None:
    old = "".join(f"line {n}\n" for n in range(30))
    new = old.replace("line 3\n", "line three\n").replace("line 9\n", "").replace("line 20\n", "line 20\nmore\n")
    whole, seen = hunks(old, new), 0
    for end in range(len(new)):
        so_far = hunks_so_far(old, new[:end])
        assert so_far == whole[: len(so_far)] and len(so_far) >= seen, new[:end]
        seen = len(so_far)
    assert seen == len(whole) == 3
