"""Which job the model works on. Two threads meet here: one reads the pipe, one computes. Knows no tokens."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


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
        self._arrivals = itertools.count()

    def put(self, id: int, priority: int, message: dict[str, Any]) -> None:
        with self._changed:
            heapq.heappush(self._waiting, Job(priority, next(self._arrivals), id, message))
            self._changed.notify()

    def take(self) -> Job:
        """The next job, which is the running one from then on. Waits for it."""
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            self._running = heapq.heappop(self._waiting)
            self.allow()
            return self._running

    def done(self) -> None:
        """The running job has ended: a cancel that comes now no longer means it."""
        with self._changed:
            self._running = None

    def cancel(self, id: int) -> bool:
        """Stops a job. True if it had not begun, and so will never answer by itself."""
        with self._changed:
            if self._running is not None and self._running.id == id:
                self.abort()
                return False
            before = len(self._waiting)
            self._waiting = [job for job in self._waiting if job.id != id]
            heapq.heapify(self._waiting)
            return len(self._waiting) < before
