"""Completions that need no model: finished ones, found again by the text around the cursor.

An answer belongs to what it was made for: the cursor's line, the text near above and below it, the closers and words
right of the cursor, and the sampling. Nothing here is a position, so typing through a suggestion, backspacing, undo,
accepting a part, going away and coming back all find it, and so does an edit far away or in another file. One that
is near makes another text, for which there is no answer.

Answers are frozen, and shown as they were filtered: only the start that has been typed is cut off. What is promised
is that accepting the rest leaves the text that accepting the whole would have left, and that no closer which the
editor wrote by itself is then there twice, or lost. Where that is not certain there is no answer.

They stay when a document is closed: opened again it most likely has the text it had, and if not, nothing is found.
Only room, another engine and other settings end them. Knows neither LSP nor how text is generated, nor what other
files say: an answer made with other snippets in its prompt is an answer.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import OrderedDict
from dataclasses import dataclass

from tabby_lsp.completion.brackets import string_around
from tabby_lsp.completion.overtype import closers_typed
from tabby_lsp.data import Alternative, Completion, CompletionContext, Sampling

# What a suggestion depends on beyond its line: the function around the cursor and the lines that follow, which the
# stops and the filters look at. The model reads more, but a word there seldom changes what it says here.
ABOVE, BELOW = 2_000, 1_000  # characters
# A pause a second gives an answer of some 6 KB: this is an hour of steady work on several files. The bytes are for
# long lines, of which the text around one cursor can be a hundred thousand bytes.
ENTRIES, BYTES = 1_000, 8 << 20
ENTRY_BYTES, PROBABILITY_BYTES = 1_000, 32  # the objects around an answer's texts


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a document as answers know it: by what stands around it, not by its number."""

    document: str
    language: str
    sampling: Sampling
    above: str
    below: str


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A completion and the place on a line that it was made for."""

    line: Line
    before: str  # of the cursor's line
    after: str
    completion: Completion

    def seen_from(self, written: str, after: str) -> Completion | None:
        """What is left of it where `written` stands between the line's start and the cursor, and `after` behind it."""
        if written == self.before and after == self.after:
            text = self.completion.text
            return self.completion if text.strip() else dataclasses.replace(self.completion, text="", replace=0)
        left = [rest for each in self.completion.choices if (rest := self._rest(each, written, after))]
        if not left:
            return None
        first, *others = left
        return dataclasses.replace(self.completion, text=first.text, replace=first.replace, alternatives=tuple(others))

    def _rest(self, whole: Alternative, written: str, after: str) -> Alternative | None:
        text = whole.text
        typed = len(written) - len(self.before)
        if typed < 0 or not written.startswith(self.before) or not text.startswith(written[len(self.before) :]):
            return None
        kept = self.after[whole.replace :]  # what stands behind the text once it is accepted
        replace = len(after) - len(kept)
        if not text[typed:].strip() or not after.endswith(kept):
            return None
        around = string_around(self.line.above + self.before, text, self.after, self.line.language)
        closers = iter(closers_typed(text, typed, self.after[: whole.replace], around[:1]))
        if not all(each in closers for each in after[:replace] if each not in " \t"):
            return None
        return Alternative(text[typed:], replace)

    def weight(self) -> int:
        """Its bytes in memory, roughly."""
        candidates = self.completion.candidates
        texts = [self.line.above, self.line.below, self.before, self.after, self.completion.prompt]
        texts += [*(each.text for each in candidates), *(each.text for each in self.completion.choices)]
        probabilities = sum(len(each.probabilities) for each in candidates)
        return ENTRY_BYTES + sum(map(sys.getsizeof, texts)) + PROBABILITY_BYTES * probabilities


class Answers:
    """Finished completions, the least recently used out first when there are too many or they are too large."""

    def __init__(self, entries: int = ENTRIES, size: int = BYTES) -> None:
        self._entries, self._size = entries, size
        self.clear()

    def clear(self) -> None:
        self._lines: dict[Line, dict[tuple[str, str], Answer]] = {}
        self._weights: OrderedDict[Answer, int] = OrderedDict()  # the most recently used last
        self._weight = 0
        self._most_newlines = 0  # of any text so far: how many lines one can have typed through

    def find(self, document: str, context: CompletionContext, sampling: Sampling) -> Completion | None:
        """The completion as seen from the cursor, of what was made nearest to it. An empty text: nothing to show."""
        prefix, after = context.prefix, context.line_suffix
        start = len(prefix) + 1
        for _ in range(self._most_newlines + 1):
            start = prefix.rfind("\n", 0, start - 1) + 1
            written = prefix[start:]
            made_here = self._lines.get(_line(document, context, sampling, start), {}).values()
            for answer in sorted(made_here, key=lambda each: (len(each.before), each.after == after), reverse=True):
                completion = answer.seen_from(written, after)
                if completion is not None:
                    self._weights.move_to_end(answer)
                    return completion
            if start == 0:
                break
        return None

    def remember(self, document: str, context: CompletionContext, sampling: Sampling, completion: Completion) -> None:
        start = context.prefix.rfind("\n") + 1
        line = _line(document, context, sampling, start)
        answer = Answer(line, context.prefix[start:], context.line_suffix, completion)
        older = self._lines.get(line, {}).get((answer.before, answer.after))
        if older is not None:
            self._drop(older)
        self._lines.setdefault(line, {})[answer.before, answer.after] = answer
        self._weights[answer] = answer.weight()
        self._weight += self._weights[answer]
        self._most_newlines = max(self._most_newlines, completion.text.count("\n"))
        while len(self._weights) > self._entries or self._weight > self._size:
            self._drop(next(iter(self._weights)))

    def _drop(self, answer: Answer) -> None:
        self._weight -= self._weights.pop(answer)
        made_here = self._lines[answer.line]
        del made_here[answer.before, answer.after]
        if not made_here:
            del self._lines[answer.line]


def _line(document: str, context: CompletionContext, sampling: Sampling, start: int) -> Line:
    """The line that begins at a character of the context's prefix."""
    above = context.prefix[max(0, start - ABOVE) : start]
    return Line(document, context.language, sampling, above, context.suffix[:BELOW])
