"""Which generation answers which request: one per document, superseded as soon as it no longer fits.

A newer request, a change of the document or a cancel ends an older request: it is answered at once, with
nothing, and its computing stops. Except where what was typed since is the beginning of what is being written:
then the generation goes on, and serves the newer request without what was typed. A finished one goes to `answers`,
which are asked before the engine is. So does the one that would follow if what is shown were accepted: it is made
ahead, while nobody waits.

Knows neither LSP nor how text is generated.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tabby_lsp.completion.overtype import CLOSERS, is_closed_by_editor
from tabby_lsp.completion.triggers import lengthens_full_name
from tabby_lsp.data import Completion, CompletionContext, CompletionRequest, Sampling, Snippet, Timing
from tabby_lsp.engine.client import Engine, Job
from tabby_lsp.suggest.answers import Answers
from tabby_lsp.suggest.pace import Pace
from tabby_lsp.text import Change, Point, begin_alike

Related = Callable[[], Awaitable[tuple[Snippet, ...]]]

AGREED = 3  # typed characters that were those of a doubtful suggestion: it is shown from then on


@dataclass(slots=True)
class Live:
    """A generation that runs, what it was begun for, and the text that has come to stand at its place since."""

    generation: Job[Completion]
    context: CompletionContext
    sampling: Sampling
    place: Point  # where `inserted` begins
    candidates: int = 1
    inserted: str = ""
    typed: int = 0  # characters of `inserted` that are known to stand before the cursor: a request has said so

    def follows(self, change: Change) -> bool:
        """Takes in a change of the document. False if it lies elsewhere, or no longer fits what is written."""
        first, last = self._offset(change.start), self._offset(change.end)
        if first is None or last is None:
            return False
        text = change.text.replace("\r\n", "\n").replace("\r", "\n")
        self.inserted = self.inserted[:first] + text + self.inserted[last:]
        self.typed = 0
        return self.agrees()

    def serves(self, place: Point, context: CompletionContext) -> bool:
        """Whether what is being written may be for a request at a place, which says what of `inserted` was typed."""
        typed = self._offset(place)
        # Another item of the editor's menu is another text before the same place.
        if typed is None or _last_line(context.prefix) != _last_line(self.context.prefix + self.inserted[:typed]):
            return False
        self.typed = typed
        return self.agrees() and not self.inserted[typed:].strip(CLOSERS)

    def agrees(self) -> bool:
        """Whether what was typed may still be the beginning of what is written.

        Nothing written yet says nothing: a prompt that is being read anew is stopped, its tokens are kept. Closers
        behind what agrees need not have been typed: the next request tells.
        """
        written = self.generation.text
        if not self.inserted or not written:
            return not self.inserted
        if written.startswith(self.inserted) or self.inserted.startswith(written):
            return True
        alike = begin_alike(self.inserted, written)
        return alike >= self.typed and is_closed_by_editor(written[:alike], self.inserted[alike:])

    def _offset(self, place: Point) -> int | None:
        """The character of `inserted` at a place, its end included, or None if the place lies outside."""
        lines = self.inserted.split("\n")
        line = place[0] - self.place[0]
        column = place[1] - (self.place[1] if line == 0 else 0)
        if not 0 <= line < len(lines) or not 0 <= column <= len(lines[line]):
            return None
        return sum(len(each) + 1 for each in lines[:line]) + column


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A completion as seen from the cursor now; its text is empty if there is nothing worth showing.

    `from_cache` if no generation was begun for this request. `withheld`: why nothing is shown of what there may be.
    """

    text: str
    replace: int
    completion: Completion
    from_cache: bool
    withheld: str = ""


def nothing(reason: str) -> Suggestion:
    """For a request with which no model is asked."""
    return Suggestion("", 0, Completion("", 0, "", "", 0, 0, 0, Timing(), ()), True, reason)


