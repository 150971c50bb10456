"""A clock beside the computing: calls a function when a step takes longer than it may. Knows nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

CHECK_SECONDS = 0.003


class Watch:
    """One thread, which sleeps while no limit is set. Setting one costs next to nothing: steps take milliseconds."""

    def __init__(self, exceeded: Callable[[], None]) -> None:
        self._exceeded = exceeded
        self._deadline: float | None = None
        self._lock = threading.Lock()
        self._set = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def begin(self, milliseconds: float) -> None:
        with self._lock:
            self._deadline = time.perf_counter() + milliseconds / 1000
        self._set.set()

    def end(self) -> None:
        """From here on the function is not called until the next limit, not even for one that is just exceeded."""
        with self._lock:
            self._deadline = None

    def _run(self) -> None:
        while True:
            self._set.wait()
            time.sleep(CHECK_SECONDS)
            with self._lock:
                if self._deadline is None:
                    self._set.clear()
                elif time.perf_counter() >= self._deadline:
                    self._deadline = None
                    self._exceeded()
