"""Jobs that wait for a worker, kept in a file so that they outlive the process."""

from __future__ import annotations

import heapq
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(order=True)
class Job:
    due: float
    name: str
    attempts: int = 0


class Board:
    def __init__(self, place: Path) -> None:
        self._place = place
        self._waiting: list[Job] = []
        if place.exists():
            self._waiting = [Job(**row) for row in json.loads(place.read_text())]
            heapq.heapify(self._waiting)

    def post(self, name: str, after: float = 0.0) -> Job:
        """Adds a job that nobody takes before so many seconds have passed."""
        job = Job(time.time() + after, name)
        heapq.heappush(self._waiting, job)
        self._save()
        return job

    def claim(self) -> Job | None:
        """The job that has been due for longest, which is then nobody else's."""
        if not self._waiting or self._waiting[0].due > time.time():
            return None
        job = heapq.heappop(self._waiting)
        self._save()
        return job

    def give_back(self, job: Job, most: int = 5) -> bool:
        """After a failure: later again, each time twice as late. False once it has failed too often."""
        job.attempts += 1
        if job.attempts >= most:
            return False
        job.due = time.time() + backoff(job.attempts)
        heapq.heappush(self._waiting, job)
        self._save()
        return True

    def _save(self) -> None:
        # A crash in the middle must not leave half a file.
        beside = self._place.with_suffix(".new")
        beside.write_text(json.dumps([asdict(job) for job in self._waiting]))
        os.replace(beside, self._place)


def backoff(attempts: int, base: float = 2.0, most: float = 300.0) -> float:
    return min(most, base**attempts)
