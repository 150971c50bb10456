"""Which job the model works on. Two threads meet here: one reads the pipe, one computes. Knows no tokens.

The classes of jobs, the most urgent first, are `COMPLETION`, `CHAT`, `AHEAD` (a suggestion before it is asked for) and
`BACKGROUND`. A job that comes while a less urgent one runs stops its computing through the same flag as a cancel does;
what becomes of the stopped one is up to whoever runs it: `preempted` tells the two apart, and `more_urgent` and
`resume` let it wait and go on.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

COMPLETION, CHAT, AHEAD, BACKGROUND = 0, 5, 7, 9
READ_AHEAD = -1  # the id of the engine's own job of reading a prompt before it is needed: nobody is told of it


@dataclass(frozen=True, slots=True, order=True)
class Job:
    """Lower priority numbers go first, then the order of arrival."""

    priority: int
    arrival: int
    id: int = field(compare=False)
    message: dict[str, Any] = field(compare=False)


class Scheduler:
    """A queue of jobs of which one runs. `abort` stops the running one's computing, `allow` lets the next begin."""

    def __init__(self, abort: Callable[[], None] = lambda: None, allow: Callable[[], None] = lambda: None) -> None:
        self.abort, self.allow = abort, allow
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._preempted = False
        self._suspended: list[Job] = []  # have begun, and wait for more urgent ones; the last one goes on first
        self._cancelled: set[int] = set()  # of the suspended ones
        self._arrivals = itertools.count()

    def put(self, id: int, priority: int, message: dict[str, Any]) -> None:
        with self._changed:
            heapq.heappush(self._waiting, Job(priority, next(self._arrivals), id, message))
            if self._running is not None and priority < self._running.priority:
                self._preempted = True
                self.abort()
            self._changed.notify()

    def take(self) -> Job:
        """The next job, which is the running one from then on. Waits for it."""
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            return self._begin(heapq.heappop(self._waiting))

    def more_urgent(self, running: Job) -> Job | None:
        """The next job if it is more urgent than the one that was running, which waits from then on."""
        with self._changed:
            if not self._waiting or self._waiting[0].priority >= running.priority:
                return None
            if running not in self._suspended:
                self._suspended.append(running)
            return self._begin(heapq.heappop(self._waiting))

    def resume(self, job: Job) -> bool:
        """The job is the running one again. False if it was cancelled in the meantime."""
        with self._changed:
            if job in self._suspended:
                self._suspended.remove(job)
            self._begin(job)
            alive = job.id not in self._cancelled
            self._cancelled.discard(job.id)
            return alive

    @property
    def preempted(self) -> bool:
        """Whether the running job's computing was stopped for a more urgent one, and not for good."""
        with self._changed:
            return self._preempted

    def done(self) -> None:
        """The running job has ended: a cancel that comes now no longer means it."""
        with self._changed:
            self._running = None

    def cancel(self, id: int) -> bool:
        """Stops a job. True if it had not begun, and so will never answer by itself."""
        with self._changed:
            if self._running is not None and self._running.id == id:
                self._preempted = False
                self.abort()
                return False
            if any(job.id == id for job in self._suspended):
                self._cancelled.add(id)
                return False
            return bool(self._drop(lambda job: job.id == id))

    def drop(self, *priorities: int) -> list[Job]:
        """Takes out the jobs of some classes that have not begun."""
        with self._changed:
            return self._drop(lambda job: job.priority in priorities)

    def _drop(self, which: Callable[[Job], bool]) -> list[Job]:
        dropped = [job for job in self._waiting if which(job)]
        self._waiting = [job for job in self._waiting if not which(job)]
        heapq.heapify(self._waiting)
        return dropped

    def _begin(self, job: Job) -> Job:
        self._running = job
        self._preempted = False
        self.allow()
        return job
