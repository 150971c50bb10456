"""How good a suggestion is, and how sure one can be of a mean. Pure functions.

The measures are those of CrossCodeEval (arXiv 2310.11248: exact match, edit similarity, identifiers) and RepoBench
(arXiv 2306.03091), and what matters to who sees a suggestion: keys saved, a text that still parses, nothing said twice.
"""

from __future__ import annotations

import random
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from tabby_lsp.completion.parsing import with_body
from tabby_lsp.evaluation.holes import IDENTIFIER, Hole
from tabby_lsp.syntax import errors

ROUNDS = 1000  # of a bootstrap
_SAID = re.compile(r"\w.*\w")  # a line that says something: closers alone stand in many places


@dataclass(frozen=True, slots=True)
class Filled:
    """A hole and what was suggested in it: `text` in the place of `replace` characters right of the cursor."""

    hole: Hole
    text: str
    replace: int = 0

    @property
    def shown(self) -> bool:
        return bool(self.text.strip())

    @property
    def exact(self) -> bool:
        """Whether the first line is what stood there, blanks at its end aside."""
        rest = self.hole.file.text[self.hole.end :].partition("\n")[0]
        written = self.text + rest[self.replace :]
        return self.shown and _first_line(written) == _first_line(self.hole.wanted + rest)

    @property
    def similarity(self) -> float:
        """Of the text and what was wanted, 0 to 1; of as many lines as were written."""
        if not self.shown:
            return 0.0
        written = self.text.strip("\n").split("\n")
        wanted = self.hole.wanted.strip("\n").split("\n")[: len(written)]
        return SequenceMatcher(None, "\n".join(written), "\n".join(wanted), autojunk=False).ratio()

    @property
    def identifiers(self) -> float:
        """F1 of the names in the first line, as often as they stand there."""
        written, wanted = (Counter(IDENTIFIER.findall(_first_line(text))) for text in (self.text, self.hole.wanted))
        if not written or not wanted:
            return float(written == wanted and self.shown)
        common = (written & wanted).total()
        return 2 * common / (written.total() + wanted.total())

    @property
    def saved(self) -> int:
        """Keys that a user saves who accepts where the first line is right, and has pressed one for it."""
        return max(0, len(_first_line(self.hole.wanted)) - 1) if self.exact else 0

    @property
    def keys(self) -> int:
        """Keys of the first line."""
        return len(_first_line(self.hole.wanted))

    @property
    def parses(self) -> bool | None:
        """Whether the text parses with the suggestion. None if it did not without, or if there is no telling.

        A suggestion that ends in a head is gone on from: it counts with a body that does nothing.
        """
        language, file = self.hole.file.language, self.hole.file.text
        before, behind = file[: self.hole.start], file[self.hole.end :]
        if not self.shown or errors(before + behind, language) != 0:
            return None
        found = errors(before + with_body(self.text, language) + behind[self.replace :], language)
        return None if found is None else found == 0

    @property
    def duplicated(self) -> bool:
        """Whether it says what stands next to it already, or the same line twice in a row."""
        file = self.hole.file.text
        lines = [line.strip() for line in self.text.split("\n")]
        below = [line.strip() for line in file[self.hole.end :].split("\n")[1:] if line.strip()]
        above = [line.strip() for line in file[: self.hole.start].split("\n")[:-1] if line.strip()]
        begun = file[file.rfind("\n", 0, self.hole.start) + 1 : self.hole.start].strip()
        written = [begun + lines[0], *lines[1:]] if begun else lines
        said = [line for line in written if _SAID.search(line)]
        if not said or not self.shown:
            return False
        wanted = {line.strip() for line in self.hole.wanted.split("\n")}
        next_to_it = (said[-1] in below[:1]) or (len(said) > 1 and said[0] in above[-1:])
        return (next_to_it or any(map(str.__eq__, said, said[1:]))) and not set(said) <= wanted


def _first_line(text: str) -> str:
    """The first line that is not blank, without blanks at its ends but the indentation that is not typed."""
    return next((line.strip() for line in text.split("\n") if line.strip()), "")


@dataclass(frozen=True, slots=True)
class Mean:
    """Of a sample, with the bounds between which 95 % of a bootstrap's means lie."""

    value: float
    low: float
    high: float
    count: int


def mean(values: Sequence[float], seed: int = 0) -> Mean | None:
    """None of nothing."""
    if not values:
        return None
    chance = random.Random(seed)
    means = sorted(statistics.fmean(chance.choices(values, k=len(values))) for _ in range(ROUNDS))
    return Mean(statistics.fmean(values), means[int(0.025 * ROUNDS)], means[int(0.975 * ROUNDS) - 1], len(values))


def difference(left: Sequence[float], right: Sequence[float]) -> Mean | None:
    """Of two measurements at the same places: right minus left."""
    return mean([after - before for before, after in zip(left, right, strict=True)])
