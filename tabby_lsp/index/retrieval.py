"""Related pieces for a request, without making it wait: a thread that owns the connection to the index.

The answer for a line holds while one types on it. One that takes too long is not waited for, and is there at the next
key. SQLite is loaded in the thread, at the first question.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tabby_lsp.data import CompletionContext

if TYPE_CHECKING:
    from tabby_lsp.index.disabled import Disabled
    from tabby_lsp.index.recent import RecentWork
    from tabby_lsp.index.related import Related
    from tabby_lsp.index.search import Search

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.015

Line = tuple[Path, int, str]  # a file, a line's number and the text above it


class Retrieval:
    def __init__(self, database: Path) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, "tabby-lsp-retrieval")
        self._search: Search | None = None
        self._line: Line | None = None  # that `_asked` is for
        self._asked: asyncio.Future[tuple[Related, ...]] | None = None
        self._known: tuple[Related, ...] = ()
        self._file: Path | None = None  # that `_known` is for

    async def around(
        self,
        file: Path,
        context: CompletionContext,
        room: int,
        lately: RecentWork | None = None,
        disabled: Disabled | None = None,
    ) -> tuple[Related, ...]:
        """What is known of other files for a place, in so many characters; at worst, what was for the place before in
        the same file."""
        above, newline, _ = context.prefix.rpartition("\n")
        line = file, context.first_line + above.count("\n") + len(newline), above[-200:]
        if file != self._file:
            self._file, self._known, self._line = file, (), None
        # Where there was nothing the index may not have been there yet.
        asks = line != self._line or not self._known
        if asks and (self._asked is None or self._asked.done()):
            self._line = line
            self._asked = asyncio.get_running_loop().run_in_executor(
                self._thread, self._ask, file, context, room, lately, disabled
            )
        if self._asked is not None and not self._asked.done():
            await asyncio.wait({self._asked}, timeout=WAIT_SECONDS)
        if self._asked is not None and self._asked.done() and self._line is not None and self._line[0] == file:
            self._known = self._asked.result()
        return self._known

    def _ask(
        self, file: Path, context: CompletionContext, room: int, lately: RecentWork | None, disabled: Disabled | None
    ) -> tuple[Related, ...]:
        from tabby_lsp.index.related import related
        from tabby_lsp.index.search import Search

        try:
            if self._search is None:
                self._search = Search(self._database)
            return tuple(related(self._search, file, context, room, lately, disabled))
        except Exception:  # a suggestion without other files is better than none
            log.exception("nothing of other files for %s", file)
            return ()

    def close(self) -> None:
        """Ends the thread, when its last question is answered."""
        if self._search is not None:
            self._thread.submit(self._search.close)
        self._thread.shutdown(wait=False)
