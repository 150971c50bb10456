"""How blocks begin, go on and end, a line at a time: by brackets in most languages, by words, tags and fences in some.

A line that is wrongly taken for one that begins a block does no harm: what follows it is not indented deeper, and so
is no part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from tabby_lsp.completion.brackets import Nesting
from tabby_lsp.completion.scanner import PROSE

# The end of a line that begins a block in nearly every language, or that leaves an expression or a comment open.
_BEGINNING = re.compile(
    r"(?:[:{(\[]|=>|->|\b(?:do|then|else)|/\*(?:(?!\*/).)*|(?<!\\)\\|[\w)\]}\"'] (?:[+=]|&&|\|\||and|or))\Z"
)
_NEVER = "(?!)"
MOST_CHARACTERS = 500  # of a line that are looked at, its end: patterns with many beginnings take the square of it
# Where brackets are marks between words.
_NO_BRACKETS = PROSE | {"latex", "xml"}


@dataclass(frozen=True, slots=True)
class Blocks:
    """What a language has besides brackets: a `head` is searched in a line without blanks at its end, a `middle` and a
    `closer` are matched at the beginning of a line that is indented like the head. `words` are those that make such a
    line: what is still being written may become one."""

    head: re.Pattern[str]
    middle: re.Pattern[str]
    closer: re.Pattern[str]
    words: tuple[str, ...]


def _by_words(head: str, middles: str = "", closers: str = "end") -> Blocks:
    middle = rf"(?:{middles.replace(' ', '|')})\b" if middles else _NEVER
    closer = rf"[)\]}}]|(?:end|{closers.replace(' ', '|')})\b"
    return Blocks(re.compile(head), re.compile(middle), re.compile(closer), (*middles.split(), *closers.split()))


_RUBY = _by_words(
    r"^\s*(?:def|class|module)\b(?!.*\bend\Z)|(?:^\s*|[=(] )(?:begin|case|if|unless|while|until|for)\b(?!.*\bend\Z)"
    r"|\bdo(?: \|[^|]*\|)?\Z",
    "else elsif when in rescue ensure",
)
_TAGS = Blocks(
    re.compile(
        r"(?:^|[\s>(])<(?!(?:area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr)\b)"
        r"[A-Za-z][\w:.-]*(?:\s[^<>]*)?(?<!/)>\Z"
    ),
    re.compile(_NEVER),
    re.compile(r"[)\]}]|</"),
    ("</",),
)
_FENCES = Blocks(re.compile(r"^\s*(?:```|~~~)\s*[\w{.]+\Z"), re.compile(""), re.compile("```|~~~"), ("```", "~~~"))
PLAIN = _by_words(_NEVER)
_BLOCKS = {
    "crystal": _RUBY,
    "elixir": _by_words(r"\bdo\Z|\bfn\b.*->\Z", "else rescue catch after"),
    "julia": _by_words(
        r"^\s*(?:begin|for|function|if|let|macro|module|(?:mutable )?struct|quote|try|while)\b(?!.*\bend\Z)"
        r"|\bdo\b[^.;]*\Z",
        "else elseif catch finally",
    ),
    "lua": _by_words(r"\bfunction\b(?!.*\bend\b)|\b(?:then|do)\Z|^\s*repeat\Z", "else elseif", "end until"),
    "matlab": _by_words(r"^\s*(?:for|function|if|switch|try|while)\b(?!.*\bend\Z)", "else elseif case otherwise catch"),
    "python": _by_words(r"^\s*try\s*:\Z", "except finally else"),
    "ruby": _RUBY,
    "shellscript": _by_words(r"\b(?:then|do|in)\Z", "else elif", "fi done esac"),
    **dict.fromkeys(("markdown", "quarto"), _FENCES),
    **dict.fromkeys(("html", "javascript", "javascriptreact", "php", "svelte", "typescriptreact", "vue", "xml"), _TAGS),
}


def blocks_of(language: str) -> Blocks:
    return _BLOCKS.get(language, PLAIN)


@lru_cache(maxsize=256)  # these are asked after every token for all lines so far
def begins_block(line: str, language: str) -> bool:
    """Whether what follows a line may belong to it: it begins a block, or leaves an expression open."""
    end = line.rstrip()[-MOST_CHARACTERS:]
    return bool(_BEGINNING.search(end)) or begins_by_words(line, language) or leaves_open(line, language)


@lru_cache(maxsize=256)
def begins_by_words(line: str, language: str) -> bool:
    """Whether a line begins a block that what `blocks_of` a language tells goes on with and ends."""
    return bool(blocks_of(language).head.search(line.rstrip()[-MOST_CHARACTERS:]))


@lru_cache(maxsize=256)
def leaves_open(text: str, language: str) -> bool:
    """Whether a bracket in a text is closed by nothing in it."""
    return language not in _NO_BRACKETS and bool(Nesting(language).read(text).openers)
