"""How blocks begin, go on and end, a line at a time: by brackets in most languages, by words, tags and fences in some.

A line that is wrongly taken for one that begins a block does no harm: what follows it is not indented deeper, and so
is no part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from tabby_lsp.completion.brackets import Nesting
from tabby_lsp.languages import Words
from tabby_lsp.languages import language as facts_of
from tabby_lsp.languages import words as words_of

# The end of a line that begins a block in nearly every language, or that leaves an expression or a comment open.
_BEGINNING = re.compile(
    r"(?:[:{(\[]|=>|->|\b(?:do|then|else)|/\*(?:(?!\*/).)*|(?<!\\)\\|[\w)\]}\"'] (?:[+=]|&&|\|\||and|or)|[\w)\]}]\.)\Z"
)
_NEVER = "(?!)"
MOST_CHARACTERS = 500  # of a line that are looked at, its end: patterns with many beginnings take the square of it


@dataclass(frozen=True, slots=True)
class Blocks:
    """What a language has besides brackets: a `head` is searched in a line without blanks at its end, a `middle` and a
    `closer` are matched at the beginning of a line that is indented like the head. `words` are those that make such a
    line: what is still being written may become one."""

    head: re.Pattern[str]
    middle: re.Pattern[str]
    closer: re.Pattern[str]
    words: tuple[str, ...]


def _by_words(words: Words) -> Blocks:
    middle = rf"(?:{'|'.join(words.middles)})\b" if words.middles else _NEVER
    closer = rf"[)\]}}]|(?:{'|'.join(words.closers)})\b" if words.closers else r"[)\]}]"
    return Blocks(re.compile(words.head), re.compile(middle), re.compile(closer), (*words.middles, *words.closers))


_TAG_AT_END = re.compile(r"<([A-Za-z][\w:.-]*)(?:\s[^<>]*)?>?\Z")
_TAGS = Blocks(
    re.compile(
        r"(?:^|[\s>(])<(?!(?:area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr)\b)"
        r"[A-Za-z][\w:.-]*(?:\s[^<>]*)?(?<!/)>\Z"
    ),
    re.compile(_NEVER),
    re.compile(r"[)\]}]|</"),
    ("</",),
)
_FENCES = Blocks(
    re.compile(r"^\s*(?:```|~~~)\s*[\w{.]+\Z"),
    re.compile(""),
    re.compile(r"```|~~~|[)\]}]|</|(?:end|fi|done|esac)\b"),
    ("```", "~~~"),
)
_OTHERS = {"tags": _TAGS, "fences": _FENCES}
PLAIN = _by_words(Words(closers=("end",)))


@cache
def _blocks(name: str, words: Words) -> Blocks:
    return _OTHERS.get(name) or _by_words(words)


def blocks_of(language: str) -> Blocks:
    return _blocks(facts_of(language).blocks, words_of(language))


@lru_cache(maxsize=256)  # these are asked after every token for all lines so far
def begins_block(line: str, language: str) -> bool:
    """Whether what follows a line may belong to it: it begins a block, or leaves an expression open."""
    end = line.rstrip()[-MOST_CHARACTERS:]
    return bool(_BEGINNING.search(end)) or begins_by_words(line, language) or leaves_open(line, language)


def end_tag(head: str, language: str) -> str:
    """What ends the last tag that a head opens; "" if it opens none."""
    found = _TAG_AT_END.search(head.rstrip()[-MOST_CHARACTERS:]) if blocks_of(language) is _TAGS else None
    return f"</{found[1]}>" if found else ""


def is_complete(line: str, language: str) -> bool:
    """Whether nothing that is indented deeper below a line goes on with it, if it begins no block."""
    facts = facts_of(language)
    return facts.complete or (not facts.has_sentences and line.rstrip().endswith(";"))


@lru_cache(maxsize=256)
def begins_by_words(line: str, language: str) -> bool:
    """Whether a line begins a block that what `blocks_of` a language tells goes on with and ends."""
    return bool(blocks_of(language).head.search(line.rstrip()[-MOST_CHARACTERS:]))


@lru_cache(maxsize=256)
def leaves_open(text: str, language: str) -> bool:
    """Whether a bracket in a text is closed by nothing in it."""
    return not facts_of(language).has_sentences and bool(Nesting(language).read(text).openers)
