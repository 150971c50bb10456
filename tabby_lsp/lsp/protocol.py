"""The methods of LSP that pygls would answer otherwise (2.1.1): commands that can be cancelled and report progress, our
own documents, and the lifecycle of the specification.

Each override names what it mends; `tests/test_protocol.py` shows each one.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Generator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs
from lsprotocol import types as lsp
from pygls.protocol import lsp_method as _untyped_lsp_method

from tabby_lsp.lsp.documents import Document, Documents
from tabby_lsp.lsp.json_rpc import JsonRpc
from tabby_lsp.text import Change

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

# The params of the command that runs now. pygls hands a command its arguments only, without the token under
# which the client wants to hear of its progress.
COMMAND: contextvars.ContextVar[lsp.ExecuteCommandParams | None] = contextvars.ContextVar("command", default=None)


def lsp_method(name: str) -> Callable[[F], F]:
    return _untyped_lsp_method(name)


class Protocol(JsonRpc):
    """The protocol of one connection."""

    def __init__(self, server: Any, converter: Any) -> None:
        super().__init__(server, converter)
        self.documents = Documents()
        self.on_close: Callable[[Document], None] = lambda document: None
        self.on_change: Callable[[str, Change | None], None] = lambda uri, change: None
        for method in [each for each in self.fm.builtin_features if each.startswith("notebookDocument/")]:
            del self.fm.builtin_features[method]  # they are not announced, and would be kept

    # --- lifecycle

    @lsp_method(lsp.INITIALIZE)
    def lsp_initialize(self, params: lsp.InitializeParams) -> Generator[Any, Any, lsp.InitializeResult]:
        try:
            urlsplit(params.root_uri or "")
        except ValueError as error:  # pygls would refuse to serve the client at all
            log.warning("the root %.300r is no URI: %s", params.root_uri, error)
            params.root_uri = None
        result = yield from super().lsp_initialize(params)
        encoding = self.workspace.position_encoding or lsp.PositionEncodingKind.Utf16
        self.documents.encoding = getattr(encoding, "value", encoding)
        self._initialized = True
        return result

    @lsp_method(lsp.SHUTDOWN)
    def lsp_shutdown(self, *params: Any) -> Generator[Any, Any, None]:
        """pygls walks over the requests under way while those that it cancels take themselves out, and fails."""
        self._shutdown = True
        self._end_requests(but=self.msg_id)
        yield self.fm.features[lsp.SHUTDOWN], params, None

    @lsp_method(lsp.EXIT)
    def lsp_exit(self, *params: Any) -> Any:
        """pygls closes the pipe to the client first, and what waits for its answer fails."""
        raise SystemExit(0 if self._shutdown else 1)

    # --- documents: our own take the place of pygls', which split lines at form feeds and copy the whole text

    @lsp_method(lsp.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: lsp.DidOpenTextDocumentParams) -> None:
        item = params.text_document
        self.documents.open(item.uri, item.language_id, item.version, item.text)
        self.on_change(item.uri, None)

    @lsp_method(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: lsp.DidChangeTextDocumentParams) -> None:
        uri = params.text_document.uri
        document = self.documents.changed(uri, params.text_document.version)
        if document is None:
            return
        for change in params.content_changes:
            if isinstance(change, lsp.TextDocumentContentChangePartial):
                start, end = change.range.start, change.range.end
                edited = document.edit((start.line, start.character), (end.line, end.character), change.text)
                self.on_change(uri, edited)
            else:
                self.on_change(uri, document.replace_all(change.text))

    @lsp_method(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: lsp.DidCloseTextDocumentParams) -> None:
        if (document := self.documents.get(params.text_document.uri)) is not None:
            self.on_close(document)
        self.documents.close(params.text_document.uri)
        self.on_change(params.text_document.uri, None)

    # --- commands

    @lsp_method(lsp.WORKSPACE_EXECUTE_COMMAND)
    def lsp_workspace__execute_command(self, params: lsp.ExecuteCommandParams) -> Generator[Any, Any, Any]:
        COMMAND.set(params)
        steps = super().lsp_workspace__execute_command(params)
        handler, arguments, keywords = next(steps)
        if not asyncio.iscoroutinefunction(handler):
            return (yield handler, arguments, keywords)
        id = self.msg_id

        async def remembered() -> Any:
            task = asyncio.current_task()
            assert task is not None
            self._commands[id] = task
            try:
                return await handler(*arguments, **keywords)
            finally:
                self._commands.pop(id, None)

        return (yield remembered, (), {})


def plain(value: Any) -> Any:
    """Params of a custom method as dicts and lists: pygls makes namedtuples of them, which JSON turns to arrays."""
    if attrs.has(type(value)):
        return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value
