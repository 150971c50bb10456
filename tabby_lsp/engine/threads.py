"""How many threads to compute with, while running and from measured times.

ggml's threads spin at a barrier for the one that lost its core: with as many of them as cores and anything else
running, a step takes up to forty times as long; with one core fewer an idle machine gives away a third of its speed.
And more threads are not always faster: two on one core share what computes, efficiency cores hold up the fast ones.
No fixed number is right, and steps of one token and prompts have each their own. So two things are done:

- Which number is best is found by contests: the best so far and another one take turns for a few steps, and the faster
  one stays. Each number has its contest once; the best one's neighbours have another after pauses that grow while
  nothing changes.
- Whether somebody else has a core is seen from each step: it is tried with the best number, under a limit of time, and
  done again with fewer where it is exceeded. Once a second more are tried, with a few steps of one token, of which
  little is lost, and then with a small part of a prompt.

Knows no model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tabby_lsp.processes.cores import Cores

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
# Turns that each side of a contest has, in steps and in parts of a prompt; the least time of each side counts. Who
# challenges has to be faster by more than such times vary by themselves.
TURNS = {False: 4, True: 2}
GAIN = 1.05
# After a round of contests the next one comes so soon, twice as late each time that nothing was changed by it. So what
# came of a round while somebody else had a core is put right soon, and later the rounds cost next to nothing.
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
# Where fewer than were begun with are best, that may be because somebody has had a core for long.
DOUBTFUL_PAUSE = 60.0
ONE = 1  # the kind of work that is held against itself among steps: one token


def running_mean(before: float, measured: float, share: float) -> float:
    """With a share of the time that was measured last. That counts as at most `LEAP` times what is usual: one step may
    span hours in which the machine slept.
    """
    return before + share * (min(measured, LEAP * before) - before)


def thread_counts(cores: Cores) -> tuple[int, ...]:
    """The numbers of threads that are tried, the most first."""
    fast = cores.fast
    return tuple(sorted({cores.all, cores.physical, fast, max(1, fast - 1), max(1, fast // 2), 1}, reverse=True))


@dataclass(slots=True)
class Contest:
    """A number of threads against the best so far, and the times of both."""

    best: int
    other: int
    times: dict[int, list[float]]

    @property
    def turn(self) -> int:
        """Whose turn it is. The best one begins: its time limits the other's."""
        return self.best if len(self.times[self.best]) <= len(self.times[self.other]) else self.other

    def won(self) -> bool:
        return min(self.times[self.other]) * GAIN < min(self.times[self.best])


@dataclass(slots=True)
class Contests:
    """Which number of threads is best for one class of work: the contests that are due, and the one that is held."""

    best: int
    begun: int
    counts: tuple[int, ...]
    turns: int
    held: Contest | None = None
    changed: bool = False  # whether this round has found a better number
    pause: float = FIRST_PAUSE
    again: float = -math.inf  # when the next round is due, in seconds
    waiting: list[int] = field(default_factory=list)

    def begin(self, now: float) -> Contest | None:
        """The contest that is to be held now, if any is."""
        if self.held is None and not self.waiting and now >= self.again:
            place = self.counts.index(self.best)
            neighbours = self.counts[max(0, place - 1) : place + 2]
            others = self.counts if self.again == -math.inf else neighbours
            self.waiting, self.changed = [each for each in others if each != self.best], False
            self._end_of_round(now)
        if self.held is None and self.waiting:
            other = self.waiting.pop(0)
            self.held = Contest(self.best, other, {self.best: [], other: []})
        return self.held

    def took(self, count: int, each: float, now: float) -> None:
        """A turn is over."""
        contest = self.held
        if contest is None or count != contest.turn:
            return
        contest.times[count].append(each)
        if len(contest.times[contest.other]) == self.turns:
            self.end(contest.won(), now)

    def end(self, won: bool, now: float) -> None:
        if self.held is not None and won:
            self.best, self.changed = self.held.other, True
        self.held = None
        self._end_of_round(now)

    def put_off(self) -> None:
        """Somebody else has a core: the contest is held later."""
        if self.held is not None:
            self.waiting.insert(0, self.held.other)
            self.held = None

    def _end_of_round(self, now: float) -> None:
        if not self.waiting:
            longest = LONGEST_PAUSE if self.best >= self.begun else DOUBTFUL_PAUSE
            self.pause = FIRST_PAUSE if self.changed else min(2 * self.pause, longest)
            self.again = now + self.pause


