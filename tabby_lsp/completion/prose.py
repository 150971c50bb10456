"""Whether a cursor stands in a comment or in a string.

Told by a scanner of a few lines: it needs no grammar, so it is there at the first request, for every language, and in
a line that is just being written. It begins where the window does: if that is within a string of several lines, it
takes what is in strings for what is not, up to the next mark of another kind.
"""

from __future__ import annotations

import re
from functools import cache

from tabby_lsp.completion.brackets import PROSE, QUOTES_CHARACTERS
from tabby_lsp.data import CompletionContext
from tabby_lsp.languages import language as facts_of

_BLOCK_COMMENTS = {
    **dict.fromkeys(("html", "xml", "vue", "svelte", "markdown", "quarto"), ("<!--", "-->")),
    **dict.fromkeys(("css", "less", "sql"), ("/*", "*/")),
    **dict.fromkeys(("haskell", "elm"), ("{-", "-}")),
    **dict.fromkeys(("ocaml", "fsharp"), ("(*", "*)")),
    "julia": ("#=", "=#"),
    "lua": ("--[[", "]]"),
    "powershell": ("<#", "#>"),
}
# Where "#" begins a comment behind a blank only.
_AFTER_BLANK = frozenset(("dockerfile", "makefile", "perl", "shellscript", "yaml"))
# Where quotes are marks between words.
_NO_STRINGS = PROSE | {"latex", "svelte", "vue", "xml"}
# Where strings in backticks have several lines.
_BACKTICKS = frozenset(("go", "javascript", "javascriptreact", "typescript", "typescriptreact"))
# Code in a string, up to the cursor: ${…}, #{…} and \(…) in most languages, {…} where a sign before the string says so.
_CODE = re.compile(r"(?:[$#]\{|\\\()[^{}()]*\Z")
_CODE_IN_BRACES = re.compile(r"(?<!\{)(?:\{\{)*\{[^{}]*\Z")
_CURSOR = "\ue000"  # a sign that means nothing to anybody


def prose_at(context: CompletionContext) -> str:
    """ "comment" or "string", if the cursor is in one; else ""."""
    prefix = context.prefix
    for match in _scanner(context.language).finditer(f"{prefix}{_CURSOR}{context.line_suffix}"):
        if match.start() > len(prefix):
            break
        if match.end() > len(prefix):
            return "comment" if match["comment"] is not None else _string(prefix, match.start(), context.language)
    return ""


def _string(prefix: str, start: int, language: str) -> str:
    """ "string", or "" in code that is to be put into it."""
    letters = re.search(r"[\w$@]*\Z", prefix[max(0, start - 3) : start])
    in_braces = letters is not None and (("$" in letters[0]) or ("f" in letters[0].lower() and language == "python"))
    return "" if (_CODE_IN_BRACES if in_braces else _CODE).search(prefix, start) else "string"


@cache
def _scanner(language: str) -> re.Pattern[str]:
    """Matches comments and strings whole; without an end, up to that of the line or of the text."""
    return re.compile(f"(?P<comment>{_comments(language)})|(?P<string>{_strings(language)})")


def _comments(language: str) -> str:
    found = []
    mark = facts_of(language).comment
    begin, end = _BLOCK_COMMENTS.get(language, ("/*", "*/") if mark == "//" else ("", ""))
    if begin:
        found.append(rf"{re.escape(begin)}(?s:.*?)(?:{re.escape(end)}|\Z)")
    if mark.isalpha():  # Batch's REM
        found.append(rf"(?<!\w){mark}(?!\w)[^\n]*")
    elif mark:
        before = r"\S" if language in _AFTER_BLANK else r"\\"
        found.append(rf"(?<!{before}){re.escape(mark)}[^\n]*")
    return "|".join(found) or "(?!)"


def _strings(language: str) -> str:
    if language in _NO_STRINGS:
        return "(?!)"
    found = [rf"{mark}(?s:\\.|[^\\])*?(?:{mark}|\Z)" for mark in ('"""', "'''")]
    found.append(_on_a_line('"'))
    if language in QUOTES_CHARACTERS:
        found.append(r"'(?:\\[^\n]{1,9}?|[^'\\\n])'")
    elif facts_of(language).name and language != "clojure":
        found.append(_on_a_line("'"))
    if language in _BACKTICKS:
        found.append(r"`(?s:\\.|[^`\\])*(?:`|\Z)")
    return "|".join(found)


def _on_a_line(quote: str) -> str:
    return rf"{quote}(?s:\\.|[^{quote}\\\n])*(?:{quote}|(?=\n)|\Z)"
