"""Whether a cursor stands in a comment or in a string.

The scanner begins where the window does: if that is within a string of several lines, it takes what is in strings for
what is not, up to the next mark of another kind.
"""

from __future__ import annotations

import re

from tabby_lsp.completion.scanner import QUOTES, pieces, syntax_of
from tabby_lsp.data import CompletionContext
from tabby_lsp.languages import language as facts_of

# Code in a string, up to the cursor: ${…}, #{…} and \(…) in most languages, {…} where a sign before the string says so.
_CODE = re.compile(r"(?:[$#]\{|\\\()[^{}()]*\Z")
_CODE_IN_BRACES = re.compile(r"(?<!\{)(?:\{\{)*\{[^{}]*\Z")
_CURSOR = "\ue000"  # a sign that means nothing to anybody


def prose_at(context: CompletionContext) -> str:
    """ "comment" or "string", if the cursor is in one; else ""."""
    cursor, syntax = len(context.prefix), syntax_of(context.language)
    line = f"{context.prefix}{_CURSOR}{context.line_suffix}"
    facts = facts_of(context.language)
    has_strings = bool(facts.quotes)
    begin = QUOTES if facts.name else '"'  # what is not known may be sentences
    for mark, start, end, _ in pieces(line, syntax, begin=begin if has_strings else ""):
        if start > cursor:
            break
        if end > cursor:
            if syntax.bodies[mark].is_comment:
                return "comment"
            return _string(context.prefix, start, context.language) if has_strings else ""
    return ""


def _string(prefix: str, start: int, language: str) -> str:
    """ "string", or "" in code that is to be put into it."""
    letters = re.search(r"[\w$@]*\Z", prefix[max(0, start - 3) : start])
    in_braces = letters is not None and (("$" in letters[0]) or ("f" in letters[0].lower() and language == "python"))
    return "" if (_CODE_IN_BRACES if in_braces else _CODE).search(prefix, start) else "string"
