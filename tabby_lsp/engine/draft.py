"""Speculative decoding by prompt lookup: what followed the last tokens before is a draft of what comes next.

No second model: the n-grams of the prompt, which holds the buffer's prefix and suffix and pieces of other files,
and of what was written since (Saxena 2023, "Prompt Lookup Decoding"; LLMA, arXiv 2304.04487). A draft costs what
evaluating its tokens in one batch costs more than one token alone, so its length is chosen from measured times
and from how often such drafts came true. Knows neither a model nor text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

LONGEST_DRAFT = 8
LONGEST_MATCH, SHORTEST_MATCH = 4, 2  # tokens
MEMORY = 32  # drafted tokens over which the share that came true is a running mean
FIRST_GUESS = 0.5


@dataclass(frozen=True, slots=True)
class Draft:
    tokens: tuple[int, ...]
    matched: int  # length of the n-gram it follows


def look_up(tokens: Sequence[int], most: int, barred: Collection[int] = ()) -> Draft | None:
    """The tokens after the last place where the longest ending of `tokens` stood before; none of them `barred`."""
    held: npt.NDArray[np.int64] = np.asarray(tokens, dtype=np.int64)
    for length in range(min(LONGEST_MATCH, len(held) - 1), SHORTEST_MATCH - 1, -1):
        ending = held[len(held) - length :]
        starts = len(held) - length
        same = held[:starts] == ending[0]
        for place in range(1, length):
            same &= held[place : starts + place] == ending[place]
        found = np.flatnonzero(same)
        if len(found):
            first = int(found[-1]) + length
            drafted: list[int] = []
            for token in held[first : first + most].tolist():
                if token in barred:
                    break
                drafted.append(token)
            return Draft(tuple(drafted), length) if drafted else None
    return None


@dataclass(slots=True)
class Speculation:
    """What is known of drafts so far: how often they came true, and what a step of so many tokens takes."""

    came_true: dict[int, float] = field(default_factory=dict)  # by the length of the n-gram they follow
    milliseconds: dict[int, float] = field(default_factory=dict)  # of a step, by its number of tokens
    _draft: Draft | None = None
    _place: int = 0

    def length(self, matched: int, per_token: float) -> int:
        """How many drafted tokens give the most tokens per millisecond; 0 where a draft does not pay.

        `per_token` is what a token more costs where that was not measured, in milliseconds.
        """
        share = min(self.came_true.get(matched, FIRST_GUESS), 0.98)
        alone = self.milliseconds.get(1, per_token)

        def rate(drafted: int) -> float:
            takes = self.milliseconds.get(drafted + 1, alone + drafted * per_token)
            return (1 - share ** (drafted + 1)) / (1 - share) / max(takes, 1e-6)

        return max(range(LONGEST_DRAFT + 1), key=rate)

    def expect(self, draft: Draft | None, place: int) -> None:
        """The draft of what comes behind `place` tokens of the sequence and one more."""
        self._draft, self._place = draft, place + 1

    def learn(self, tokens: Sequence[int], token: int) -> None:
        """The tokens of the sequence and the next one: whether the expected draft came true, as far as is known.

        Costs nothing, so it is also learned of drafts that were not worth trying.
        """
        draft, self._draft = self._draft, None
        if draft is None:
            return
        for drafted, written in zip(draft.tokens, [*tokens[self._place :], token], strict=False):
            before = self.came_true.get(draft.matched, FIRST_GUESS)
            self.came_true[draft.matched] = before + ((drafted == written) - before) / MEMORY
            if drafted != written:
                return

    def measured(self, tokens: int, milliseconds: float) -> None:
        before = self.milliseconds.get(tokens, milliseconds)
        # As at most so much longer: one step may span hours in which the machine slept.
        self.milliseconds[tokens] = before + 0.2 * (min(milliseconds, 4 * before) - before)
