"""Where a suggestion ends, decided while it is written: a token that is never generated costs nothing.

The rules read the text so far, after every token: lines, indentation and brackets, and the words that some languages
have in their place (see `blocks`). What right of the cursor is more than closers asks for one line; so does a line that
is complete and begins no block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tabby_lsp.completion.blocks import PLAIN, begins_block, begins_by_words, blocks_of, leaves_open
from tabby_lsp.completion.prompt import is_closing
from tabby_lsp.data import CompletionContext

# A loop is a unit of 3 to 9 characters six times in a row, or of up to 120 four times (the limits of Tabby's filter).
_SHORT_UNIT, _LONG_UNIT, _LONGEST_UNIT = 3, 10, 120


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


def find_stop(text: str, rules: StopRules) -> Stop | None:
    """Where the text so far must end, if it must."""
    found = [
        stop
        for stop in (
            _stop_word(text, rules),
            _line_end(text, rules),
            _following_line(text, rules),
            _repetition(text),
        )
        if stop
    ]
    return min(found, key=lambda stop: stop.length, default=None)


def _stop_word(text: str, rules: StopRules) -> Stop | None:
    places = [place for place in map(text.find, rules.stop_words) if place >= 0]
    return Stop(min(places), "stop word") if places else None


def _line_end(text: str, rules: StopRules) -> Stop | None:
    """Ends after the first line, unless that opens a block or the cursor began an empty line of one.

    A block ends before the first line that is indented less than it, or with the closer of what it opened; an
    expression ends with its last bracket; statements on an empty line end at the first blank line after them.
    """
    first, newline, rest = text.partition("\n")
    if not newline:
        return None
    head, blocks = rules.line_prefix + first, blocks_of(rules.language)
    blank_start = not rules.line_prefix.strip()
    opens = begins_block(head, rules.language)
    if rules.single_line or not (opens or blank_start):
        return Stop(len(first), "line end")
    base = indentation(head)
    by_words = begins_by_words(head, rules.language)
    words = blocks.words if by_words else PLAIN.words
    brackets = leaves_open(head, rules.language)  # until those of the head are closed
    end = kept = len(first)  # of the lines so far, of the last one that is not blank
    blanks = 0
    for line in rest.split("\n"):
        complete = end + 1 + len(line) < len(text)
        end += 1 + len(line)
        word = line.strip()
        if not word:
            blanks += complete
            if blanks >= (2 if opens else 1) and (first.strip() or opens):
                return Stop(kept, "scope end")
            continue
        blanks = 0
        if not complete and any(each.startswith(word) for each in words):
            continue  # it may become a closer, or a name
        indent = indentation(line)
        closes = blocks.closer.match(word) is not None
        goes_on = closes or (by_words and blocks.middle.match(word) is not None)
        if indent < base or (indent == base and opens and not goes_on and not blank_start):
            return Stop(kept, "scope end")
        kept = end
        if not (opens and complete) or blank_start:
            continue
        closed = brackets and not leaves_open(rules.line_prefix + text[:end], rules.language)
        brackets = brackets and not closed
        if (closed or (closes and indent == base)) and not (brackets or begins_block(line, rules.language)):
            return Stop(end, "scope end")
    return None


def indentation(line: str) -> int:
    """Columns of white space at the start of a line, a tab counting to the next multiple of 4."""
    columns = 0
    for character in line:
        if character == "\t":
            columns += 4 - columns % 4
        elif character == " ":
            columns += 1
        else:
            break
    return columns


def _following_line(text: str, rules: StopRules) -> Stop | None:
    """Ends before a complete line that is the one below the cursor: the model has caught up with the suffix."""
    if len(rules.following.strip()) < 3:
        return None
    end = text.find("\n")
    while end >= 0:
        next_end = text.find("\n", end + 1)
        if next_end < 0:
            return None
        if text[end + 1 : next_end].rstrip() == rules.following:
            return Stop(end, "following line")
        end = next_end
    return None


def _repetition(text: str) -> Stop | None:
    """Ends before a loop: the same unit over and over, or the same line three times."""
    for size in range(_SHORT_UNIT, min(_LONGEST_UNIT, len(text) // 4) + 1):
        times = 6 if size < _LONG_UNIT else 4
        unit = text[-size:]
        if unit.strip() and text.endswith(unit * times):
            return Stop(len(text) - size * (times - 1), "repetition")
    lines = text.split("\n")
    if len(lines) > 3 and lines[-2].strip() and lines[-2] == lines[-3] == lines[-4]:
        return Stop(len("\n".join(lines[:-3])), "repetition")
    return None
