"""Which job the model works on. Two threads meet here: one reads the pipe, one computes. Knows no tokens.

The classes of jobs, the most urgent first, are `COMPLETION`, `CHAT`, `AHEAD` (a suggestion before it is asked for) and
`BACKGROUND`. Jobs are done in steps: whoever computes asks `next` before each of them. A job that comes while a less
urgent one computes, and a cancel, stop that step; the stopped job goes on at its next turn, or is closed.

The engine of another model may have more urgent work on the same cores: `hold` says how urgent that is, and whatever is
less urgent here waits, as if it were done here.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tabby_lsp.steps import Steps

COMPLETION, CHAT, AHEAD, BACKGROUND = 0, 5, 7, 9
NOTHING = 99  # less urgent than any job
READ_AHEAD = -1  # the id of the engine's own job of reading a prompt before it is needed: nobody is told of it


@dataclass(slots=True, eq=False)
class Job:
    """A request, and the steps of its work once it has begun. `turn` orders those of one class."""

    id: int
    priority: int
    request: Any
    turn: int = 0
    steps: Steps[Any] | None = None
    cancelled: bool = False
    received: float = field(default_factory=time.perf_counter)

    @property
    def order(self) -> tuple[bool, int, int]:
        """What is cancelled goes first: it is only closed. Then lower priority numbers, then the order of arrival."""
        return not self.cancelled, self.priority, self.turn


class Scheduler:
    """The jobs that have not ended, one of which runs.

    `abort` stops the step that is computed for good, `preempt` stops it for something more urgent, `allow` lets the
    next one compute.
    """

    def __init__(self) -> None:
        self.abort: Callable[[], None] = lambda: None
        self.preempt: Callable[[], None] = lambda: None
        self.allow: Callable[[], None] = lambda: None
        # Long answers that take turns. With more of them than slots each would lose its own at every turn.
        self.most_long = 1
        self.steps = 0  # turns so far
        self._changed = threading.Condition()
        self._jobs: list[Job] = []
        self._running: Job | None = None
        self._held = NOTHING
        self._turns = itertools.count()

    def put(self, id: int, priority: int, request: Any) -> None:
        with self._changed:
            self._jobs.append(Job(id, priority, request, next(self._turns)))
            if self._running is not None and priority < self._running.priority:
                self.preempt()
            self._changed.notify()

    def next(self) -> Job:
        """The job to do a step of, which is the running one from then on. Waits for one.

        Long answers take turns, so that each goes on; of the other classes the first to come is the first to end.
        """
        with self._changed:
            if self._running is not None and self._running.priority == CHAT:
                self._running.turn = next(self._turns)
            self._running = None
            while not (eligible := self._eligible()):
                self._changed.wait()
            self._running = min(eligible, key=lambda job: job.order)
            self.steps += 1
            self.allow()
            return self._running

    def _eligible(self) -> list[Job]:
        """The jobs that may go on: what is not held, or is only to be closed. Of the long answers only so many at a
        time, the others wait for one to end."""
        begun = sum(job.priority == CHAT and job.steps is not None for job in self._jobs)
        return [
            job
            for job in self._jobs
            if (job.priority <= self._held or job.cancelled)
            and (job.priority != CHAT or job.steps is not None or begun < self.most_long)
        ]

    def hold(self, priority: int) -> None:
        """Work of this class is done by another engine: from now on what is less urgent waits, until the next call."""
        with self._changed:
            self._held = priority
            if self._running is not None and self._running.priority > priority:
                self.preempt()
            self._changed.notify()

    def wait_for_turn(self, priority: int) -> None:
        """Waits while work of a class is held."""
        with self._changed:
            while self._held < priority:
                self._changed.wait()

    def ended(self, job: Job) -> None:
        """A cancel that comes now no longer means it."""
        with self._changed:
            self._jobs.remove(job)
            if self._running is job:
                self._running = None

    def cancel(self, id: int) -> bool:
        """Stops a job. True if it had not begun, and so will never answer by itself."""
        with self._changed:
            for job in self._jobs:
                if job.id == id:
                    break
            else:
                return False
            if job is not self._running and job.steps is None:
                self._jobs.remove(job)
                return True
            job.cancelled = True
            if job is self._running:
                self.abort()
            self._changed.notify()
            return False

    def drop(self, *priorities: int) -> list[Job]:
        """Takes out the jobs of some classes but for the running one, whether they have begun or not."""
        with self._changed:
            dropped = [job for job in self._jobs if job.priority in priorities and job is not self._running]
            self._jobs = [job for job in self._jobs if job not in dropped]
            return dropped

    @property
    def idle(self) -> bool:
        with self._changed:
            return not self._jobs
