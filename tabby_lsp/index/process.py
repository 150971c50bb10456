"""The indexer process: `python -m tabby_lsp.index.process`, started by `client` with pipes on stdin and stdout.

One thread reads the pipe, the main thread does the work. What an editor says is done between two steps of a scan. The
process ends when the pipe closes.

To it come `open` (first), `buffer`, `closed`, `changed`, `rescan`. From it: `reading` (what to blame if it dies now),
`progress`, `status`, or `failed` when it cannot work at all.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tabby_lsp import config, languages
from tabby_lsp.data import from_json, to_json
from tabby_lsp.index import expiry
from tabby_lsp.index.database import NoFile
from tabby_lsp.index.plan import FileKey, IndexState, Plan
from tabby_lsp.index.upkeep import FILE_SECONDS, Upkeep
from tabby_lsp.processes import machine, wire
from tabby_lsp.processes.wire import Pipe

MOST_MEMORY = 1_500_000_000  # bytes of addresses: a parse that eats more ends this process and nothing else
LOOK_SECONDS = 5.0  # between two looks at what others do to the index
PROGRESS_SECONDS = 0.25
LEAST_PAUSE = 30.0  # before a rescan where nobody says what changes
SOON = 1.0  # before a rescan for something that was said
SHARE = 50  # a pause is so many times as long as the scan before it took: 2 % of a core
FIRST_PAUSE = 60.0  # at most, behind a scan that read everything, which the next one does not
CLOSE_SECONDS = 5.0
# A parse makes tens of thousands of objects that are gone with it. To look through them for cycles every 700 of them
# would take a fifth of the time.
OBJECTS_BETWEEN_COLLECTIONS = 50_000

Message = dict[str, Any]
Messages = queue.SimpleQueue[Message | None]


def main() -> None:
    pipe = Pipe(machine.take_stdout())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is meant for the parent
    logging.basicConfig(stream=sys.stderr, level=os.environ.get("TABBY_LSP_LOG_LEVEL", "WARNING").upper())
    machine.lower_priority()
    machine.limit_memory(MOST_MEMORY)
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    first = wire.read(sys.stdin.buffer.read)
    if first is None:
        return
    messages: Messages = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(messages,), daemon=True).start()
    plan = from_json(Plan, first["plan"])
    with contextlib.suppress(OSError):  # the store says it better
        machine.private_folder(config.data_folder())
    languages.use(plan.languages)
    try:
        upkeep = Upkeep(plan, lambda mark: pipe.send(kind="reading", mark=mark), first["deaths"])
        threading.Thread(target=_tidy, args=(plan,), daemon=True).start()  # some disks answer late, or never
        work = Work(upkeep, messages, pipe, plan.watched)
        for message in first["buffers"]:
            work.do(message)
        while work.go_on():
            pass
        upkeep.close()
    except NoFile as error:
        pipe.send(kind="failed", reason=str(error))


def _listen(messages: Messages) -> None:
    while (message := wire.read(sys.stdin.buffer.read)) is not None:
        messages.put(message)
    messages.put(None)
    time.sleep(CLOSE_SECONDS)
    os._exit(0)


def _tidy(plan: Plan) -> None:
    database = Path(plan.database)
    with contextlib.suppress(OSError):  # then the next one does it
        expiry.note(database, plan.folders)
        expiry.forget(database.parent)


class Work:
    """What is to be done next: what the editor says, single files, a step of a scan, and what is due."""

    def __init__(self, upkeep: Upkeep, messages: Messages, pipe: Pipe, watched: bool) -> None:
        self._upkeep = upkeep
        self._messages = messages
        self._pipe = pipe
        self._watched = watched
        self._changed: dict[FileKey, None] = {}  # files to look at, in order
        self._scan: Iterator[None] | None = None
        self._due: float | None = 0.0  # when the next scan is to begin
        self._rest = 0.0  # and not before this moment
        self._forced = False  # whether somebody waits for it
        self._look_at = 0.0  # when to look at the index next
        self._told_at = 0.0
        self._spent = 0.0  # processor seconds of the scan that is under way
        self._news = True  # since the last status

    def go_on(self) -> bool:
        """Does one thing. False when the pipe has closed."""
        messages = _without_outdated(self._arrived())
        # What holds the interpreter keeps `_listen` from seeing that the server is gone. This thread is none of its.
        faulthandler.dump_traceback_later(FILE_SECONDS, exit=True)
        try:
            return self._do_next(messages)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _do_next(self, messages: list[Message | None]) -> bool:
        for message in messages:
            if message is None:
                return False
            self.do(message)
        if self._changed:
            place = next(iter(self._changed))
            del self._changed[place]
            if self._upkeep.changed(*place):
                self._rescan(SOON)
        elif self._scan is not None:
            self._step(self._scan)
        elif self._due is not None and time.monotonic() >= max(self._due, self._rest):
            self._begin()
        elif time.monotonic() >= self._look_at:
            self._look()
        return True

    def do(self, message: Message) -> None:
        kind = message["kind"]
        self._news = True
        if kind == "buffer":
            self._upkeep.buffer(message["root"], message["path"], message["language"], message["text"])
        elif kind == "closed":
            self._upkeep.closed(message["root"], message["path"])
        elif kind == "changed":
            self._changed |= {(root, path): None for root, path in message["places"]}
        elif kind == "rescan":
            self._upkeep.forgive()
            self._force()

    def _arrived(self) -> list[Message | None]:
        """The messages that are there. Where there is nothing to do, the first one is waited for."""
        arrived: list[Message | None] = []
        try:
            if not self._changed and self._scan is None:
                begin = self._look_at if self._due is None else min(self._look_at, max(self._due, self._rest))
                arrived.append(self._messages.get(timeout=max(0.0, begin - time.monotonic())))
            while True:
                arrived.append(self._messages.get_nowait())
        except queue.Empty:
            return arrived

    def _look(self) -> None:
        self._look_at = time.monotonic() + LOOK_SECONDS
        if self._upkeep.look():
            self._force()
        elif self._news:
            self._upkeep.refresh()
            self._tell(self._upkeep.state)

    def _rescan(self, seconds: float) -> None:
        due = time.monotonic() + seconds
        self._due = due if self._due is None else min(self._due, due)

    def _force(self) -> None:
        self._forced, self._rest = True, 0.0
        self._rescan(0.0)

    def _begin(self) -> None:
        self._due, self._scan, self._spent, self._forced = None, self._upkeep.scan(), 0.0, False
        self._tell(_under_way(self._upkeep))

    def _step(self, scan: Iterator[None]) -> None:
        began = time.process_time()
        over = next(scan, self) is self
        self._spent += time.process_time() - began
        if over:
            self._scan = None
            pause = SHARE * self._spent
            if self._upkeep.first:
                pause = min(pause, FIRST_PAUSE)
            self._rest = 0.0 if self._forced else time.monotonic() + pause
            if not self._watched:
                self._rescan(max(LEAST_PAUSE, pause))
            self._tell(self._upkeep.state)
        elif time.monotonic() > self._told_at + PROGRESS_SECONDS:
            self._tell(_under_way(self._upkeep), "progress")

    def _tell(self, state: IndexState, kind: str = "status") -> None:
        self._told_at = time.monotonic()
        self._news = self._scan is not None
        self._pipe.send(kind=kind, state=to_json(state))


def _under_way(upkeep: Upkeep) -> IndexState:
    return replace(upkeep.state, scanning=True, done=upkeep.done, total=upkeep.total)


def _without_outdated(messages: list[Message | None]) -> list[Message | None]:
    """Without the buffers for which a newer text has arrived already."""
    newest = {
        (message["root"], message["path"]): number
        for number, message in enumerate(messages)
        if message is not None and message["kind"] in ("buffer", "closed")
    }
    return [
        message
        for number, message in enumerate(messages)
        if message is None or message["kind"] != "buffer" or newest[message["root"], message["path"]] == number
    ]


if __name__ == "__main__":
    main()
