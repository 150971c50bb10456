"""When a sitting of training ends, and what its learning rates are multiplied with until then.

A sitting is what one call trains: after a warm-up the rates are constant, and over its last part they go linearly to
zero. The undecayed state is kept, so the next sitting goes on as if this one had never been lowered, and this one
still leaves a finished model (Hägele et al., Scaling laws beyond fixed training durations, 2024). Knows nothing of
tensors.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import median

PACE_STEPS = 50  # whose median is the time of a step: a pause, or a busy minute, is one of them and counts nothing
UNKNOWN = 10**9  # steps left as long as none was timed


@dataclass(frozen=True)
class Budget:
    """Where a sitting ends: after so many FLOP, or at a time (seconds of `time.time`); one of them is given."""

    flop: float | None = None
    until: float | None = None


@dataclass(frozen=True)
class Progress:
    """Where training stands; counts go on over all sittings, `minutes` are of processor time in this one."""

    sitting: int = 0
    step: int = 0
    tokens: int = 0
    minutes: float = 0.0
    first_step: int = 0  # of this sitting
    first_token: int = 0
    warm_from: int = 0  # the step at which the rates began to rise
    factor: float = 1.0  # of the decay; 1 until it begins
    decay_step: int = -1  # at which it began
    until: float | None = None  # the budget's, so that a decay is not taken up again after its time

    @property
    def decaying(self) -> bool:
        return self.decay_step >= 0


def parse_until(text: str, now: datetime | None = None) -> float:
    """The next time the clock shows `HH:MM`, as `time.time` has it; raises ValueError."""
    now = now or datetime.now()
    hour, minute = map(int, text.split(":"))
    found = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (found if found > now else found + timedelta(days=1)).timestamp()


class Pace:
    """How long a step takes on a machine that others use too."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=PACE_STEPS)

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)

    def steps_in(self, seconds: float) -> int:
        # The first steps also compile.
        return int(seconds / median(self._seconds)) if len(self._seconds) > 2 else UNKNOWN


def steps_left(budget: Budget, progress: Progress, flop_per_step: float, pace: Pace, shortest_decay: int) -> int:
    """How many steps this sitting still has; never fewer than the shortest decay has left.

    A machine that slept past its end must not leave a sitting without a finished model.
    """
    if budget.flop is not None:
        left = round(budget.flop / flop_per_step) - (progress.step - progress.first_step)
    else:
        assert budget.until is not None
        left = pace.steps_in(budget.until - time.time())
    lowered = progress.step - progress.decay_step if progress.decaying else 0
    return max(0, left, shortest_decay - lowered)


def begins_decay(progress: Progress, left: int, share: float, shortest_decay: int) -> bool:
    sitting = progress.step - progress.first_step + left
    return not progress.decaying and left <= max(share * sitting, shortest_decay)


def rate_factor(progress: Progress, warmup_steps: int) -> float:
    """What the learning rates are multiplied with in the coming step."""
    return min(1.0, (progress.step - progress.warm_from + 1) / max(1, warmup_steps)) * progress.factor


def after_step(progress: Progress, tokens: int, seconds: float, left: int) -> Progress:
    """One step further; `left` was counted before it.

    The decay's slope is taken anew at each step, so that it reaches zero at the end however the pace changes.
    """
    factor = progress.factor * (1 - 1 / max(1, left)) if progress.decaying else 1.0
    done = replace(progress, step=progress.step + 1, tokens=progress.tokens + tokens, factor=factor)
    return replace(done, minutes=progress.minutes + seconds / 60)


def next_sitting(progress: Progress) -> Progress:
    return Progress(
        sitting=progress.sitting + 1,
        step=progress.step,
        tokens=progress.tokens,
        first_step=progress.step,
        first_token=progress.tokens,
        warm_from=progress.warm_from,
    )
