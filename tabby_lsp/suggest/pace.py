"""How long to wait after a key before the model is asked. Knows nothing but times.

Asking at once costs nobody time: a request that the next key supersedes stops within milliseconds, and what was read
for it is kept. It costs power, for suggestions that nobody sees. So there is no wait while suggestions come about as
fast as keys do. Where one takes many times as long as the keys of a word are apart, nothing of what is begun between
them can be shown, and to wait out such a gap first makes the suggestion hardly later.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field

AUTOMATIC = -1
REMEMBERED, FEWEST = 16, 8  # times that are looked at, and that are needed
LONGEST_GAP = 0.6  # seconds between two keys of one burst
SLOW = 6.0  # suggestions that take so many gaps are worth waiting for
MOST_GAPS = 1.5  # the wait, so that most keys of a burst fall into it


@dataclass(slots=True)
class Pace:
    """Times in seconds. `fixed` is the user's own wait in milliseconds, or AUTOMATIC."""

    fixed: int = AUTOMATIC
    _gaps: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _waits: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _last: float | None = None

    def asked(self, now: float) -> None:
        """A suggestion is asked for, as happens at every key."""
        if self._last is not None and now - self._last <= LONGEST_GAP:
            self._gaps.append(now - self._last)
        self._last = now

    def answered(self, seconds: float) -> None:
        """The model took so long for a suggestion, from being asked to its end."""
        self._waits.append(seconds)

    def delay(self) -> float:
        """How long to wait now, in seconds."""
        if self.fixed >= 0:
            return self.fixed / 1000
        if len(self._gaps) < FEWEST or len(self._waits) < FEWEST:
            return 0.0
        gap = statistics.median(self._gaps)
        # The fastest one tells what the machine can do: others had a prompt to read after a jump.
        return MOST_GAPS * gap if min(self._waits) > SLOW * gap else 0.0
