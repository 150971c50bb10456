"""The server's side of the indexer process: tells it what the editor does, and knows how far it is.

Runs in an asyncio loop and never blocks it. Does not import SQLite or tree-sitter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tabby_lsp.data import from_json, to_json
from tabby_lsp.index.plan import FileKey, IndexState, Plan
from tabby_lsp.processes.child import Child

# A text is sent when it has rested for so long, and while one types at least so often.
REST_SECONDS, MOST_SECONDS = 0.12, 1.0

_STARTING = IndexState(scanning=True)


@dataclass(frozen=True, slots=True)
class _Buffer:
    language: str
    text: Callable[[], str]


@dataclass(frozen=True, slots=True)
class _Waiting:
    since: float
    timer: asyncio.TimerHandle


class Indexer:
    """One indexer process, from `start` to `close`. `on_state` is called at every change of `state`."""

    def __init__(self, plan: Plan, on_state: Callable[[IndexState], None] = lambda state: None) -> None:
        self.plan = plan
        self.state = _STARTING
        self.down = False  # there will be no other process
        self.reading = ""  # the mark of the text that the process reads: what to blame if it dies
        self._on_state = on_state
        self._deaths: dict[str, int] = {}
        self._buffers: dict[FileKey, _Buffer] = {}
        self._waiting: dict[FileKey, _Waiting] = {}
        self._alive = False
        self._child = Child(
            "tabby_lsp.index.process",
            greeting=self._greeting,
            on_message=self._receive,
            on_start=self._started,
            on_death=self._died,
            on_end=self._ended,
        )

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def start(self) -> None:
        self._child.start()

    async def close(self) -> None:
        """Ends the process, killing it if it does not end by itself."""
        self._alive = False
        for each in self._waiting.values():
            each.timer.cancel()
        self._waiting.clear()
        await self._child.close()

    def buffer(self, path: Path, language: str, text: Callable[[], str]) -> None:
        """An editor has a file open, or has changed it. Its text is asked for when it is sent, until it is closed."""
        place = self.plan.place_of(path)
        if place is None:
            return
        self._buffers[place] = _Buffer(language, text)
        loop = asyncio.get_running_loop()
        now = loop.time()
        waiting = self._waiting.get(place)
        since = waiting.since if waiting else now
        if waiting:
            waiting.timer.cancel()
        timer = loop.call_at(min(now + REST_SECONDS, since + MOST_SECONDS), self._send_buffer, place)
        self._waiting[place] = _Waiting(since, timer)

    def closed(self, path: Path) -> None:
        """An editor has closed a file: the disk counts."""
        place = self.plan.place_of(path)
        if place is None or self._buffers.pop(place, None) is None:
            return
        waiting = self._waiting.pop(place, None)
        if waiting:
            waiting.timer.cancel()
        self._send(kind="closed", root=place[0], path=place[1])

    def changed(self, paths: Iterable[Path]) -> None:
        """Files that were written, made or deleted."""
        places = [place for path in paths if (place := self.plan.place_of(path))]
        if places:
            self._send(kind="changed", places=places)

    def rescan(self) -> None:
        """Looks at everything again, also at what crashed the parser."""
        self._deaths.clear()
        self._send(kind="rescan")

    def _send(self, **message: Any) -> None:
        """Only to a process that is there: a new one hears of the buffers first and then looks at everything."""
        if self._alive:
            self._child.send(**message)

    def _send_buffer(self, place: FileKey) -> None:
        del self._waiting[place]
        self._send(**self._message(place, self._buffers[place]))

    def _message(self, place: FileKey, buffer: _Buffer) -> dict[str, Any]:
        text = buffer.text()
        where = {"root": place[0], "path": place[1]}
        if len(text) > self.plan.most_bytes:  # it would not be taken, and takes the loop's time to be sent
            return {"kind": "closed", **where}
        return {"kind": "buffer", **where, "language": buffer.language, "text": text}

    def _greeting(self) -> dict[str, Any]:
        buffers = [self._message(place, buffer) for place, buffer in self._buffers.items()]
        return {"kind": "open", "plan": to_json(self.plan), "deaths": self._deaths, "buffers": buffers}

    def _started(self) -> None:
        self._alive = True
        self._set_state(replace(self.state, scanning=True))

    def _died(self, reason: str) -> None:
        self._alive = False
        if self.reading:
            self._deaths[self.reading] = self._deaths.get(self.reading, 0) + 1
            self.reading = ""

    def _ended(self, reason: str) -> None:
        self._alive = False
        self.down = True
        self._set_state(replace(self.state, scanning=False, note=reason))

    def _receive(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "reading":
            self.reading = message["mark"]
        elif kind == "failed":
            self._child.wanted = False  # it has told why: another one would say the same
            self._ended(message["reason"])
        else:
            self._set_state(from_json(IndexState, message["state"]))

    def _set_state(self, state: IndexState) -> None:
        if state != self.state:
            self.state = state
            self._on_state(state)
