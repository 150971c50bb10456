"""Takes jobs from a board and runs them, one after the other."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Mapping

from .board import Board

log = logging.getLogger(__name__)
IDLE_SECONDS = 0.5


class Worker:
    def __init__(self, board: Board, recipes: Mapping[str, Callable[[], None]]) -> None:
        self._board = board
        self._recipes = recipes
        self._leaving = False

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._on_term)
        while not self._leaving:
            if not self.step():
                time.sleep(IDLE_SECONDS)

    def step(self) -> bool:
        job = self._board.claim()
        if job is None:
            return False
        try:
            self._recipes[job.name]()
        except KeyError:
            log.error("nobody knows how to do %s", job.name)
        except Exception:
            log.exception("%s went wrong", job.name)
            if not self._board.give_back(job):
                log.error("%s is given up", job.name)
        return True

    def _on_term(self, number: int, frame: object) -> None:
        """The job at hand is finished first."""
        self._leaving = True