class Threads:
    """For all work of a model. Times are milliseconds per unit (a step, a token of a prompt); those of one `kind` of
    work are comparable. Work of more than one unit is a part of a prompt.

    `counts` are the numbers to choose from, the most first, `begin` the one to begin with.
    """

    def __init__(self, counts: tuple[int, ...], begin: int | None = None) -> None:
        self.counts = counts
        self.usual: dict[tuple[int, int], float] = {}  # by kind and count: the least, slowly forgotten
        self.trials = 0  # steps that have yet to go well with as many as are used; the last one is a part of a prompt
        self.saving = False  # whether energy is to be saved: half of the threads, and nothing is tried
        start = begin if begin in counts else counts[0]
        self._contests = {prompt: Contests(start, start, counts, TURNS[prompt]) for prompt in (False, True)}
        self._half = next((each for each in counts if each <= max(1, start // 2)), counts[-1])
        self._most = 0  # of `counts`, the first that may be used; 0: nobody else has a core
        self._tried = -math.inf  # when more threads were last given up, in seconds
        self._slow = 0  # steps in a row
        self._turn: Contest | None = None  # of which the work that is done is a turn

    def best(self, prompt: bool) -> int:
        """The number that is fastest where nobody else has a core."""
        return self._contests[prompt].best

    def count(self, prompt: bool) -> int:
        """How many threads to use, contests aside."""
        most = min(self.best(prompt), self.counts[self._most])
        return min(most, self._half) if self.saving else most

    def second(self, prompt: bool) -> int:
        """The number that leaves something to others, also where all of them would go well."""
        return self.counts[min(self.counts.index(self.best(prompt)) + 1, len(self.counts) - 1)]

    def choose(self, kind: int | None, prompt: bool, now: float, spares: bool = False) -> int:
        """How many threads to use for a piece of work that begins now. It may be a contestant's turn, unless the work
        `spares` a core for others or is of no kind whose times can be compared.
        """
        contest = self._contest(prompt, now) if kind is not None and (prompt or kind == ONE) and not spares else None
        self._turn = contest
        if contest is not None:
            return contest.turn
        return min(self.count(prompt), self.second(prompt)) if spares else self.count(prompt)

    def contests(self, prompt: bool, now: float) -> bool:
        """Whether a contest is held, for which prompts are read in small parts."""
        return self._contest(prompt, now) is not None

    def _contest(self, prompt: bool, now: float) -> Contest | None:
        if self.saving or self._most or self.trials or len(self.counts) == 1:
            return None
        return self._contests[prompt].begin(now)

    def due(self, now: float) -> bool:
        """Whether more threads should be tried, with a step of which little is lost."""
        return self._most > 0 and not self.saving and now - self._tried >= RETRY_SECONDS

    def try_more(self) -> None:
        self._most -= 1
        self._slow, self.trials = 0, TRIALS
        if self.counts[self._most] >= max(self.best(False), self.best(True)):
            self._most = 0  # there is nothing more to try

    def limit(self, kind: int, count: int, units: float) -> float | None:
        """Milliseconds after which a piece of work should be given up. None if there is nothing better."""
        contest = self._turn
        if contest is not None and count == contest.other:
            return PATIENCE * min(contest.times[contest.best]) * units + GRACE_MILLISECONDS
        if count == self.counts[-1] or (kind, count) not in self.usual:
            return None
        patience = TRIAL_PATIENCE if self.trials else PATIENCE
        return patience * self.usual[kind, count] * units + GRACE_MILLISECONDS

    def measured(self, kind: int, count: int, milliseconds: float, units: float, now: float) -> None:
        each, prompt = milliseconds / units, units > 1
        usual = min(each, self.usual.get((kind, count), each) * FORGETTING)
        self.usual[kind, count] = usual
        if self._turn is not None:
            self._contests[prompt].took(count, each, now)
        if count != self.count(prompt):  # work that leaves something to others says nothing of the rest
            return
        if self.trials:
            self.trials = 0 if prompt else max(1, self.trials - 1)
        self._slow = self._slow + 1 if each > SLOW * usual else 0
        if self._slow >= SLOW_STEPS:
            self.give_up(count, prompt, now)

    def give_up(self, count: int, prompt: bool, now: float) -> None:
        """A piece of work with so many threads took too long."""
        if self._turn is not None and count == self._turn.other:
            self._contests[prompt].end(False, now)
            return
        for each in self._contests.values():
            each.put_off()
        self._most = min(self.counts.index(count) + 1, len(self.counts) - 1)
        self._tried, self._slow, self.trials = now, 0, 0
