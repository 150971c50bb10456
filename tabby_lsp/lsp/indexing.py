"""The index of a connection's workspace: one indexer at a time, for the folders and settings of the moment.

Does not know how anything is indexed, nor what the index is good for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabby_lsp.data import CompletionContext
from tabby_lsp.index.client import Indexer
from tabby_lsp.index.plan import IndexState, Plan, plan
from tabby_lsp.index.recent import Recent
from tabby_lsp.index.retrieval import Retrieval
from tabby_lsp.lsp.documents import Document
from tabby_lsp.processes.machine import path_of_url
from tabby_lsp.settings import Settings
from tabby_lsp.text import Change

if TYPE_CHECKING:
    from tabby_lsp.index.disabled import Disabled
    from tabby_lsp.index.related import Related


class Indexing:
    """`on_change` is called when there is something new to tell in a status."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.plan: Plan | None = None
        self.moved = asyncio.Event()  # set at every change of the state, and cleared at once
        self._on_change = on_change
        self._indexer: Indexer | None = None
        self._retrieval: Retrieval | None = None
        self._recent = Recent()
        self._note = ""
        self._last_told = self.status()
        self._replacing = asyncio.Lock()

    @property
    def state(self) -> IndexState:
        return self._indexer.state if self._indexer else IndexState()

    async def use(
        self,
        folders: Sequence[str],
        settings: Settings,
        watched: bool,
        documents: Iterable[Document],
        ready: Callable[[], Awaitable[None]],
    ) -> bool:
        """Indexes these folders, with the documents that are open, as soon as it is `ready` for that.

        Whether an indexer has been started.
        """
        async with self._replacing:
            paths = [path for folder in folders if (path := path_of_url(folder))]
            languages = settings.additional_languages
            wanted, self._note = await asyncio.to_thread(plan, paths, settings.index, watched, languages)
            same = wanted == self.plan and not (self._indexer and self._indexer.down)
            if not same:
                await self.close()
            self._tell()
            if same:
                return False
            await ready()
            self.plan = wanted
            if wanted is not None:
                self._retrieval = Retrieval(Path(wanted.database))
                indexer = Indexer(wanted, lambda state: self._state_of(indexer))
                self._indexer = indexer
                indexer.start()
                for document in documents:
                    self._pass_on(document.uri, document)
            self._tell()
            return wanted is not None

    def changed(self, uri: str, document: Document | None, change: Change | None = None) -> None:
        """A document was opened, or changed by that; None if it was closed."""
        path = self._path(uri)
        if path is not None and change is not None:
            self._recent.edited(path, change.start[0], change.end[0], change.text, time.monotonic())
        elif path is not None and document is not None:
            self._recent.looked_at(path)
        self._pass_on(uri, document)

    def _path(self, uri: str) -> Path | None:
        """As the index names it."""
        path = path_of_url(uri)
        return self.plan.real(path) if path is not None and self.plan is not None else path

    def _pass_on(self, uri: str, document: Document | None) -> None:
        path = path_of_url(uri) if self._indexer else None
        if path is None or self._indexer is None:
            return
        if document is None:
            self._indexer.closed(path)
        else:
            self._indexer.buffer(path, document.language_id, document.text)

    def changed_on_disk(self, uris: Iterable[str]) -> None:
        if self._indexer is not None:
            self._indexer.changed([path for uri in uris if (path := path_of_url(uri))])

    async def around(self, uri: str, context: CompletionContext, room: int, disabled: Disabled) -> tuple[Related, ...]:
        """Pieces of other files, and of far parts of this one, that may help at a place: so many characters."""
        path = self._path(uri)
        if path is None or self._retrieval is None:
            return ()
        self._recent.looked_at(path)
        return await self._retrieval.around(path, context, room, self._recent.work_until(time.monotonic()), disabled)

    def rescan(self) -> bool:
        """Looks at everything again. False if there is no indexer that could."""
        if self._indexer is None or self._indexer.down:
            return False
        self._indexer.rescan()
        return True

    async def close(self) -> None:
        indexer, self._indexer, self.plan = self._indexer, None, None
        retrieval, self._retrieval = self._retrieval, None
        if retrieval is not None:
            retrieval.close()
        if indexer is not None:
            await indexer.close()

    def status(self) -> dict[str, Any]:
        state = self.state
        return {
            "files": state.files,
            "symbols": state.symbols,
            "skipped": {each.reason: each.count for each in state.skipped},
            "scanning": state.scanning,
            "note": " ".join(each for each in (self._note, state.note) if each),
        }

    def _state_of(self, indexer: Indexer) -> None:
        if indexer is not self._indexer:  # one whose place has been taken
            return
        self.moved.set()
        self.moved.clear()
        if not indexer.state.scanning or indexer.state.done == 0:
            self._tell()

    def _tell(self) -> None:
        if self.status() != self._last_told:
            self._last_told = self.status()
            self._on_change()
