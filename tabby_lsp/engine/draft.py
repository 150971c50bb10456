"""Speculative decoding by prompt lookup: what followed the last tokens before is a draft of what comes next.

No second model: the n-grams of the prompt, which holds the buffer's prefix and suffix and pieces of other files,
and of what was written since (Saxena 2023, "Prompt Lookup Decoding"; LLMA, arXiv 2304.04487). A draft costs what
evaluating its tokens in one batch costs more than one token alone, so its length is chosen from measured times
and from how often such drafts came true. Knows neither a model nor text.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tabby_lsp.engine.threads import running_mean

LONGEST_DRAFT = 7  # with the token before it a step of eight, which kernels do in one go
LONGEST_MATCH, SHORTEST_MATCH = 4, 2  # tokens
MEMORY = 32  # drafted tokens over which the share that came true is a running mean
FIRST_GUESS = 0.5
UNKNOWN_STEP = 3  # a step of several tokens is taken to cost so many of one, until any was measured


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
            # What overlaps the end goes on with itself: a repeated text is drafted as far as one likes.
            for token in itertools.islice(itertools.cycle(held[first:].tolist()), most):
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

    def length(self, matched: int, per_token: float) -> int:
        """How many drafted tokens give the most tokens per millisecond; 0 where a draft does not pay.

        `per_token` is what a token more costs in a long prompt, in milliseconds.
        """
        share = min(self.came_true.get(matched, FIRST_GUESS), 0.98)

        def rate(drafted: int) -> float:
            return (1 - share ** (drafted + 1)) / (1 - share) / max(self._takes(drafted + 1, per_token), 1e-6)

        return max(range(LONGEST_DRAFT + 1), key=rate)

    def _takes(self, tokens: int, per_token: float) -> float:
        """Milliseconds of a step. Where that was not measured, at least those of a smaller one.

        On a CPU two tokens may take twice the time of one, and eight hardly more than four: kernels have their sizes.
        """
        if tokens in self.milliseconds:
            return self.milliseconds[tokens]
        smaller = max((each for each in self.milliseconds if each < tokens), default=0)
        if smaller == 1:
            return self.milliseconds[1] * min(tokens, UNKNOWN_STEP)
        return self.milliseconds.get(smaller, 0.0) + (tokens - smaller) * per_token

    def learn(self, draft: Draft, written: Sequence[int]) -> None:
        """Whether a draft came true, as far as is known from what was written in its place.

        Costs nothing, so it is also learned of drafts that were not worth trying.
        """
        for drafted, token in zip(draft.tokens, written, strict=False):
            before = self.came_true.get(draft.matched, FIRST_GUESS)
            self.came_true[draft.matched] = before + ((drafted == token) - before) / MEMORY
            if drafted != token:
                return

    def measured(self, tokens: int, milliseconds: float) -> None:
        """What a step took. Only those of which a draft could be are of use."""
        if tokens > LONGEST_DRAFT + 1:
            return
        before = self.milliseconds.get(tokens, milliseconds)
        self.milliseconds[tokens] = running_mean(before, milliseconds, 0.2)
