"""How many threads are used, on machines and by a clock that the test has made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from tabby_lsp.engine.threads import DOUBTFUL_PAUSE, FIRST_PAUSE, ONE, TRIALS, TURNS, Threads, thread_counts
from tabby_lsp.processes.cores import Cores

PART, TOKENS = 64, 64  # the kind of a part of a prompt, and its tokens


def one_kind(*counts: int) -> Threads:
    """Whose contests are over: the first number is the best."""
    threads = Threads(counts)
    for prompt in (False, True):
        threads._contests[prompt].again = float("inf")
    return threads


@dataclass
class Machine:
    """Takes so many milliseconds for a step and a token of a prompt with so many threads, when nothing else runs.
    `lost` are spans of seconds in which somebody else has a core of the `all` there are: with as many threads as cores
    everything then takes eight times as long.
    """

    threads: Threads
    step: Callable[[int], float]
    token: Callable[[int], float]
    all: int
    lost: Iterable[tuple[float, float]] = ()
    now: float = 0.0
    best: float = 0.0  # seconds that the same work takes with the best number of threads at each moment
    used: list[int] = field(default_factory=list)
    given_up: int = 0

    def cost(self, count: int, prompt: bool) -> float:
        disturbed = any(begin <= self.now < end for begin, end in self.lost)
        each = self.token(count) if prompt else self.step(count)
        return each * (8.0 if disturbed and count == self.all else 1.0)

    def do(self, prompt: bool, spares: bool = False) -> None:
        """One step, or a part of a prompt, as the model does it."""
        kind, units = (PART, float(TOKENS)) if prompt else (ONE, 1.0)
        if not prompt and not spares and self.threads.due(self.now):
            self.threads.try_more()
        self.best += min(self.cost(each, prompt) for each in self.threads.counts) * units / 1000
        while True:
            count = self.threads.choose(kind, prompt, self.now, spares)
            limit = self.threads.limit(kind, count, units)
            takes = self.cost(count, prompt) * units
            if limit is None or takes <= limit:
                break
            self.now += limit / 1000
            self.given_up += 1
            self.threads.give_up(count, prompt, self.now)
        self.now += takes / 1000
        self.threads.measured(kind, count, takes, units, self.now)
        self.used.append(count)

    def type(self, suggestions: int, parts: int = 4, steps: int = 12) -> None:
        """Suggestions, each a prompt and some steps, a fifth of a second apart."""
        for _ in range(suggestions):
            for _ in range(parts):
                while self.threads.trials > 1:
                    self.do(prompt=False)
                self.do(prompt=True)
            for _ in range(steps):
                self.do(prompt=False)
            self.now += 0.2


def test_the_numbers_that_are_tried() -> None:
    assert thread_counts(Cores(8, 8, 8)) == (8, 7, 4, 1)
    assert thread_counts(Cores(2, 2, 2)) == (2, 1) and thread_counts(Cores(1, 1, 1)) == (1,)
    assert thread_counts(Cores(16, 8, 8)) == (16, 8, 7, 4, 1), "two threads a core"
    assert thread_counts(Cores(24, 16, 8)) == (24, 16, 8, 7, 4, 1), "eight fast cores with two threads, eight others"
    assert thread_counts(Cores(3, 2, 1)) == (3, 2, 1)


def test_sixteen_threads_where_eight_are_faster() -> None:
    """Found out also where the system does not tell that they are eight cores."""
    times = {16: 31.0, 15: 31.0, 8: 20.0, 4: 33.0, 1: 120.0}
    machine = Machine(Threads(thread_counts(Cores(16, 16, 16))), times.__getitem__, lambda n: times[n] / 4, 16)
    assert machine.threads.count(False) == 16
    machine.type(10)
    assert machine.threads.best(False) == machine.threads.best(True) == 8
    assert set(machine.used) <= set(times), "each was tried, but for what took twice as long"
    busy = machine.now - 10 * 0.2
    assert busy < 1.35 * machine.best, "the first seconds"
    machine.type(500)
    busy = machine.now - 510 * 0.2
    assert busy < 1.03 * machine.best, "all in all; with sixteen threads it were 1.55"


def test_eight_fast_cores_and_eight_that_are_not() -> None:
    """The slow ones hold up each step, but help with a prompt, whose threads share out what is left of it."""
    cores = Cores(24, 16, 8)
    steps = {24: 48.0, 16: 35.0, 8: 25.0, 7: 26.0, 4: 31.0, 1: 110.0}
    tokens = {24: 6.3, 16: 5.5, 8: 7.0, 7: 8.0, 4: 14.0, 1: 55.0}
    machine = Machine(Threads(thread_counts(cores), begin=cores.fast), steps.__getitem__, tokens.__getitem__, 24)
    machine.do(prompt=True)
    assert machine.used == [8], "the fast cores first"
    machine.type(20)
    assert machine.threads.best(False) == 8 and machine.threads.best(True) == 16
    assert machine.threads.second(False) == 7 and machine.threads.second(True) == 8
    machine.type(300)
    assert machine.now - 320 * 0.2 < 1.02 * machine.best


def test_somebody_takes_a_core_and_gives_it_back() -> None:
    times = {8: 20.0, 7: 22.5, 4: 36.0, 1: 140.0}
    machine = Machine(Threads(thread_counts(Cores(8, 8, 8))), times.__getitem__, lambda n: times[n] / 4, 8, [(30, 60)])
    machine.type(15)
    assert machine.now < 30 and machine.threads.count(False) == 8
    while machine.now < 35:
        machine.type(1)
    machine.used.clear()
    while machine.now < 60:
        machine.type(1)
    share = machine.used.count(7) / len(machine.used)
    assert share > 0.9, "it is tried once a second whether the core is there again"
    while machine.now < 64:
        machine.type(1)
    machine.used.clear()
    machine.type(10)
    assert machine.used.count(8) / len(machine.used) > 0.9


def test_a_contest_held_while_a_core_was_lost_is_put_right() -> None:
    """As where one starts the editor while something is compiled."""
    times = {8: 20.0, 7: 22.5, 4: 36.0, 1: 140.0}
    machine = Machine(Threads(thread_counts(Cores(8, 8, 8))), times.__getitem__, lambda n: times[n] / 4, 8, [(0, 4)])
    machine.type(4)
    while machine.now < 60:
        machine.type(1)
    assert machine.threads.best(False) == machine.threads.best(True) == 8
    assert machine.threads.count(True) == 8


def test_somebody_has_a_core_for_half_an_hour() -> None:
    """Then fewer threads may have won a contest, which is not what is best for ever."""
    times = {2: 20.0, 1: 35.0}
    machine = Machine(Threads((2, 1)), times.__getitem__, lambda n: times[n] / 4, 2, [(5, 1800)])
    while machine.now < 1800:
        machine.type(1)
    machine.used.clear()
    machine.type(10)
    while machine.now < 1800 + DOUBTFUL_PAUSE + 20:
        machine.type(1)
    machine.used.clear()
    machine.type(50)
    assert machine.used.count(2) / len(machine.used) > 0.95


def test_rounds_of_contests_become_rare() -> None:
    times = {2: 20.0, 1: 35.0}
    machine = Machine(Threads((2, 1)), times.__getitem__, lambda n: times[n] / 4, 2)
    machine.type(1)
    assert machine.used.count(1) == TURNS[True] + TURNS[False]
    while machine.now < 3600:
        machine.type(1)
    rounds = machine.used.count(1) / (TURNS[True] + TURNS[False])
    assert 8 <= rounds <= 15, "after 10, 20, 40, … and then every 600 seconds"
    assert machine.threads.count(False) == 2


def test_who_is_only_a_little_faster_does_not_win() -> None:
    times = {2: 20.0, 1: 19.5}
    machine = Machine(Threads((2, 1)), times.__getitem__, lambda n: times[n] / 4, 2)
    machine.type(100)
    assert machine.threads.best(False) == machine.threads.best(True) == 2


def test_work_ahead_leaves_a_core_and_takes_no_turn() -> None:
    times = {4: 20.0, 3: 22.0, 2: 30.0, 1: 60.0}
    machine = Machine(Threads((4, 3, 2, 1)), times.__getitem__, lambda n: times[n] / 4, 4)
    for _ in range(30):
        machine.do(prompt=True, spares=True)
        machine.do(prompt=False, spares=True)
    assert set(machine.used) == {3}
    assert not machine.threads._contests[True].held, "nothing was tried"


def test_energy_is_saved_with_half_of_the_threads() -> None:
    times = {8: 20.0, 7: 22.0, 4: 30.0, 1: 90.0}
    machine = Machine(Threads((8, 7, 4, 1)), times.__getitem__, lambda n: times[n] / 4, 8)
    machine.type(2)
    machine.threads.saving = True
    machine.used.clear()
    machine.type(20)
    assert set(machine.used) == {4}, "and nothing is tried"
    machine.threads.saving = False
    machine.type(2)
    assert machine.threads.count(False) == machine.threads.count(True) == 8
    assert [Threads(counts).counts for counts in ((2, 1), (1,))] == [(2, 1), (1,)]
    for counts, fewest in (((2, 1), 1), ((1,), 1), ((16, 8, 7, 4, 1), 4)):
        saving = Threads(counts, begin=counts[0] if len(counts) < 5 else 8)
        saving.saving = True
        assert saving.count(False) == fewest


# --- a core that somebody else has


def test_threads_are_given_up_when_steps_take_too_long_and_tried_again() -> None:
    threads = one_kind(8, 7, 4, 1)
    assert threads.limit(1, 8, 1) is None, "nothing is known yet"
    for step in range(20):
        assert threads.count(False) == 8 and not threads.due(step * 0.02)
        threads.measured(1, 8, 20.0, 1, step * 0.02)
    limit = threads.limit(1, 8, 1)
    assert limit and 40 < limit < 60
    assert threads.limit(64, 8, 64) is None, "another kind of work"
    threads.give_up(8, False, 0.5)
    assert threads.count(False) == threads.count(True) == 7
    threads.measured(1, 7, 25.0, 1, 0.6)
    threads.give_up(7, False, 0.7)
    assert threads.count(False) == 4
    assert [threads.due(now) for now in (1.4, 1.6)] == [False, True]
    threads.try_more()
    assert threads.count(False) == 7 and threads.due(1.61), "one step for each"
    threads.try_more()
    assert threads.count(False) == 8 and not threads.due(9.0)


def test_more_threads_are_proven_by_a_part_of_a_prompt_and_not_by_a_step() -> None:
    threads = one_kind(2, 1)
    threads.give_up(2, False, 0.0)
    assert threads.trials == 0
    threads.try_more()
    assert threads.trials == TRIALS
    for _ in range(9):
        threads.measured(1, 2, 20.0, 1, 1.0)
        assert threads.trials > 0
    strict = threads.limit(1, 2, 1)
    threads.measured(64, 2, 300.0, 64, 1.3)
    assert threads.trials == 0
    assert strict and strict < (threads.limit(1, 2, 1) or 0.0)


def test_slow_work_that_leaves_a_core_says_nothing_of_all_cores() -> None:
    threads = one_kind(4, 3, 2, 1)
    for _ in range(20):
        threads.measured(1, 4, 20.0, 1.0, 0.0)
        threads.measured(1, threads.second(False), 25.0, 1.0, 0.0)
    for _ in range(20):
        threads.measured(1, threads.second(False), 60.0, 1.0, 0.0)
    assert threads.count(False) == 4


def test_threads_that_are_slow_for_a_while_are_given_up() -> None:
    threads = one_kind(2, 1)
    for step in range(10):
        threads.measured(1, 2, 20.0, 1, step * 0.02)
    threads.measured(1, 2, 90.0, 1, 0.2)  # one slow step may be anything
    for _ in range(3):
        threads.measured(1, 2, 21.0, 1, 0.3)
    assert threads.count(False) == 2
    for _ in range(4):
        threads.measured(1, 2, 39.0, 1, 0.5)
    assert threads.count(False) == 1
    assert threads.limit(1, 1, 1) is None, "there is nothing better than the last one"


def test_steps_that_grow_slowly_are_not_taken_for_slow() -> None:
    """A decode step at 2,800 tokens takes nearly twice as long as near none; a contest meanwhile is not mistaken."""
    threads = Threads((2, 1))
    now = 0.0
    for step in range(400):
        count = threads.choose(ONE, False, now)
        takes = (20.0 + step * 0.1) * (1.0 if count == 2 else 1.6)
        now += takes / 1000
        threads.measured(ONE, count, takes, 1, now)
        assert threads.count(False) == 2
    assert threads.best(False) == 2 and now > FIRST_PAUSE


def test_hours_of_sleep_in_a_step_hardly_count() -> None:
    """A laptop that was closed while it computed is not a slow machine afterwards."""
    hour = 3_600_000.0
    threads = one_kind(4, 2, 1)
    for _ in range(20):
        threads.measured(1, 4, 20.0, 1.0, 0.0)
    threads.measured(1, 4, hour, 1.0, hour / 1000)
    assert threads.count(False) == 4 and threads.usual[1, 4] < 21


@pytest.mark.parametrize("counts", [(1,), (2, 1), (5, 4, 2, 1)])
def test_some_number_is_always_chosen(counts: tuple[int, ...]) -> None:
    """Whatever goes wrong, in whichever order."""
    threads = Threads(counts)
    for step in range(300):
        now, prompt = step * 0.4, step % 3 == 0
        if threads.due(now):
            threads.try_more()
        count = threads.choose(PART if prompt else ONE, prompt, now, spares=step % 7 == 0)
        assert count in counts
        if step % 5 == 0:
            threads.give_up(count, prompt, now)
        else:
            threads.measured(PART if prompt else ONE, count, 20.0 + step % 11, TOKENS if prompt else 1, now)
