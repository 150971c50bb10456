"""Where an answer ends, found while it is written: at a text that ends it, or where it goes round in circles."""

from __future__ import annotations

from collections.abc import Sequence

# The same characters, so many at least and at most, so many times in a row: small models do that until there is no more
# room. Lines of dashes and columns of noughts in code are shorter.
SHORTEST_LOOP, LONGEST_LOOP, LOOP_TIMES = 20, 300, 5


class Ending:
    """What of a text may be shown: all but one of the texts that end it and what follows, and what may become one."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.found = False  # a text that ends it
        self._stop = tuple(filter(None, stop))
        self._longest = max(map(len, self._stop), default=1)
        self._held = ""
        self._tail = ""

    @property
    def loops(self) -> bool:
        """Whether the text repeats itself."""
        text = self._tail
        for size in range(SHORTEST_LOOP, len(text) // LOOP_TIMES + 1):
            unit = text[-size:]
            if text[-2 * size : -size] == unit and text.endswith(unit * LOOP_TIMES):
                return any(each.isalpha() for each in unit)
        return False

    def feed(self, text: str) -> str:
        """What can now be shown of the text so far."""
        self._tail = (self._tail + text)[-LONGEST_LOOP * LOOP_TIMES :]
        text, self._held = self._held + text, ""
        places = [place for each in self._stop if (place := text.find(each)) >= 0]
        if places:
            self.found = True
            return text[: min(places)]
        for size in range(min(self._longest - 1, len(text)), 0, -1):
            if any(each.startswith(text[-size:]) for each in self._stop):
                self._held = text[-size:]
                return text[:-size]
        return text

    def rest(self) -> str:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, ""
        return held
