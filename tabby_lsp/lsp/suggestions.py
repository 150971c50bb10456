"""Which generation answers which request: one per document, superseded as soon as it no longer fits.

A newer request, a change of the document or a cancel ends an older request: it is answered at once, with
nothing, and its computing stops. Except where what was typed since is the beginning of what is being written:
then the generation goes on, and serves the newer request without what was typed. A finished one does so too.

Knows neither LSP nor how text is generated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from tabby_lsp.data import Completion, CompletionContext, Sampling
from tabby_lsp.engine.client import Engine, Generation
from tabby_lsp.lsp.documents import Change, Place
from tabby_lsp.text import split_lines

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Live:
    """A generation, running or finished, and what was typed since it began."""

    generation: Generation
    place: Place  # where the cursor would be now
    typed: str = ""
    key: object = None  # what else the answer depends on: a request with another key needs another generation

    def agrees(self) -> bool:
        """Whether what was typed may still be the beginning of what is written.

        Nothing written yet says nothing: a prompt that is being read anew is stopped, its tokens are kept.
        """
        result = self.generation.result
        if result.done():
            done = not result.cancelled() and result.exception() is None
            return done and result.result().text.startswith(self.typed)
        written = self.generation.text
        return bool(written) and (written.startswith(self.typed) or self.typed.startswith(written))

    @property
    def running(self) -> bool:
        return not self.generation.result.done()


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A completion as seen from the cursor now; its text is empty if there is nothing worth showing.

    `from_cache` if no generation was begun for this request.
    """

    text: str
    replace: int
    completion: Completion
    from_cache: bool


class Suggestions:
    """The live generations of all documents. `on_busy` is called when the first one starts or the last ends."""

    def __init__(self, engine: Engine, on_busy: Callable[[bool], None] = lambda busy: None) -> None:
        self._engine = engine
        self._on_busy = on_busy
        self._live: dict[str, Live] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}  # the newest request of each document

    async def suggest(
        self, document: str, place: Place, context: CompletionContext, sampling: Sampling, key: object = None
    ) -> Suggestion | None:
        """The suggestion at a place, or None if the request was superseded.

        Raises EngineError if the engine cannot answer, CancelledError if the caller is cancelled.
        """
        self._supersede(document)
        superseded = asyncio.get_running_loop().create_future()
        self._waiting[document] = superseded
        try:
            for _ in range(2):  # a generation that was followed may turn out to be of no use at its end
                live, fresh = self._generation_for(document, place, context, sampling, key)
                await asyncio.wait({live.generation.result, superseded}, return_when=asyncio.FIRST_COMPLETED)
                if superseded.done() or live.generation.result.cancelled():
                    return None
                completion = live.generation.result.result()
                rest = completion.text[len(live.typed) :]
                useful = completion.text.startswith(live.typed) and rest.strip()
                if useful or fresh:
                    return Suggestion(rest if useful else "", completion.replace, completion, not fresh)
                self._forget(document)
            return None
        except asyncio.CancelledError:
            if self._waiting.get(document) is superseded:
                self._forget(document)
            raise
        finally:
            if self._waiting.get(document) is superseded:
                del self._waiting[document]
                self._on_busy(bool(self._waiting))

    def _generation_for(
        self, document: str, place: Place, context: CompletionContext, sampling: Sampling, key: object
    ) -> tuple[Live, bool]:
        live = self._live.get(document)
        if live and live.place == place and live.key == key and live.agrees():
            return live, False
        self._forget(document)
        self._on_busy(True)
        live = Live(self._engine.generate(document, context, sampling), place, key=key)
        live.generation.on_piece = lambda: self._check(document)
        self._live[document] = live
        return live, True

    def changed(self, document: str, change: Change) -> None:
        """A change of the document: requests for it are answered, and its generation goes on only if it fits."""
        self._supersede(document)
        live = self._live.get(document)
        if live is None:
            return
        if change.start == change.end == live.place and change.text:
            live.typed += change.text.replace("\r\n", "\n").replace("\r", "\n")
            lines = split_lines(change.text)
            column = live.place[1] if len(lines) == 1 else 0
            live.place = (live.place[0] + len(lines) - 1, column + len(lines[-1]))
            self._check(document)
        else:
            self._forget(document)

    def forget(self, document: str) -> None:
        """The document was closed."""
        self._supersede(document)
        self._forget(document)

    def forget_all(self) -> None:
        for document in list(self._live):
            self.forget(document)

    def use(self, engine: Engine) -> None:
        """Another engine takes over."""
        self.forget_all()
        self._engine = engine

    def _check(self, document: str) -> None:
        live = self._live.get(document)
        if live and live.typed and not live.agrees():
            self._forget(document)

    def _supersede(self, document: str) -> None:
        waiting = self._waiting.pop(document, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
            self._on_busy(bool(self._waiting))

    def _forget(self, document: str) -> None:
        live = self._live.pop(document, None)
        if live is not None and live.running:
            self._engine.cancel(live.generation)
