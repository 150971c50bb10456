"""What lives as long as a connection: settings, the engine, the suggestions. See `handlers` for who asks for what."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer

from tabby_lsp import __version__, config
from tabby_lsp.completion.triggers import reason_against
from tabby_lsp.config import Layer
from tabby_lsp.data import CompletionContext, Sampling, Snippet
from tabby_lsp.engine.client import EngineError, EngineState
from tabby_lsp.engines import COMPLETION, ROLES, Engines
from tabby_lsp.index.disabled import Disabled
from tabby_lsp.lsp import convert, progress
from tabby_lsp.lsp.conversations import Conversations
from tabby_lsp.lsp.convert import Asked
from tabby_lsp.lsp.documents import Document
from tabby_lsp.lsp.indexing import Indexing
from tabby_lsp.lsp.models import Models
from tabby_lsp.lsp.protocol import Protocol
from tabby_lsp.lsp.status import LOADING_SECONDS, LastAnswer, StatusListener, last_completion, model_status, status
from tabby_lsp.lsp.watching import watch_files
from tabby_lsp.settings import Settings
from tabby_lsp.suggest.suggestions import Suggestion, Suggestions, nothing
from tabby_lsp.text import Change, Point

log = logging.getLogger(__name__)

# The layers that are known before an editor is, config.toml and the command line, and what is wrong with them.
Read = Callable[[], tuple[tuple[Layer, ...], tuple[str, ...]]]

MANUAL_IN_A_MENU = (
    "`completion.trigger` is `manual`, but this editor shows suggestions in its completion menu, for which it asks in "
    "the same way while you type and on a key: they will come at each word. Set the menu itself to open on a key."
)


class TabbyServer(LanguageServer):
    """One connection to one editor."""

    protocol: Protocol

    def __init__(self, read: Read = lambda: ((), ())) -> None:
        super().__init__("tabby-lsp", __version__, protocol_cls=Protocol)
        self._read = read
        self.layers, self.problems = read()
        self.editor_layers: dict[str, Layer] = {}
        self.menu = False  # whether suggestions are shown in the editor's completion menu
        self.listener = StatusListener()
        self.pulls = 0  # how often the editor was asked for its settings, or has said them
        self.settings = Settings()
        self.engines = Engines(self._engine_state)
        self.suggestions: Suggestions | None = None
        self.index = Indexing(self.notify_status)
        self.models = Models(self)
        self.conversations = Conversations(self)
        self.edits: OrderedDict[str, Any] = OrderedDict()  # that were worked out, by their ids: see `editing`
        self.last: LastAnswer | None = None
        self.related: list[str] = []  # pieces of other files that the last prompt was made with, and why
        self.withheld = ""  # why the last request has got nothing, if it was not for want of a suggestion
        self.disabled = Disabled()
        self._anew = 0  # how often another answer was asked for: each with another seed
        self._watched: bool | None = None  # whether the client tells of files that change, once it was asked
        self._busy = False
        self._scarce = ""  # why energy is to be saved
        self._warned: set[str] = set()
        self._unanswered: EngineState | None = None  # in which somebody has been told that there is no suggestion
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Task[None] | None = None
        self.protocol.on_change = self._document_changed
        self.protocol.on_close = self.conversations.closed

    # --- settings

    def configure(self, restarts: bool = True) -> None:
        """Works out the settings of all layers, and starts the engines anew if they ask for other ones."""
        before = self.settings
        self.settings, problems = config.merge([*self.layers, *self.editor_layers.values()])
        self.disabled = Disabled(self.settings.completion.disable)
        if self.menu and self.settings.completion.trigger == "manual":
            problems.append(MANUAL_IN_A_MENU)
        self.warn([*self.problems, *problems, *self.disabled.problems])
        if self.suggestions is not None and self.settings != before:
            self.suggestions.reset()
            self._set_habits(self.suggestions)
        if self.settings.completion.trigger != before.completion.trigger:
            self.notify_status()
        roles = self.engines.needs_restart(self.settings) if restarts else ()
        if roles:
            self.spawn(self.restart(roles))
        else:
            self.engines.settle(self.settings)

    def read_settings(self) -> None:
        """Reads config.toml again, before a restart. What is wrong with it is said again, too: somebody has just
        changed it."""
        self.layers, self.problems = self._read()
        self._warned.clear()
        self.configure(restarts=False)

    def warn(self, problems: list[str]) -> None:
        """Shows what is wrong, once, in one message."""
        new = [each for each in problems if each not in self._warned]
        self._warned.update(new)
        if new:
            text = "\n".join(new)
            log.warning("%s", text)
            self.window_show_message(lsp.ShowMessageParams(type=lsp.MessageType.Warning, message=f"tabby-lsp: {text}"))

    # --- the engine

    @property
    def state(self) -> EngineState:
        """That of the engine that completes."""
        return self.engines.states[COMPLETION]

    async def restart(self, roles: Collection[str] = ROLES) -> None:
        """Starts the engines of these roles with the settings as they are now, in the place of those that run."""
        if COMPLETION not in roles:
            await self.engines.restart(self.settings, roles)
            return
        if self.suggestions is not None:
            self.suggestions.reset()
        await self.engines.restart(self.settings, roles)
        engine = self.engines.get(COMPLETION)
        if engine is None:
            return
        if self.suggestions is None:
            self.suggestions = Suggestions(engine, self._set_busy)
            self._set_habits(self.suggestions)
        else:
            self.suggestions.use(engine)

    def _set_habits(self, suggestions: Suggestions) -> None:
        """What of the settings says when the model is asked."""
        suggestions.ahead = self.settings.completion.ahead and not self._scarce
        suggestions.pace.fixed = self.settings.completion.debounce

    def _engine_state(self, role: str, state: EngineState) -> None:
        self.notify_status()
        if state.phase == "failed" and role == COMPLETION:
            self.warn([f"Code completion is not available. {state.reason}"])
        elif state.phase == "failed":  # whoever asks for it is told
            log.warning("%s is not available: %s", role, state.reason)
        elif state.info is not None:
            log.info("%s: %s", role, state.info)
            if self.suggestions is not None and role == COMPLETION:
                self.suggestions.confidence = state.completion.confidence if state.completion else 0.0
            self.warn(list(state.notes))
        elif state.phase == "restarting":
            self.warn([f"{state.reason}. It is started again."])

    def _set_busy(self, busy: bool) -> None:
        if busy != self._busy:
            self._busy = busy
            # Soon: whoever has just got a suggestion notes first what it was.
            asyncio.get_running_loop().call_soon(self.notify_status)

    def save_energy(self, reason: str) -> None:
        """Nothing is worked out before it is asked for as long as there is a reason; the engines see it themselves."""
        log.info("energy is %s", f"to be saved: {reason}" if reason else "not to be saved any more")
        self._scarce = reason
        if self.suggestions is not None:
            self._set_habits(self.suggestions)
            self.suggestions.rest()
        self.notify_status()

    async def settled(self) -> None:
        """Waits until there is a model, or a reason why there is none."""
        await self.engines.settled(COMPLETION)

    def status(self) -> dict[str, Any]:
        answer = status(self.state, self._busy, self.settings.completion.trigger, self._scarce)
        answer["models"] = {role: model_status(state) for role, state in self.engines.states.items()}
        if self.last is not None:
            answer["lastCompletion"] = {**last_completion(self.last), "related": self.related}
        answer["withheld"] = self.withheld
        answer["index"] = self.index.status()
        return answer

    def notify_status(self) -> None:
        """Tells a client that wants to know it what has changed, if anything has."""
        if self.state.phase != "closed" and self.listener.asked:
            news = self.listener.news(self.status(), time.monotonic())
            if news is not None:
                self.protocol.notify("tabby/status/didChange", news)

    async def show_loading(self, token: int | str | None = None) -> None:
        """Reports the loading of a model as progress, until it is loaded or given up."""
        shown = await progress.begin(self, "load", "Tabby: loading the model", token)
        if shown is None:
            return
        percent, told = 0, time.monotonic()  # what its beginning has said
        while not self.state.settled:
            if self.state.percent != percent and time.monotonic() - told >= LOADING_SECONDS:
                percent, told = self.state.percent, time.monotonic()
                shown.report(percent)
            await self.engines.changed()
        shown.end(self.state.info.name if self.state.info else self.state.reason)

    # --- the index

    async def start_index(self) -> None:
        """Indexes the workspace as it is now, behind the model: the first suggestion does not wait for it."""
        folders = self.workspace_uris()
        if self._watched is None and folders and self.settings.index.enabled:
            self._watched = await watch_files(self)
        documents = self.protocol.documents
        if await self.index.use(folders, self.settings, bool(self._watched), documents, self.settled):
            self.spawn(self.show_indexing())

    def workspace_uris(self) -> list[str]:
        """Of the workspace's folders."""
        workspace = self.protocol.workspace
        folders = [folder.uri for folder in workspace.folders.values()]
        return folders or ([workspace.root_uri] if workspace.root_uri else [])

    async def show_indexing(self) -> None:
        """Reports the first scan of a workspace as progress. Later ones are over before one could read it."""
        index = self.index
        while index.state.scanning and not index.state.done:
            await index.moved.wait()
        if not (index.state.scanning and index.state.total):
            return
        shown = await progress.begin(self, "index", "Tabby: indexing")
        if shown is None:
            return
        while index.state.scanning:
            done, total = index.state.done, max(1, index.state.total)
            shown.report(min(100, 100 * done // total), f"{done} of {total} files")
            await index.moved.wait()
        shown.end(f"{index.state.files} files")

    # --- completion

    async def suggest(
        self,
        uri: str,
        position: lsp.Position,
        info: lsp.SelectedCompletionInfo | None = None,
        invoked: bool = False,
    ) -> tuple[Asked, Suggestion | None] | None:
        """A suggestion, or None where the request was superseded; None alone if the document is not open.

        Who has `invoked` it wants another answer than the one that is known, if the model has more than one, and gets
        it where nothing comes unasked, too (see `triggers`), but not in a file that no model reads.
        """
        document = self.protocol.documents.get(uri)
        if document is None:
            log.warning("a request for %s, which is not open, has no answer", uri)
            return None
        # All of the text is taken before the first await: it is that of the moment of the request.
        started = time.perf_counter()
        place = document.place(position.line, position.character)
        selected = convert.selected_text(document, place, info)
        asked = Asked(document, place, selected)
        folders = self.workspace_uris()
        context = convert.context_at(document, place, folders, selected)
        if self.disabled.names(convert.path_for_patterns(uri, folders)):
            self.withheld = "completion.disable names this file"
        else:
            self.withheld = "" if invoked else self._reason_against(document, place, context)
        if self.withheld:
            log.debug("nothing is suggested: %s", self.withheld)
            return asked, nothing(self.withheld)
        if self.suggestions is None or self.engines.get(COMPLETION) is None:
            return asked, None
        try:
            anew = invoked and self.settings.completion.temperature > 0
            self._anew += anew
            sampling = self._sampling()
            candidates = self.settings.completion.candidates if invoked else 1
            related = partial(self._related, document, context) if self._uses_context() else None
            suggestion = await self.suggestions.suggest(
                uri, place, context, sampling, anew, candidates, typing=not invoked, related=related
            )
        except EngineError as error:
            # At every key; but what is the matter is the same until the engine is in another state.
            log.log(logging.DEBUG if self._unanswered is self.state else logging.WARNING, "no suggestion: %s", error)
            self._unanswered = self.state
            suggestion = None
        if suggestion is not None:
            elapsed = (time.perf_counter() - started) * 1000
            self.last = LastAnswer(suggestion.completion, suggestion.from_cache, elapsed)
            self.withheld = suggestion.withheld
            if self.withheld:
                log.debug("a suggestion is not shown: %s", self.withheld)
        return asked, suggestion

    def _reason_against(self, document: Document, place: Point, context: CompletionContext) -> str:
        line, column = place
        deleted = document.deleted_on(line)
        return reason_against(context, None if deleted is None else column - deleted, self.settings.completion)

    def _uses_context(self) -> bool:
        """Whether pieces of other files go into the prompt."""
        info = self.state.completion
        return info is not None and self.settings.completion.wants_context(info.uses_context)

    async def _related(self, document: Document, context: CompletionContext) -> tuple[Snippet, ...]:
        room = self.state.completion.context_room if self.state.completion else 0
        found = await self.index.around(document.uri, context, room, self.disabled)
        self.related = [f"{each.snippet.path} ({each.reason})" for each in found]
        return tuple(each.snippet for each in found)

    def _sampling(self) -> Sampling:
        completion = self.settings.completion
        return Sampling(completion.max_decoding_tokens, completion.temperature, completion.seed + self._anew)

    def _document_changed(self, uri: str, change: Change | None) -> None:
        self.models.moved()
        self.index.changed(uri, self.protocol.documents.get(uri), change)
        if self.suggestions is None:
            return
        if change is None:
            self.suggestions.closed(uri)
        else:
            self.suggestions.changed(uri, change)

    # --- life

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Runs work beside the messages. Its own task: pygls breaks when a request to the client is awaited in
        a task that is cancelled (pygls issue 621)."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background work failed", exc_info=task.exception())

    async def close(self) -> None:
        """Ends the engine, the indexer and all that runs beside the messages. All who ask for that wait for its end."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self.suggestions is not None:
            self.suggestions.reset()
        await asyncio.gather(self.index.close(), self.engines.close())

    def report_server_error(self, error: Exception, source: Any) -> None:
        """pygls would pop up a box in the editor for every one of these."""
        log.error("%s: %s", getattr(source, "__name__", source), error)
