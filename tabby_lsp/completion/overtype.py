"""What of the text right of the cursor a suggestion takes the place of, as if it were typed in an editor that closes
brackets and quotes by itself."""

from __future__ import annotations

import re

from tabby_lsp.completion.brackets import string_around
from tabby_lsp.completion.prompt import is_closing
from tabby_lsp.completion.scanner import CLOSER_OF, PAIRS, QUOTES
from tabby_lsp.data import CompletionContext
from tabby_lsp.languages import language as facts_of

_MARK = re.compile(r"\\[\\\"'`]|\"\"\"|'''|[][(){}>;,:\"'`]")  # what opens or closes, and quotes that do not
CLOSERS = "".join(PAIRS.values())


def overtyped(text: str, context: CompletionContext) -> int:
    """Number of characters right of the cursor that the text takes the place of."""
    return _typed_over(text, context)[0]


def before_overtyped(text: str, context: CompletionContext) -> str:
    """The text up to the first character that stands right of the cursor already."""
    return text[: _typed_over(text, context)[1]]


def _typed_over(text: str, context: CompletionContext) -> tuple[int, int]:
    """How far the text reaches into the line suffix, and its first character that does.

    The text is read as if it were typed in an editor that closes brackets and quotes: a closer that the text
    did not open itself takes the place of the same closer right of the cursor.
    """
    reach, first = 0, len(text)
    line_suffix = context.line_suffix
    if not line_suffix.strip() or not is_closing(line_suffix):
        return reach, first
    in_prose = facts_of(context.language).has_sentences
    around = "" if in_prose else string_around(context.prefix, text, line_suffix, context.language)
    backslashes = len(context.prefix) - len(context.prefix.rstrip("\\"))
    begin = backslashes % 2 if around else 0  # what is escaped by the text before
    opened: list[str] = []  # closers that the text itself has yet to write
    right, ended = _behind_blanks(line_suffix, 0), line_suffix.rfind(around)
    for match in _MARK.finditer(text, begin):
        mark = match[0]
        if opened and mark == opened[-1]:
            opened.pop()
        elif around and mark != around and (ended < right or line_suffix.startswith(around, right)):
            continue  # in a string of which nothing else stands right of the cursor
        elif opened and opened[-1][0] in QUOTES:
            continue  # inside a string brackets mean nothing
        elif line_suffix.startswith(mark, right):
            reach, first = right + len(mark), min(first, match.start())
            right = _behind_blanks(line_suffix, reach)
        elif mark in CLOSER_OF:
            opened.append(CLOSER_OF[mark])
        elif mark[0] in QUOTES and not around:
            opened.append(mark)
        if mark == around:
            around = ""
    return reach, first


def closers_typed(text: str, typed: int, replaced: str, around: str) -> str:
    """The closers that the text writes from `typed` on for what was opened before: in front of it, or in what is typed.
    `around` is the quote of the string that it is written into, if any.

    These, and only these, may stand right of the cursor already. Reads as `overtyped` does, which says how much
    of what stood there the text replaces; but editors close brackets inside of strings as well.
    """
    closers = ""
    opened: list[tuple[str, bool]] = []  # closers yet to come, and whether their opener has been typed
    waiting = _behind_blanks(replaced, 0)
    string = 0  # how many of them are open once the string in which the text is has begun; 0: it is in none
    for i, character in enumerate(text):
        if character == around:
            opened.clear()
        if string and character == opened[string - 1][0]:
            del opened[string:]
        if opened and character == opened[-1][0]:
            if opened.pop()[1] and i >= typed:
                closers += character
            string = string if len(opened) >= string else 0
        elif not string and (replaced.startswith(character, waiting) or character in ")]}"):
            if replaced.startswith(character, waiting):
                waiting = _behind_blanks(replaced, waiting + 1)
            closers += character if i >= typed else ""
        elif character in PAIRS and not ((string or around) and character in QUOTES):
            opened.append((PAIRS[character], i < typed))
            string = string or (len(opened) if character in QUOTES else 0)
        if character == around:
            around = ""
    return closers


def is_closed_by_editor(written: str, behind: str) -> bool:
    """Whether what stands behind a text may be closers that an editor wrote by itself as the text was typed."""
    return not behind.strip(CLOSERS) and any(each in PAIRS for each in written)


def _behind_blanks(text: str, place: int) -> int:
    """The next place in a text that is no blank and no tab."""
    while text.startswith((" ", "\t"), place):
        place += 1
    return place