class Suggestions:
    """The live generations of all documents, and their answers.

    `on_busy` is called when the first request begins to wait for the engine or the last one ends.
    """

    def __init__(self, engine: Engine, on_busy: Callable[[bool], None] = lambda busy: None) -> None:
        self._engine = engine
        self._on_busy = on_busy
        self.ahead = False  # whether anything is worked out before it is asked for
        self.confidence = 0.0  # that the model must have in what nobody has asked for
        self.pace = Pace()
        self._next: Job[Completion] | None = None  # what is made ahead: never more than one
        self._next_at: tuple[str, CompletionContext, Sampling] | None = None
        self._answers = Answers()
        self._live: dict[str, Live] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}  # the newest request of each document
        self._snippets: dict[str, tuple[Snippet, ...]] = {}  # that each document was last completed with

    async def suggest(
        self,
        document: str,
        place: Point,
        context: CompletionContext,
        sampling: Sampling,
        anew: bool = False,
        candidates: int = 1,
        typing: bool = False,
        related: Related | None = None,
    ) -> Suggestion | None:
        """The suggestion at a place, or None if the request was superseded. `anew`: not one that is remembered.
        With so many `candidates`, as far as the model has as many. `typing`: it is asked for at every key; then what
        the model is not sure of is left out, and it need not be asked before that pays (see `pace`). `related` finds
        pieces of other files, where the model is asked.

        Raises EngineError if the engine cannot answer, CancelledError if the caller is cancelled.
        """
        if typing:
            self.pace.asked(time.monotonic())
        delay = self.pace.delay() if typing else 0.0
        suggestion = await self._suggest(document, place, context, sampling, anew, candidates, delay, related)
        if suggestion is not None and typing and (reason := self._reason_against(suggestion, context)):
            suggestion = dataclasses.replace(suggestion, text="", withheld=reason)
        if suggestion is not None and suggestion.text and self.ahead:
            self._go_ahead(document, context, sampling, suggestion)
        return suggestion

    def _reason_against(self, suggestion: Suggestion, context: CompletionContext) -> str:
        """Why a suggestion that nobody has asked for is not shown: the model is not sure enough, or it makes another
        name of a full one. Neither counts where what was typed since says that it is right."""
        if not suggestion.text:
            return ""
        whole = suggestion.completion.candidates[0].text
        if suggestion.completion.confidence < self.confidence and whole.find(suggestion.text) < AGREED:
            return "the model is not sure of it"
        if whole.startswith(suggestion.text[:AGREED]) and lengthens_full_name(suggestion.text, context):
            return "the name before the cursor is complete"
        return ""

    def _go_ahead(self, document: str, context: CompletionContext, sampling: Sampling, suggestion: Suggestion) -> None:
        """Has the suggestion made that follows if this one is accepted."""
        accepted = dataclasses.replace(
            context,
            prefix=context.prefix + suggestion.text,
            line_suffix=context.line_suffix[suggestion.replace :],
            snippets=self._snippets.get(document, ()),
        )
        at = document, accepted, sampling
        running = self._next is not None and not self._next.result.done()
        if self._waiting or (running and at == self._next_at) or self._answers.find(*at):
            return
        self._drop_next()
        made = self._next = self._engine.complete(CompletionRequest(*at, ahead=True))
        self._next_at = at

        def finish(result: asyncio.Future[Completion]) -> None:
            if self._next is made:
                self._next = None
                if not result.cancelled() and result.exception() is None:
                    self._answers.remember(*at, result.result())

        made.result.add_done_callback(finish)

    def _drop_next(self) -> None:
        made, self._next = self._next, None
        if made is not None and not made.result.done():
            self._engine.cancel(made)

    async def _suggest(
        self,
        document: str,
        place: Point,
        context: CompletionContext,
        sampling: Sampling,
        anew: bool,
        candidates: int,
        delay: float,
        related: Related | None,
    ) -> Suggestion | None:
        self._supersede(document)
        self._settle(document)
        found = None if anew else self._answers.find(document, context, sampling)
        if found is not None and len(found.choices) >= candidates:
            self._drop(document)
            return Suggestion(found.text, found.replace, found, True)
        superseded = asyncio.get_running_loop().create_future()
        self._waiting[document] = superseded
        self._on_busy(True)
        try:
            if delay and self._live_for(document, place, context, candidates) is None:
                await asyncio.wait({superseded}, timeout=delay)
                if superseded.done():
                    return None
            if related is not None and self._live_for(document, place, context, candidates) is None:
                self._snippets[document] = await related()
                context = dataclasses.replace(context, snippets=self._snippets[document])
                if superseded.done():
                    return None
            for _ in range(2):  # a generation that was followed may turn out to be of no use
                live, fresh = self._generation_for(document, place, context, sampling, candidates)
                await asyncio.wait({live.generation.result, superseded}, return_when=asyncio.FIRST_COMPLETED)
                if superseded.done():
                    return None
                if live.generation.result.cancelled():  # it wrote something else than was typed ahead of it
                    continue
                self._settle(document)
                completion = live.generation.result.result()
                if fresh:
                    return Suggestion(_visible(completion.text), completion.replace, completion, False)
                if found := self._answers.find(document, context, sampling):
                    return Suggestion(found.text, found.replace, found, True)
            return None
        except asyncio.CancelledError:
            if self._waiting.get(document) is superseded:
                self._drop(document)
            raise
        finally:
            if self._waiting.get(document) is superseded:
                del self._waiting[document]
                self._on_busy(bool(self._waiting))

    def _generation_for(
        self, document: str, place: Point, context: CompletionContext, sampling: Sampling, candidates: int
    ) -> tuple[Live, bool]:
        if live := self._live_for(document, place, context, candidates):
            return live, False
        self._drop(document)
        self._drop_next()
        generation = self._engine.complete(
            CompletionRequest(document, context, sampling, candidates=candidates, reads_ahead=self.ahead)
        )
        live = Live(generation, context, sampling, place, candidates)
        live.generation.on_piece = lambda: self._check(document)
        begun = time.monotonic()

        def time_it(result: asyncio.Future[Completion]) -> None:
            if not result.cancelled() and result.exception() is None:
                self.pace.answered(time.monotonic() - begun)

        generation.result.add_done_callback(time_it)
        self._live[document] = live
        return live, True

    def _live_for(self, document: str, place: Point, context: CompletionContext, candidates: int) -> Live | None:
        """The generation that runs, if it may be for a request."""
        live = self._live.get(document)
        return live if live is not None and live.candidates >= candidates and live.serves(place, context) else None

    def changed(self, document: str, change: Change) -> None:
        """A change of the document: requests for it are answered, and its generation goes on only if it fits."""
        self._supersede(document)
        self._settle(document)
        live = self._live.get(document)
        if live is not None and not live.follows(change):
            self._drop(document)

    def closed(self, document: str) -> None:
        """The document was opened or closed. What was answered in it stays known: it is found by its text."""
        self._supersede(document)
        self._settle(document)
        self._drop(document)
        self._snippets.pop(document, None)
        if self._next_at is not None and self._next_at[0] == document:
            self._drop_next()
        self._engine.stop_reading_ahead()

    def rest(self) -> None:
        """What is worked out before it is asked for is not, now."""
        self._drop_next()
        self._engine.stop_reading_ahead()

    def reset(self) -> None:
        """Other settings apply: nothing of what is known or running is an answer any more."""
        for document in {*self._live, *self._waiting}:
            self._supersede(document)
            self._drop(document)
        self._drop_next()
        self._answers.clear()

    def use(self, engine: Engine) -> None:
        """Another engine takes over."""
        self.reset()
        self._engine = engine

    def _check(self, document: str) -> None:
        live = self._live.get(document)
        if live is not None and not live.agrees():
            self._drop(document)

    def _supersede(self, document: str) -> None:
        waiting = self._waiting.pop(document, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
            self._on_busy(bool(self._waiting))

    def _settle(self, document: str) -> None:
        """A generation that has ended becomes an answer, whether anyone waits for it or not."""
        live = self._live.get(document)
        if live is None or not live.generation.result.done():
            return
        del self._live[document]
        result = live.generation.result
        if not result.cancelled() and result.exception() is None:
            self._answers.remember(document, live.context, live.sampling, result.result())

    def _drop(self, document: str) -> None:
        live = self._live.pop(document, None)
        if live is not None and not live.generation.result.done():
            self._engine.cancel(live.generation)


def _last_line(text: str) -> str:
    return text.rpartition("\n")[2]


def _visible(text: str) -> str:
    return text if text.strip() else ""
