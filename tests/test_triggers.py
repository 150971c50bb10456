"""Where nothing is suggested unasked: comments and strings, deleted words, names that are complete, languages.

In the drawings "|" is the cursor.
"""

from __future__ import annotations

import pytest

from tabby_lsp.completion.prose import prose_at
from tabby_lsp.completion.triggers import lengthens_full_name, reason_against
from tabby_lsp.data import CompletionContext
from tabby_lsp.settings import CompletionSettings


def at(drawing: str, language: str = "python") -> CompletionContext:
    before, _, after = drawing.partition("|")
    line_suffix, newline, below = after.partition("\n")
    return CompletionContext(before, line_suffix, newline + below, language=language)


@pytest.mark.parametrize(
    "drawing, language",
    [
        ("x = 1  # the |", "python"),
        ("# it's |\nx = 1\n", "python"),
        ("# x|\n", "yaml"),
        ("int x; // it |\n", "c"),
        ("/* a\n * b |\n", "java"),
        ("a { /* | */ }", "css"),
        ("<p>it's</p>\n<!-- a | -->", "html"),
        ("text <!-- not\nshown |", "markdown"),
        ("--[[ a\nb |", "lua"),
        ("x = 1 -- |", "lua"),
        ("SELECT 1 /* a | */", "sql"),
        ("f {- x | -} y", "haskell"),
        ("REM say |", "bat"),
        ("# don't\n\n# can't |\n", "shellscript"),
    ],
)
def test_comments(drawing: str, language: str) -> None:
    assert prose_at(at(drawing, language)) == "comment"


@pytest.mark.parametrize(
    "drawing, language",
    [
        ('print("hello |', "python"),
        ('print("hello |")', "python"),
        ("x = '|'", "javascript"),
        ('x = "a # |"', "python"),
        ('def f():\n    """Does |\n', "python"),
        ('def f():\n    """Does\n\n    what it\'s |\n    """\n', "python"),
        ('x = "a \\" |', "c"),
        ("x = `a\n  b |`", "typescript"),
        ('f"{x} and |"', "python"),
        ('f"{{|"', "python"),
        ("`${x} and |`", "javascript"),
        ('"{x|', "python"),
        ("'a' + '\\'|", "javascript"),
    ],
)
def test_strings(drawing: str, language: str) -> None:
    assert prose_at(at(drawing, language)) == "string"


@pytest.mark.parametrize(
    "drawing, language",
    [
        ('x = "a" |', "python"),
        ("'a' |", "javascript"),
        ("|# a", "python"),
        ('| "a"', "python"),
        ("# a\nx = |", "python"),
        ('"""Doc."""\nx = |', "python"),
        ("/* a */ x = |", "c"),
        ("fn f<'a>(x: &'a str) -> |", "rust"),
        ("char c = '\"'; |", "c"),
        ("say it's |", "plaintext"),
        ("It's a # |", "markdown"),
        ("<p>it's |</p>", "html"),
        ("url = https://example.com#a |", "yaml"),
        ("echo $# |", "shellscript"),
        ('f"{x.|}"', "python"),
        ('f"{{{x.|}"', "python"),
        ("`${x.|}`", "javascript"),
        ('"#{x.|}"', "ruby"),
        ('$"{x.|}"', "csharp"),
        ("PREMIUM |", "bat"),
        ("x = 'it\ny = |", "python"),
        ("it's |", "a language that nobody knows"),
    ],
)
def test_code(drawing: str, language: str) -> None:
    assert prose_at(at(drawing, language)) == ""


@pytest.mark.parametrize("text", ['"' * 3000, "\\" * 3000, "'" * 2999, "/*" * 1500, "a_" * 1500, "`${" * 1000])
@pytest.mark.parametrize("language", ["python", "typescript", "c"])
def test_no_text_stalls(text: str, language: str) -> None:
    settings = CompletionSettings(comments=False, strings=False)
    assert isinstance(reason_against(at(text + "|" + text, language), 0, settings), str)
    assert isinstance(lengthens_full_name("x", at(text + "|", language)), bool)


def test_comments_and_strings_by_setting() -> None:
    comment, string, code = at("x = 1  # |"), at('x = "|"'), at("x = |")
    assert [reason_against(each, None, CompletionSettings()) for each in (comment, string, code)] == ["", "", ""]
    no_comments, no_strings = CompletionSettings(comments=False), CompletionSettings(strings=False)
    assert reason_against(comment, None, no_comments) == "completion.comments: the cursor is in a comment"
    assert reason_against(string, None, no_strings) == "completion.strings: the cursor is in a string"
    assert [reason_against(string, None, no_comments), reason_against(comment, None, no_strings)] == ["", ""]


def test_languages_by_setting() -> None:
    settings = CompletionSettings(languages=(("*", False), ("go", True)))
    assert reason_against(at("x|", "markdown"), None, settings) == "completion.languages: markdown is off"
    assert reason_against(at("x|", "go"), None, settings) == ""


@pytest.mark.parametrize(
    "drawing, deleted, is_deleting",
    [
        ("foo_ba|", 0, True),
        ("foo_ba|()", 0, True),
        ("fo|o", 0, True),
        ("foo|", 2, True),  # Neovim says of "oo" which became "o" that the second one is gone
        ("fo|o", -1, True),
        ("größe|", 0, True),
        ("foo_ba|", None, False),
        ("foo |", 0, False),
        ("foo(|", 0, False),
        ("    |", 0, False),
        ("|foo", 0, False),
        ("foo(a)|", 4, False),
        ("foo = ba|", 5, False),
        ("foo|(a, b)", -3, False),
    ],
)
def test_a_word_that_is_being_deleted(drawing: str, deleted: int | None, is_deleting: bool) -> None:
    reason = reason_against(at(drawing), deleted, CompletionSettings())
    assert reason == ("the word is being deleted" if is_deleting else "")


@pytest.mark.parametrize(
    "drawing, text",
    [
        ("total = 1\nprint(total|)\n", "_price"),
        ("print(total|)\ntotal = 1\n", "s"),
        ("self.total = 1\nself.total|\n", "s += 1"),
        ("    return|\n", "_value()"),
        ("return x\nreturn|\n", "ed = 1"),
        ("größe = 1\ngröße|\n", "r"),
    ],
)
def test_a_name_that_is_typed_in_full_is_made_no_other(drawing: str, text: str) -> None:
    assert lengthens_full_name(text, at(drawing))


@pytest.mark.parametrize(
    "drawing, text",
    [
        ("total = 1\nprint(total|)\n", "(x, y)"),
        ("total = 1\nprint(total|)\n", ".real"),
        ("total = 1\ntotal|\n", " += 1"),
        ("total = totals = 1\nprint(total|)\n", "s[0]"),  # there is a longer one
        ("tota|\n", "l = 1"),  # there is none yet
        ("subtotal = 1\ntotal|\n", "s = 1"),
        ("x = 1\nx|\n", "s = 1"),  # a letter
        ("for x in y:\n    pass\nitems.for|\n", "Each(print)"),  # of another kind
        ("items.total()\ntotal|\n", "s = 1"),
        ("x.return|\n", "_value"),
        ("a = 100\nb = 100|\n", "0"),
        ("total = 1\nprint(tot|al)\n", "s"),
    ],
)
def test_what_goes_on_behind_a_name_or_makes_one_is_shown(drawing: str, text: str) -> None:
    assert not lengthens_full_name(text, at(drawing))


def test_prose_has_no_names() -> None:
    assert not lengthens_full_name("re", at("the end of the|\n", "markdown"))
