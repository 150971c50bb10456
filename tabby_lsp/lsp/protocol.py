"""pygls' protocol with what it lacks (2.1.1): every request answered, commands that can be cancelled and report
progress, our own documents, and the lifecycle of the specification.

Each override names what it mends; `tests/test_protocol.py` shows each one.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import attrs
from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.protocol import LanguageServerProtocol
from pygls.protocol import lsp_method as _untyped_lsp_method

from tabby_lsp.lsp.documents import Change, Documents

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

# The params of the command that runs now. pygls hands a command its arguments only, without the token under
# which the client wants to hear of its progress.
COMMAND: contextvars.ContextVar[lsp.ExecuteCommandParams | None] = contextvars.ContextVar("command", default=None)


def lsp_method(name: str) -> Callable[[F], F]:
    return _untyped_lsp_method(name)


class Protocol(LanguageServerProtocol):
    """The protocol of one connection."""

    def __init__(self, server: Any, converter: Any) -> None:
        super().__init__(server, converter)
        self.documents = Documents()
        self.on_change: Callable[[str, Change | None], None] = lambda uri, change: None
        self._initialized = False
        self._commands: dict[int | str | None, asyncio.Task[Any]] = {}

    # --- messages

    def receive(self, body: bytes) -> bool:
        """Handles the body of one frame. False if it was no JSON at all."""
        try:
            data = json.loads(body)
        except (ValueError, RecursionError) as error:
            log.warning("a message of %d bytes is not JSON: %s", len(body), error)
            self._refuse(None, lsp.ErrorCodes.ParseError, f"The message is not JSON: {error}")
            return False
        if not isinstance(data, dict) or data.get("jsonrpc") != "2.0":
            self._refuse(_request_id(data), lsp.ErrorCodes.InvalidRequest, "The message is not JSON-RPC 2.0.")
            return True
        if not self._in_order(data):
            return True
        try:
            message = self.structure_message(data)
        except JsonRpcException as error:
            # pygls would only log this, and the client would wait for its answer for ever.
            self._misfit(data, error)
            return True
        try:
            self.handle_message(message)
        except Exception:  # pygls catches what handlers raise; what its own steps raise must not end the server
            log.exception("%s could not be handled", data.get("method"))
        return True

    def _in_order(self, data: dict[str, Any]) -> bool:
        """Whether a message may come now: nothing before initialize, no requests after shutdown (LSP 3.17)."""
        method, id = data.get("method"), _request_id(data)
        if method is None or method == lsp.EXIT:
            return True
        if not self._initialized:
            if method == lsp.INITIALIZE:
                self._initialized = True
                return True
            if id is not None:
                self._refuse(id, lsp.ErrorCodes.ServerNotInitialized, "Send initialize first.")
            return False
        if method == lsp.INITIALIZE or (self._shutdown and id is not None):
            self._refuse(id, lsp.ErrorCodes.InvalidRequest, f"{method} cannot be sent now.")
            return False
        return True

    def _misfit(self, data: dict[str, Any], error: JsonRpcException) -> None:
        id = _request_id(data)
        if id is not None and not self._is_known(data["method"]):
            self._refuse(id, lsp.ErrorCodes.MethodNotFound, f"There is no method {data['method']!r}.")
            return
        cause = error.__cause__
        detail = "; ".join(map(str, getattr(cause, "exceptions", None) or [cause or error]))
        log.warning("%s does not fit its type: %s", data.get("method"), detail)
        if id is not None:
            self._refuse(id, lsp.ErrorCodes.InvalidParams, f"The params of {data['method']} do not fit: {detail}")
            if data["method"] == lsp.INITIALIZE:
                self._initialized = False

    def _refuse(self, id: int | str | None, code: lsp.ErrorCodes, message: str) -> None:
        if id is None and code != lsp.ErrorCodes.ParseError:
            log.warning("%s", message)
            return
        # A plain dict: pygls' own response leaves out an id that is null, which JSON-RPC 2.0 asks for.
        self._send_data({"jsonrpc": "2.0", "id": id, "error": {"code": code.value, "message": message}})

    def _is_known(self, method: str) -> bool:
        return method in self.fm.builtin_features or method in self.fm.features

    # --- lifecycle

    @lsp_method(lsp.INITIALIZE)
    def lsp_initialize(self, params: lsp.InitializeParams) -> Generator[Any, Any, lsp.InitializeResult]:
        result = yield from super().lsp_initialize(params)
        encoding = self.workspace.position_encoding or lsp.PositionEncodingKind.Utf16
        self.documents.encoding = getattr(encoding, "value", encoding)
        return result

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
                start = document.place(change.range.start.line, change.range.start.character)
                end = document.place(change.range.end.line, change.range.end.character)
                self.on_change(uri, document.replace(start, end, change.text))
            else:
                self.on_change(uri, document.replace_all(change.text))

    @lsp_method(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: lsp.DidCloseTextDocumentParams) -> None:
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

    def _handle_cancel_notification(self, msg_id: int | str) -> None:
        """pygls answers a cancelled command, and lets it run on."""
        if not isinstance(msg_id, int | str):
            log.warning("a cancel of %r means no request", msg_id)
            return
        task = self._commands.get(msg_id)
        if msg_id in self._request_futures:  # else it has been answered: a late cancel is no mistake
            super()._handle_cancel_notification(msg_id)
        if task is not None:
            task.cancel()


def _request_id(data: Any) -> int | str | None:
    id = data.get("id") if isinstance(data, dict) and "method" in data else None
    return id if isinstance(id, int | str) and not isinstance(id, bool) else None


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
