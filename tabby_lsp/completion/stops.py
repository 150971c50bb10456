"""Where a suggestion ends, decided while it is written: a token that is never generated costs nothing.

The rules read the text so far, after every token: lines, indentation and brackets, and the words that some languages
have in their place (see `blocks`). What right of the cursor is more than closers asks for one line; so does a line that
begins no block and below which nothing is indented deeper.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tabby_lsp.completion.blocks import (
    PLAIN,
    begins_block,
    begins_by_words,
    blocks_of,
    end_tag,
    is_complete,
    leaves_open,
)
from tabby_lsp.completion.brackets import Nesting
from tabby_lsp.completion.prompt import is_closing
from tabby_lsp.data import CompletionContext

# A loop is a unit of 3 to 9 characters six times in a row, or of up to 120 four times (the limits of Tabby's filter).
_SHORT_UNIT, _LONG_UNIT, _LONGEST_UNIT = 3, 10, 120
# Of one character, or of what has no letters, rulers and rows of tables are made, as wide as a line. But numbers
# without a blank between them are a version that never ends.
_LONGEST_RULER = 120
_LETTER = re.compile(r"[^\W\d_]")
_NUMBERS = re.compile(r"\S*\d\S*")


@dataclass(frozen=True, slots=True)
class Stop:
    """Generation ends, and the text ends at `length` characters."""

    length: int
    reason: str


@dataclass(frozen=True, slots=True)
class StopRules:
    """What the rules know of a request before the first token."""

    single_line: bool
    line_prefix: str
    following: str  # the first line below the cursor that is not blank
    stop_words: tuple[str, ...]
    language: str = ""


def stop_rules(context: CompletionContext, stop_words: Sequence[str] = ()) -> StopRules:
    below = (line.rstrip() for line in context.suffix.split("\n")[1:])
    return StopRules(
        single_line=not is_closing(context.line_suffix),
        line_prefix=context.prefix.rpartition("\n")[2],
        following=next((line for line in below if line), ""),
        stop_words=tuple(word for word in stop_words if word),
        language=context.language,
    )


class Stops:
    """The search for a stop in a text that grows: what was looked at and did not end it is not looked at again."""

    def __init__(self, rules: StopRules) -> None:
        self._rules = rules
        self._searched = 0  # characters that hold no stop word
        self._first = -1  # where the first line ends, if it has ended
        self._line = -1  # where the last complete line that is not the one below the cursor ends
        self._scope: _Scope | None = None

    def find(self, text: str) -> Stop | None:
        """Where the text so far must end, if it must. It begins with the text of the last call, which found nothing."""
        parts = self._stop_word(text), self._line_end(text), self._following_line(text), _repetition(text)
        self._searched = len(text)
        return min((stop for stop in parts if stop), key=lambda stop: stop.length, default=None)

    def _stop_word(self, text: str) -> Stop | None:
        words = self._rules.stop_words
        places = [place for each in words if (place := text.find(each, max(0, self._searched - len(each)))) >= 0]
        return Stop(min(places), "stop word") if places else None

    def _line_end(self, text: str) -> Stop | None:
        """Ends after the first line, unless that opens a block or the cursor began an empty line of one."""
        if self._scope is None:
            length = text.find("\n", self._searched) if self._first < 0 else self._first
            if length < 0:
                return None
            self._first = length
            head = self._rules.line_prefix + text[:length]
            opens = begins_block(head, self._rules.language)
            if self._rules.single_line:
                return Stop(length, "line end")
            if self._rules.line_prefix.strip() and not opens:
                goes_on = self._goes_on(head, text[length + 1 :])
                if not goes_on:
                    return None if goes_on is None else Stop(length, "line end")
                opens = True
            self._scope = _Scope(head, opens, length, self._rules)
        return self._scope.find(text)

    def _goes_on(self, head: str, below: str) -> bool | None:
        """Whether what is indented deeper follows a line that opens nothing: the rest of a call, of a list item, of a
        condition without braces. None if there is no telling yet, a token or two before."""
        if is_complete(head, self._rules.language):
            return False
        begun = below.lstrip(" \t")
        return None if not begun else begun[0] != "\n" and indentation(below) > indentation(head)

    def _following_line(self, text: str) -> Stop | None:
        """Ends before a complete line that is the one below the cursor: the model has caught up with the suffix."""
        # Closers too short to tell, and what many comments begin with, may stand in the text as well.
        if len(self._rules.following.strip()) < 3 or not self._rules.following.strip(" \t/*#-"):
            return None
        end = self._line if self._line >= 0 else text.find("\n", self._searched)
        while end >= 0:
            self._line = end
            next_end = text.find("\n", max(end + 1, self._searched))
            if next_end >= 0 and text[end + 1 : next_end].rstrip() == self._rules.following:
                return Stop(end, "following line")
            end = next_end
        return None


class _Scope:
    """Where a suggestion of several lines ends, by what its first one begins.

    A block ends before the first line that is indented less than it, or with the closer of what it opened; an
    expression ends with its last bracket; statements on an empty line end at the first blank line after them.
    """

    def __init__(self, head: str, opens: bool, length: int, rules: StopRules) -> None:
        self._language, self._opens = rules.language, opens
        self._blank_start = not rules.line_prefix.strip()
        self._is_filled = opens or bool(head[len(rules.line_prefix) :].strip())
        self._base = indentation(head)
        self._by_words = begins_by_words(head, rules.language)
        self._words = blocks_of(rules.language).words if self._by_words else PLAIN.words
        self._end_tag = end_tag(head, rules.language)
        if self._end_tag:
            self._words = (self._end_tag,)
        # The brackets of the head, until they are closed.
        self._brackets = Nesting(rules.language).read(head + "\n") if leaves_open(head, rules.language) else None
        self._end = self._kept = length  # of the complete lines so far, of the last one that is not blank
        self._blanks = 0

    def find(self, text: str) -> Stop | None:
        while (end := text.find("\n", self._end + 1)) >= 0:
            if stop := self._complete_line(text[self._end + 1 : end], end):
                return stop
            self._end = end
        line = text[self._end + 1 :]
        word = line.strip()
        # What is not complete may become a closer, or a name.
        if not word or any(each.startswith(word) for each in self._words):
            return None
        return Stop(self._kept, "scope end") if self._is_outside(line, word) else None

    def _complete_line(self, line: str, end: int) -> Stop | None:
        word = line.strip()
        if not word:
            self._blanks += 1
            is_last = self._blanks >= (2 if self._opens else 1) and self._is_filled
            return Stop(self._kept, "scope end") if is_last else None
        self._blanks = 0
        if self._is_outside(line, word):
            return Stop(self._kept, "scope end")
        self._kept = end
        if self._blank_start or not self._opens:
            return None
        closed = self._brackets is not None and not self._brackets.read(line + "\n").openers
        if closed:
            self._brackets = None
        closes = self._is_closer(word) and indentation(line) == self._base
        if (closed or closes) and not (self._brackets or begins_block(line, self._language)):
            return Stop(end, "scope end")
        return None

    def _is_closer(self, word: str) -> bool:
        if self._end_tag and word.startswith("</"):
            return word.startswith(self._end_tag)
        return blocks_of(self._language).closer.match(word) is not None

    def _is_outside(self, line: str, word: str) -> bool:
        """Whether a line is no part of what the head began."""
        indent, blocks = indentation(line), blocks_of(self._language)
        if indent != self._base or self._blank_start or not self._opens:
            return indent < self._base
        return not (self._is_closer(word) or (self._by_words and blocks.middle.match(word)))


def indentation(line: str) -> int:
    """Columns of white space at the start of a line, a tab counting to the next multiple of 4."""
    return len(line[: len(line) - len(line.lstrip(" \t"))].expandtabs(4))


def _repetition(text: str) -> Stop | None:
    """Ends before a loop: the same unit over and over, or the same line three times, unless it is a row of a table."""
    for size in range(_SHORT_UNIT, min(_LONGEST_UNIT, len(text) // 4) + 1):
        times = 6 if size < _LONG_UNIT else 4
        unit = text[-size:]
        if len(set(unit)) == 1 or not (_LETTER.search(unit) or _NUMBERS.fullmatch(unit)):
            times = max(times, _LONGEST_RULER // size)
        if unit.strip() and text.endswith(unit * times):
            return Stop(len(text) - size * (times - 1), "repetition")
    parts = text.rsplit("\n", 4)
    if len(parts) > 3 and _LETTER.search(parts[-2]) and parts[-2] == parts[-3] == parts[-4] and parts[-2][-1] != ",":
        return Stop(len(text) - sum(len(each) + 1 for each in parts[-3:]), "repetition")
    return None
