"""Texts at which an answer ends, found while it is written."""

from __future__ import annotations

from collections.abc import Sequence


class Ending:
    """What of a text may be shown: all but one of the texts that end it and what follows, and what may become one."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.found = False
        self._stop = tuple(filter(None, stop))
        self._longest = max(map(len, self._stop), default=1)
        self._held = ""

    def feed(self, text: str) -> str:
        """What can now be shown of the text so far."""
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
