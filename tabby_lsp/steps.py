"""Work that is done in steps, so that more urgent work can come in between.

A generator that yields nothing but turns: whoever runs it may leave it for a while, or close it, at each of them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]


def run(steps: Steps[T]) -> T:
    """Does all of the steps at once. Returns what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value
