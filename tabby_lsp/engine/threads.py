"""How many threads to compute with, while running and from measured times.

ggml's threads spin at a barrier for the one that lost its core: with as many of them as cores and anything else
running, a step takes up to forty times as long; with one core fewer an idle machine gives away a third of its speed.
No fixed number is right. So each step is tried with the most threads that went well lately, under a limit of time,
and done again with fewer where it is exceeded. Once a second more are tried, with a few steps of one token, of which
little is lost, and then with a small part of a prompt. Knows no model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

# A step that takes twice what it usually takes has lost a core; a little more for very short ones.
PATIENCE, GRACE_MILLISECONDS = 2.0, 4.0
# So much slower for a while is slower than one thread fewer would be.
SLOW, SLOW_STEPS = 1.5, 4
RETRY_SECONDS = 0.8
# More threads that are tried have to go well so many times, under a stricter limit. One step may be luck: who has slept
# is given a core before others for some milliseconds.
TRIALS, TRIAL_PATIENCE = 4, 1.5
LEAP = 4.0
FORGETTING = 1.02  # what is usual may become this much slower with every step: prompts grow


def running_mean(before: float, measured: float, share: float) -> float:
    """With a share of the time that was measured last. That counts as at most `LEAP` times what is usual: one step may
    span hours in which the machine slept.
    """
    return before + share * (min(measured, LEAP * before) - before)


def thread_counts(cores: int) -> tuple[int, ...]:
    """The numbers of threads that are tried, the most first."""
    return tuple(sorted({cores, max(1, cores - 1), max(1, cores // 2), 1}, reverse=True))


@dataclass(slots=True)
class Threads:
    """For all work of a model. Times are milliseconds per unit (a step, a token of a prompt); those of one `kind` of
    work are comparable.
    """

    counts: tuple[int, ...]
    usual: dict[tuple[int, int], float] = field(default_factory=dict)  # by kind and count: the least, slowly forgotten
    trials: int = 0  # steps that have yet to go well with as many as are used; the last one is a part of a prompt
    _level: int = 0  # of `counts`
    _tried: float = -math.inf  # when more threads were last given up, in seconds
    _slow: int = 0  # steps in a row

    @property
    def count(self) -> int:
        """How many threads to use."""
        return self.counts[self._level]

    @property
    def second(self) -> int:
        """The number that leaves something to others, also where all of them would go well."""
        return self.counts[min(1, len(self.counts) - 1)]

    def due(self, now: float) -> bool:
        """Whether more threads should be tried, with a step of which little is lost."""
        return self._level > 0 and now - self._tried >= RETRY_SECONDS

    def try_more(self) -> None:
        self._level -= 1
        self._slow, self.trials = 0, TRIALS

    def limit(self, kind: int, count: int, units: float) -> float | None:
        """Milliseconds after which a step of so many units should be given up. None if there is nothing better."""
        if count == self.counts[-1] or (kind, count) not in self.usual:
            return None
        patience = TRIAL_PATIENCE if self.trials else PATIENCE
        return patience * self.usual[kind, count] * units + GRACE_MILLISECONDS

    def measured(self, kind: int, count: int, milliseconds: float, units: float, now: float) -> None:
        each = milliseconds / units
        usual = min(each, self.usual.get((kind, count), each) * FORGETTING)
        self.usual[kind, count] = usual
        if count != self.count:  # work that leaves something to others says nothing of the rest
            return
        if self.trials:
            self.trials = 0 if units > 1 else max(1, self.trials - 1)
        self._slow = self._slow + 1 if each > SLOW * usual else 0
        if self._slow >= SLOW_STEPS:
            self.step_down(count, now)

    def step_down(self, count: int, now: float) -> None:
        """A step with so many threads took too long."""
        self._level = min(self.counts.index(count) + 1, len(self.counts) - 1)
        self._tried, self._slow, self.trials = now, 0, 0
