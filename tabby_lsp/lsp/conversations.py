"""Conversations as documents: for every editor, without code of ours in it.

A Markdown file under `$TABBY_ROOT/lsp/chats/` is shown; what is written under the last `## You` is sent by a command, a
code action or a code lens; the answer is written into the document by `workspace/applyEdit`, a few times a second, and
whatever else is changed in it meanwhile stays. `chat.document` knows what stands where.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException

from tabby_lsp.chat import document, references
from tabby_lsp.chat.conversation import ChatError, Excerpt
from tabby_lsp.chat.thoughts import TEXT, Piece
from tabby_lsp.config import tabby_root
from tabby_lsp.lsp import chat
from tabby_lsp.lsp.dialogue import Result, refuse, tell
from tabby_lsp.lsp.documents import Document
from tabby_lsp.processes import machine
from tabby_lsp.processes.machine import path_of_url

if TYPE_CHECKING:
    from tabby_lsp.assistant import Reply
    from tabby_lsp.lsp.server import TabbyServer

log = logging.getLogger(__name__)

OPEN, SEND, STOP = "tabby.chat", "tabby.sendChat", "tabby.stopChat"
WRITE_SECONDS = 0.25  # between two edits of an answer that is written: an editor draws its text anew at each
MOST_TRIES = 8  # of an edit, each after `WRITE_SECONDS`, while the user's own changes cross it
STOPPED, NO_ROOM = "Stopped.", "There was no room for more."


def folder() -> Path:
    return tabby_root() / "lsp" / "chats"


class Conversations:
    """The conversations that one editor has open."""

    def __init__(self, server: TabbyServer) -> None:
        self._server = server
        self._stops: dict[str, asyncio.Event] = {}  # of the answers that are written, by the URI of their documents
        self._last = ""  # the document that was begun or sent last

    # --- commands

    async def open(self, asked: str = "", uri: str = "") -> Result:
        """Begins a conversation, with a question if there is one, and shows it. With a `uri` shows that one."""
        server = self._server
        if not uri:
            workspace = next(iter(server.workspace_uris()), "")
            title = f"Chat about {workspace.rstrip('/').rpartition('/')[2] or 'no folder'}"
            try:
                path = _new_file(document.begun(workspace or "none:", title, asked))
            except OSError as error:
                return refuse(server, f"No conversation can be begun: {error}")
            uri = path.as_uri()
        self._last = uri
        if not await self._show(uri):
            path_name = path_of_url(uri)
            return {
                **tell(server, f"The conversation is in {path_name}. Open it, and send what you write there."),
                "uri": uri,
            }
        return {"uri": uri}

    async def _show(self, uri: str) -> bool:
        window = self._server.client_capabilities.window
        if not (window and window.show_document and window.show_document.support):
            return False
        try:
            shown = await self._server.window_show_document_async(lsp.ShowDocumentParams(uri=uri, take_focus=True))
        except JsonRpcException as error:
            log.warning("window/showDocument: %.300s", error)
            return False
        return shown.success

    async def send(self, uri: str = "") -> Result:
        """Has the question at the end of a conversation answered. Without a URI the one that was sent last."""
        server, uri = self._server, uri or self._last
        text = await self._text(uri)
        if text is None or document.workspace_of(text) is None:
            return refuse(server, "There is no conversation here. Begin one with the command tabby.chat.")
        self._last = uri
        if uri in self._stops:
            return refuse(server, "An answer is being written here: wait for its end, or stop it.")
        if not document.question(text):
            return refuse(server, f"Write a question below the last `{document.YOU}`, and send it then.")
        self._stops[uri] = asyncio.Event()
        server.spawn(self._answer(uri, text))
        return {"uri": uri}

    def stop(self, uri: str = "") -> Result:
        """Stops the answers that are written, or the one in a document."""
        stopped = [event for each, event in self._stops.items() if uri in ("", each)]
        for event in stopped:
            event.set()
        return {"stopped": len(stopped)}

    # --- an answer

    async def _answer(self, uri: str, text: str) -> None:
        """Writes an answer into a document. Not to be cancelled: it asks the client (pygls issue 621)."""
        try:
            await asyncio.to_thread(importlib.import_module, "tabby_lsp.assistant")
            if not await self._edit(uri, document.begins_answer):
                refuse(
                    self._server,
                    "The editor does not take the answer. Is the conversation open, and can it be changed?",
                )
                return
            await self._write(uri, text)
        finally:
            del self._stops[uri]

    async def _write(self, uri: str, text: str) -> None:
        from tabby_lsp.assistant import Manner, Request

        said: list[str] = []

        def keep(piece: Piece) -> None:
            if piece.kind == TEXT:
                said.append(piece.text)

        first = document.next_number(text) - 1
        manner = Manner(link=lambda excerpt: f"[{first + excerpt.number}]")
        request = Request(tuple(document.messages(text)))
        answered = asyncio.create_task(self._assistant(text).answer(request, keep, manner))
        written, tail = 0, ""
        while True:
            done, _ = await asyncio.wait({answered}, timeout=WRITE_SECONDS)
            shown = document.harmless("".join(said))
            ready = len(shown) if done else document.certain(shown)
            if ready > written:
                change = document.Growth(tail, shown[written:ready])
                if not await self._edit(uri, change.of):  # its mark is gone: the user has stopped it
                    self._stops[uri].set()
                written, tail = ready, change.tail
            if self._stops[uri].is_set():
                answered.cancel()
            if done:
                break
        cited, note = self._outcome(answered, first)
        end = document.answer_ended(cited, "" if note in text else note)
        await self._edit(uri, lambda now: document.ends_answer(now, end))

    def _outcome(self, answered: asyncio.Task[Reply], first: int) -> tuple[list[document.Reference], str]:
        """What an answer cites, and what one should know of it."""
        from tabby_lsp.assistant import LENGTH

        if answered.cancelled():
            return [], STOPPED
        error = answered.exception()
        if error is not None:
            if not isinstance(error, ChatError):
                log.error("an answer failed", exc_info=error)
            return [], str(error) or type(error).__name__
        reply = answered.result()
        notes = [*reply.notes, *([NO_ROOM] if reply.finish_reason == LENGTH else [])]
        cited = [self._reference(each, first) for each in reply.citations]
        return [each for each in cited if each.uri], " ".join(notes)

    def _assistant(self, text: str) -> Any:
        """Answers about the workspace that a document names, which need not be the editor's."""
        from tabby_lsp.assistant import Assistant
        from tabby_lsp.chat.sources import Sources
        from tabby_lsp.index.plan import plan

        server = self._server
        named = document.workspace_of(text) or ""
        if named in server.workspace_uris():
            return chat.assistant(server)
        path = path_of_url(named)
        wanted, note = (None, "This conversation is about no folder.") if path is None else plan(
            [path], server.settings.index, languages=server.settings.additional_languages
        )  # fmt: skip
        sources = Sources(wanted, note, server.disabled)
        return Assistant(server.engines, lambda: server.settings, lambda: sources)

    def _reference(self, excerpt: Excerpt, first: int) -> document.Reference:
        uri = chat.uri_of(excerpt, self._server.index.plan)
        title = excerpt.title.rpartition(", ")[2] if excerpt.title.count(", ") > 1 else ""
        return document.Reference(first + excerpt.number, uri, excerpt.first + 1, excerpt.last + 1, title)

    # --- the document

    async def _text(self, uri: str) -> str | None:
        """As the editor has it, or as it is on disk."""
        opened = self._server.protocol.documents.get(uri)
        if opened is not None:
            return opened.text().replace("\r\n", "\n") if _is_one(opened) else None
        path = path_of_url(uri)
        if path is None or path.parent != folder() or path.is_symlink():
            return None
        try:
            return (await asyncio.to_thread(path.read_text, "utf-8")).replace("\r\n", "\n")
        except (OSError, UnicodeDecodeError):
            return None

    async def _edit(self, uri: str, edit: document.Edit) -> bool:
        """Changes a document, again while the user's own changes cross it; False where there is no place for it."""
        for _ in range(MOST_TRIES):
            text = await self._text(uri)
            change = None if text is None else edit(text)
            if text is None or change is None:
                return False
            first, end, new = change
            opened = self._server.protocol.documents.get(uri)
            if opened is None:
                return await asyncio.to_thread(_rewrite, uri, text, first, end, new)
            version = opened.version
            if await self._apply(uri, version, first, end, new):
                await self._taken(uri, version)
                return True
            await asyncio.sleep(WRITE_SECONDS)
        return False

    async def _apply(self, uri: str, version: int, first: int, end: int, new: str) -> bool:
        edit = lsp.TextEdit(lsp.Range(lsp.Position(first, 0), lsp.Position(end, 0)), new)
        workspace = self._server.client_capabilities.workspace
        edits = workspace.workspace_edit if workspace else None
        if edits and edits.document_changes:
            at = lsp.OptionalVersionedTextDocumentIdentifier(uri=uri, version=version)
            whole = lsp.WorkspaceEdit(document_changes=[lsp.TextDocumentEdit(text_document=at, edits=[edit])])
        else:
            whole = lsp.WorkspaceEdit(changes={uri: [edit]})
        try:
            # Without a label: Neovim writes one into its messages, at every edit.
            params = lsp.ApplyWorkspaceEditParams(edit=whole)
            return (await self._server.workspace_apply_edit_async(params)).applied
        except JsonRpcException as error:
            log.warning("workspace/applyEdit: %.300s", error)
            return False

    async def _taken(self, uri: str, version: int) -> None:
        """Waits, but not for long, until the editor has told of the change: some answer first."""
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            opened = self._server.protocol.documents.get(uri)
            if opened is None or opened.version != version:
                return
            await asyncio.sleep(0.005)

    def closed(self, closed: Document) -> None:
        """What stood in a conversation and was not saved is kept."""
        path = path_of_url(closed.uri)
        if path is not None and _is_one(closed):
            self._server.spawn(asyncio.to_thread(_keep, path, closed.text()))

    # --- what a document offers

    def actions(self, uri: str) -> list[lsp.CodeAction]:
        """Send, or stop."""
        text = self._open_text(uri)
        if text is None:
            return []
        commands = [("Tabby: stop this answer", STOP)] if uri in self._stops else []
        if not commands and document.question(text):
            commands = [("Tabby: send this question", SEND)]
        return [
            lsp.CodeAction(title, command=lsp.Command(title=title, command=name, arguments=[{"uri": uri}]))
            for title, name in commands
        ]

    def lenses(self, uri: str) -> list[lsp.CodeLens]:
        text = self._open_text(uri)
        if text is None or not (offered := self.actions(uri)):
            return []
        line = max((each.begin - 1 for each in document.sections(text)), default=0)
        place = lsp.Range(lsp.Position(line, 0), lsp.Position(line, 0))
        return [lsp.CodeLens(place, command=each.command) for each in offered]

    def links(self, uri: str) -> list[lsp.DocumentLink]:
        return [
            lsp.DocumentLink(
                self._range(uri, each), f"{each.reference.uri}#L{each.reference.first}", each.reference.title
            )
            for each in self._found(uri)
        ]

    def definition(self, uri: str, position: lsp.Position) -> lsp.Location | None:
        """Where the excerpt stands whose number is under the cursor."""
        opened = self._server.protocol.documents.get(uri)
        if opened is None:
            return None
        line, column = opened.place(position.line, position.character)
        for each in self._found(uri):
            if each.line == line and each.begin <= column <= each.end:
                first, last = each.reference.first - 1, max(each.reference.first, each.reference.last)
                return lsp.Location(each.reference.uri, lsp.Range(lsp.Position(first, 0), lsp.Position(last, 0)))
        return None

    def names(self, uri: str, position: lsp.Position) -> lsp.CompletionList | None:
        """What can be pointed at by `@`, where one begins to write it in a conversation."""
        text, opened = self._open_text(uri), self._server.protocol.documents.get(uri)
        if text is None or opened is None:
            return None
        line, column = opened.place(position.line, position.character)
        begun = references.beginning(opened.lines[line][:column])
        if begun is None:
            return None
        start = lsp.Position(*opened.position((line, column - len(begun) - 1)))
        items = [
            lsp.CompletionItem(
                label=f"@{name}",
                kind=lsp.CompletionItemKind.Keyword,
                detail=what,
                text_edit=lsp.TextEdit(lsp.Range(start, position), f"@{name} "),
            )
            for name, what in references.KINDS.items()
            if name.startswith(begun)
        ]
        return lsp.CompletionList(is_incomplete=False, items=items) if items else None

    def _found(self, uri: str) -> Sequence[document.Link]:
        text = self._open_text(uri)
        return document.links(text) if text is not None else ()

    def _range(self, uri: str, link: document.Link) -> lsp.Range:
        opened = self._server.protocol.documents.get(uri)
        assert opened is not None
        begin, end = (lsp.Position(*opened.position((link.line, column))) for column in (link.begin, link.end))
        return lsp.Range(begin, end)

    def _open_text(self, uri: str) -> str | None:
        opened = self._server.protocol.documents.get(uri)
        return opened.text().replace("\r\n", "\n") if opened is not None and _is_one(opened) else None


