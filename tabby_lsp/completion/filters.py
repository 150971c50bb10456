"""The clean-up of what a model wrote: pure functions `(text, context) -> text`, in one ordered tuple.

An empty text means that there is nothing worth showing. Knows nothing of models or editors.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

from tabby_lsp.completion.prompt import is_closing
from tabby_lsp.data import CompletionContext

Filter = Callable[[str, CompletionContext], str]

_CLOSER_OF = {"(": ")", "[": "]", "{": "}"}
_QUOTES = "\"'`"
_CLOSERS = ")]}>;,:" + _QUOTES


def clean(text: str, context: CompletionContext) -> str:
    """The text after all filters, or "" if one of them dropped it."""
    for each in FILTERS:
        text = each(text, context)
        if not text:
            return ""
    return text


def trim_end(text: str, context: CompletionContext) -> str:
    """No white space at the end, except where text follows on the line and may need it."""
    return text.rstrip() if is_closing(context.line_suffix) else text.rstrip("\n")


def drop_blank(text: str, context: CompletionContext) -> str:
    return text if text.strip() else ""


def respect_line_suffix(text: str, context: CompletionContext) -> str:
    """With words right of the cursor: one line, which ends where those words begin to be repeated."""
    if is_closing(context.line_suffix):
        return text
    line = text.partition("\n")[0]
    rest = context.line_suffix.rstrip()
    alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(line.strip(), rest.strip(), strict=False))
    if len(list(alike)) >= 3 or _first_word(line) == _first_word(rest) != "":
        return ""  # it begins with what stands there already
    for start in range(len(line)):  # the longest end of the line that is the beginning of what follows
        repeated = line[start:]
        if rest.startswith(repeated) and (len(repeated) >= min(3, len(rest)) or repeated == rest):
            return line[:start]
    found = line.find(rest)
    return line[:found] if found >= 0 and len(rest) >= 3 else line


def _first_word(text: str) -> str:
    return re.split(r"\W", text.strip(), maxsplit=1)[0]


def drop_repeated_suffix(text: str, context: CompletionContext) -> str:
    """Nothing that merely says what already stands below, and no last lines that do."""
    below = [line.rstrip() for line in context.suffix.split("\n")[1:]]
    while below and not below[0]:
        below.pop(0)
    lines = text.split("\n")
    stripped = [line.rstrip() for line in lines]
    line_prefix = context.prefix.rpartition("\n")[2]
    written = [line_prefix + stripped[0], *stripped[1:]]
    filled = [line for line in written if line]
    if filled and not line_prefix.strip() and filled == below[: len(filled)]:
        return ""
    if len(filled) > 1 and not stripped[0] and filled[1:] == below[: len(filled) - 1]:
        return ""
    for size in range(min(len(below), len(lines) - 1), 0, -1):
        tail = written[-size:]
        if tail == below[:size] and any(len(line.strip()) > 1 for line in tail):
            return "\n".join(lines[:-size]).rstrip("\n")
    return text


FILTERS: tuple[Filter, ...] = (
    respect_line_suffix,
    trim_end,
    drop_repeated_suffix,
    drop_blank,
)


def overtyped(text: str, line_suffix: str) -> int:
    """Number of characters right of the cursor that the text takes the place of."""
    return _typed_over(text, line_suffix)[0]


def before_overtyped(text: str, line_suffix: str) -> str:
    """The text up to the first character that stands right of the cursor already."""
    return text[: _typed_over(text, line_suffix)[1]]


def _typed_over(text: str, line_suffix: str) -> tuple[int, int]:
    """How far the text reaches into the line suffix, and its first character that does.

    The text is read as if it were typed in an editor that closes brackets and quotes: a closer that the text
    did not open itself takes the place of the same closer right of the cursor.
    """
    if not is_closing(line_suffix):
        return 0, len(text)
    reach, first = 0, len(text)
    opened: list[str] = []  # closers that the text itself has yet to write
    for i, character in enumerate(text):
        blanks = len(line_suffix) - reach - len(line_suffix[reach:].lstrip(" \t"))
        waiting = line_suffix[reach + blanks : reach + blanks + 1]
        if opened and character == opened[-1]:
            opened.pop()
        elif opened and opened[-1] in _QUOTES:
            continue  # inside a string brackets mean nothing
        elif character == waiting and character in _CLOSERS:
            reach, first = reach + blanks + 1, min(first, i)
        elif character in _CLOSER_OF:
            opened.append(_CLOSER_OF[character])
        elif character in _QUOTES:
            opened.append(character)
    return reach, first
