"""What a replay compares: editors with something behind them that suggests. Here is this project's own.

`TabbyLsp` is the server over its pipes. The peers are in `llama_vim` and `tabby_agent`. Where a peer has a cost that is
none of its pipeline's, it is left out, in the peer's favour; sampling is greedy everywhere.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from editor import AUTOMATIC, Editor, Refused
from edits import Buffer, Change
from measures import Answer


class SideError(Exception):
    """A side that cannot be started; the text says why."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all sides of a replay are started with.

    `fixed_tokens`: every answer has so many tokens, and nothing is answered from a cache. 0: each by its own rules.
    """

    model: Path
    fixed_tokens: int = 0
    layout: str = "auto"
    llama_server: Path | None = None
    assignments: tuple[str, ...] = ()  # KEY=VALUE, of tabby-lsp's settings


class Side(Protocol):
    """An editor and its server. Entered, it is ready to be asked."""

    name: str

    def __enter__(self) -> Side: ...

    def __exit__(self, kind: type[BaseException] | None, *rest: TracebackType | BaseException | None) -> None: ...

    @property
    def process(self) -> int:
        """The process under which all of the side's computing is done."""

    def open(self, buffer: Buffer) -> None: ...

    def change(self, change: Change) -> None: ...

    def close(self, file: str) -> None: ...

    def rest(self, buffer: Buffer) -> None:
        """What the editor does when its user has stood still for a second. Not part of any answer's time."""

    def ask(self, buffer: Buffer, started: float) -> Answer:
        """The suggestion at the cursor; the time counts from `started`."""

    def begin(self, buffer: Buffer) -> Callable[[], object]:
        """Asks without waiting. What it returns waits, and has to be called."""

    def supersede(self, buffer: Buffer) -> None:
        """Does what the editor does when the user no longer wants what was begun."""


def since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


class TabbyLsp:
    name = "tabby-lsp"

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._versions: dict[str, int] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> TabbyLsp:
        assignments = [*self._setting.assignments, f"completion.layout={self._setting.layout}"]
        if self._setting.fixed_tokens:
            assignments.append(f"completion.max_decoding_tokens={self._setting.fixed_tokens}")
            assignments.append("completion.speculation=false")
        root = self._stack.enter_context(tempfile.TemporaryDirectory())
        arguments = [part for each in assignments for part in ("--set", each)]
        editor = Editor(*arguments, env={"TABBY_ROOT": root}, model=self._setting.model)
        self._editor = self._stack.enter_context(editor)
        self._editor.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: TracebackType | BaseException | None) -> None:
        self._stack.close()

    @property
    def process(self) -> int:
        return self._editor.process.pid

    def open(self, buffer: Buffer) -> None:
        self._versions[buffer.file] = 1
        self._editor.open(buffer.text, uri_of(buffer.file))

    def change(self, change: Change) -> None:
        self._versions[change.file] += 1
        uri = uri_of(change.file)
        self._editor.change(self._versions[change.file], change.start, change.text, change.end, uri)

    def close(self, file: str) -> None:
        self._editor.notify("textDocument/didClose", {"textDocument": {"uri": uri_of(file)}})

    def rest(self, buffer: Buffer) -> None:
        """Nothing: it works in idle time without being told."""

    def ask(self, buffer: Buffer, started: float) -> Answer:
        id = self._editor.ask_inline(buffer.cursor, uri_of(buffer.file), AUTOMATIC)
        result = self._editor.answer(id)
        elapsed = since(started)
        last = self._editor.request("tabby/status", {}).get("lastCompletion") or {}
        counts = {
            "from_model": not last.get("cached", False),
            "evaluated": last.get("evaluated", 0),
            "generated": last.get("generated", 0),
            "prompt": last.get("evaluated", 0) + last.get("reused", 0),
        }
        items = result["items"] if result else []
        if not items:
            return Answer("", elapsed, **counts)
        reach = items[0]["range"]["end"]["character"] - buffer.cursor[1]
        return Answer(items[0]["insertText"], elapsed, replace=reach, **counts)

    def begin(self, buffer: Buffer) -> Callable[[], object]:
        id = self._editor.ask_inline(buffer.cursor, uri_of(buffer.file), AUTOMATIC)

        def finish() -> None:
            with contextlib.suppress(Refused):
                self._editor.answer(id)

        return finish

    def supersede(self, buffer: Buffer) -> None:
        """Closing and not typing: what is typed may be followed by work that is done in advance."""
        self.close(buffer.file)


def uri_of(file: str) -> str:
    return f"file:///home/me/shop/{file}"
