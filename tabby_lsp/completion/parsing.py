"""Whether the text around a cursor still parses with a suggestion in it, as far as its grammar can tell."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import cache

from tabby_lsp.completion.overtype import overtyped
from tabby_lsp.completion.scanner import begins_in, pieces, syntax_of
from tabby_lsp.completion.stops import indentation
from tabby_lsp.data import CompletionContext
from tabby_lsp.languages import language as facts_of
from tabby_lsp.syntax import PARSE_MILLISECONDS, errors, has_grammar

# Characters around the cursor that are parsed: under a millisecond. With the starter in 300 holes (see `filters`) a
# shorter window hides one suggestion, a longer one changes none.
PARSED_BEFORE, PARSED_AFTER = 4000, 1500
MOST_FAULTS = 5  # of the text without a suggestion; of one with more there is no telling
_STATEMENT = re.compile(r"^([ \t]*)(?=[^\s#)\]}])", re.MULTILINE)


def judge(context: CompletionContext) -> Callable[[str], bool | None]:
    """Says of a text whether what is around the cursor parses with it as well as without; None where there is no
    telling, as in a text with many faults."""
    faults = _faults(context)
    enough = faults("")

    def parses(tried: str) -> bool | None:
        found = None if enough is None or enough > MOST_FAULTS else faults(tried)
        return None if found is None or enough is None else found <= enough

    return parses


def is_right(context: CompletionContext) -> Callable[[str], bool | None]:
    """Says of a text whether nothing is wrong around the cursor with it; None where something is without it, too."""
    faults = _faults(context)

    def right(tried: str) -> bool | None:
        found = faults(tried)
        return True if found == 0 else None if found is None or faults("") != 0 else False

    return right


def _faults(context: CompletionContext) -> Callable[[str], int | None]:
    """Counts the faults around the cursor with a text; None where there is no telling. Has a second of this thread's
    time for all that it is asked: a busy machine must not change what is shown."""
    if not has_grammar(context.language):
        return lambda tried: None
    before, after, indent = _window(context)
    end = time.thread_time() + PARSE_MILLISECONDS / 1000

    @cache
    def faults(tried: str) -> int | None:
        left = round((end - time.thread_time()) * 1000)
        if left <= 0:
            return None
        behind = context.line_suffix[overtyped(tried, context) :] + after
        whole = before + with_body(tried, context.language) + behind
        return errors(re.sub(rf"(?m)^[ \t]{{1,{indent}}}", "", whole) if indent else whole, context.language, left)

    return faults


def with_body(text: str, language: str) -> str:
    """A text whose last line may be a head, with a body that does nothing behind it."""
    return text + facts_of(language).body if text.rstrip().endswith(":") else text


def _window(context: CompletionContext) -> tuple[str, str, int]:
    """What is parsed before and behind the cursor's line, and how far all of it is indented.

    It begins and ends with lines of one depth, the smallest near the cursor, outside of strings of several lines: text
    that is cut anywhere is full of faults.
    """
    before, after = context.prefix, context.suffix
    first = max(0, len(before) - PARSED_BEFORE)
    found = pieces(before, syntax_of(context.language), begins_in(before, context.language))
    in_strings = {place for each in found for place in range(max(first, each.start + 1), each.end)}
    starts = [
        (indentation(match[1]), match.start())
        for match in _STATEMENT.finditer(before, first)
        if match.start() not in in_strings
    ]
    if not starts:
        return before[-PARSED_BEFORE:], after[:PARSED_AFTER], 0
    indent, begin = min(starts)
    end = min(len(after), PARSED_AFTER)
    for match in _STATEMENT.finditer(after, 0, end + 1):
        depth = indentation(match[1])
        if depth < indent or (depth == indent and len(after) > PARSED_AFTER):
            end = match.start()
            if depth < indent:
                break
    return before[begin:], after[:end], indent