def _is_one(opened: Document) -> bool:
    """Whether a document is a conversation of ours: its first line says it, and it lies where they do.

    A file of a repository that names another folder in its first line would have that folder's text written into it.
    """
    if document.workspace_of(opened.lines[0].rstrip("\r\n")) is None:
        return False
    path = path_of_url(opened.uri)
    return path is not None and os.path.realpath(path.parent) == os.path.realpath(folder())


# --- files


def _new_file(text: str) -> Path:
    """A new document. Raises OSError."""
    machine.private_folder(folder())
    for number in range(100):
        name = time.strftime("%Y-%m-%d-%H%M%S") + (f"-{number}" if number else "")
        path = folder() / f"{name}.md"
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            return path
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _rewrite(uri: str, text: str, first: int, end: int, new: str) -> bool:
    """Changes lines of a conversation that no editor has open."""
    lines = text.split("\n")
    path = path_of_url(uri)
    return path is not None and _keep(
        path, "\n".join(lines[:first]) + ("\n" if first else "") + new + "\n".join(lines[end:])
    )


def _keep(path: Path, text: str) -> bool:
    """Writes a conversation, as a whole, unless its file says that already. A link in its place is left alone."""
    try:
        if path.is_symlink() or (path.exists() and path.read_bytes() == text.encode("utf-8", "replace")):
            return path.exists() and not path.is_symlink()
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        machine.private_folder(path.parent)
        machine.private_file(beside)
        beside.write_text(text, encoding="utf-8", errors="replace", newline="")
        os.replace(beside, path)
    except OSError as error:
        log.warning("%s cannot be kept: %s", path.name, error)
        return False
    return True
